"""Rule-based parser: turns a message and the previous request into the next request.

Each rule removes the words that it matches and changes the request. The remaining words are the subject:

- No subject: the message refines the previous request.
- A subject that depends on the previous text ("with a red jacket", "in red") is appended to it.
- A subject after "what about", "and" or "also" replaces the text and keeps the conditions.
- Any other subject starts a new request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from var_plugin.app.conversation.camera_rules import camera_rules
from var_plugin.app.conversation.context import Context
from var_plugin.app.conversation.parser_state import CLAUSE_END, ParseState, Rule, tidy
from var_plugin.app.conversation.request import ChatRequest
from var_plugin.app.conversation.search_rules import COMMON_RULES, NEGATION, REFERENCE, UNUSUAL, position_of
from var_plugin.app.conversation.time_rules import TIME_RULES, order_bounds
from var_plugin.app.conversation.times import DAY, unread_time

MAX_MESSAGE_LENGTH = 500
"""Number of characters that are parsed; the rest of a message is ignored."""

Action = Literal["search", "play", "undo"]


@dataclass(frozen=True)
class ParseResult:
    """The action and the request of a message."""

    request: ChatRequest
    action: Action = "search"
    position: int | None = None
    """For "play": position of the moment in the last answer, from 0."""
    notes: tuple[str, ...] = ()
    """Sentences for the user about parts of the message that cannot be applied."""


_POLITE = re.compile(r"[\s,]*\b(?:please|thanks|thank you|pls)\b[\s,.!]*", re.IGNORECASE)
_UNDO = re.compile(r"(?:undo|go back|back|never ?mind|take that back|as before)(?: that| to before)?", re.IGNORECASE)
_RESET = re.compile(
    r"(?:start|begin) (?:over|again|anew|afresh)|reset|clear(?: all| everything)?|(?:a )?new (?:search|question)"
    r"|forget (?:everything|all(?: of)?(?: that| it)?)|from scratch",
    re.IGNORECASE,
)
_ANYTHING_UNUSUAL = re.compile(
    r"(?:(?:is|was|are|were|show|find|list|tell|me|us|there|so|ok|and|now|hey),? )*"
    r"(?:(?:any ?thing|something|what|what's|what (?:is|was|were)|any|the|all|most) )*"
    rf"(?:{UNUSUAL}(?: (?:things?|events?|moments?|clips?|activity))?|anomaly|anomalies)"
    r"(?: (?:going on|here|there|at all|to see|happen(?:s|ed|ing)?))*"
    rf"(?:{CLAUSE_END}|(?= (?:yesterday|today|tonight|last|this|that day|during|around|{DAY})\b))",
    re.IGNORECASE,
)
_PLAY = re.compile(
    rf"(?:play|open|watch|go to|jump to|(?:show|see)(?!(?: me)? \d+$))(?: me)? (?P<which>{REFERENCE})(?: again)?",
    re.IGNORECASE,
)
_STEP = re.compile(r"(?:play |show |show me )?(?:the )?(?P<step>next|previous)(?: one| moment| clip)?", re.IGNORECASE)

_FILLER = re.compile(
    r"^(?:(?:ok|okay|so|now|then|hey|hi|well|um|can|could|would|will|you|please|show|find|get|give|search|look|looking|"
    r"for|me|us|i|want|to|see|i'm|im|am|i'd|like|is|are|was|were|there|did|do|have|any)\b[\s,]*)+(?=\S)",
    re.IGNORECASE,
)
_REPLACEMENT = re.compile(
    r"^(?:and |but |also |now |ok |then )*(?:what about|how about|same for|the same for|the same with|same with|and|also|"  # noqa: E501
    r"instead|rather|try|only|just|(?:i )?(?:mean|meant)|make it|change it to|no(?=, an? )),?\s+"
    r"|\s+(?:instead|too|as well)$",
    re.IGNORECASE,
)
_ADDITION = re.compile(
    r"^(?:(?:but|and|only|just|make it|also|the|those|these|ones?|that|which|who|is|are)\b\s*)*?"
    r"(?=(?:with|wearing|in|holding|carrying|riding|pushing|near|next to|under|inside|outside|behind|beside|running|"
    r"walking|standing|sitting|lying)\b)",
    re.IGNORECASE,
)
_ADJECTIVE = re.compile(r"(?:only |just )?(?:the )?(?P<adjective>\w+) ones?(?: only)?", re.IGNORECASE)
_CORRECTION = re.compile(r"^(?:no, )?not (?:an? |the )?[\w ]+? but (?=\w)", re.IGNORECASE)


def parse_message(message: str, previous: ChatRequest, context: Context) -> ParseResult:
    """Parse a message.

    Args:
        message: the text of the user.
        previous: the request of the last turn; `ChatRequest()` if there is none.
        context: cameras, current time, and the moments of the last answer.
    """
    message = message[:MAX_MESSAGE_LENGTH]
    words = " ".join(_POLITE.sub(" ", message.replace("’", "'")).split()).strip(" ?!.,;")
    if _UNDO.fullmatch(words):
        return ParseResult(previous, "undo")
    if _RESET.fullmatch(words):
        return ParseResult(ChatRequest())
    state = ParseState(_CORRECTION.sub("make it ", words), previous, context)
    if (position := _position_to_play(words, state)) is not None:
        return ParseResult(previous, "play", position)
    if anything := _ANYTHING_UNUSUAL.match(words):
        # A new request over the whole index. Only conditions in the same message apply.
        state = ParseState(words[: anything.start()] + words[anything.end() :], ChatRequest(), context)
    for each in _rules(context):
        each.run(state)
    order_bounds(state)
    if time_words := unread_time(state.rest):
        state.notes.append(f"“{time_words}” is not recognised as a time and is searched for as words")
    subject = " ".join(part for part in map(tidy, state.rest.split(";")) if part)
    return ParseResult(_request(subject, state), notes=tuple(state.notes))


def _position_to_play(words: str, state: ParseState) -> int | None:
    if not state.context.moments:
        return None
    if match := _STEP.fullmatch(words):
        position = state.context.position + (1 if match["step"].lower() == "next" else -1)
        return min(max(0, position), len(state.context.moments) - 1)
    match = _PLAY.fullmatch(words)
    return position_of(match["which"].lower(), state) if match else None


def _rules(context: Context) -> Iterator[Rule]:
    yield from camera_rules(context.cameras)
    yield from TIME_RULES
    yield from COMMON_RULES
    yield NEGATION


def _request(subject: str, state: ParseState) -> ChatRequest:
    if not subject:
        return state.previous.replace(**state.changes)
    text = state.current("text")
    if text and (match := _ADJECTIVE.fullmatch(subject)):
        return state.previous.replace(**{**state.changes, "text": f"{text}, {match['adjective']}"})
    if text and _ADDITION.match(subject):
        return state.previous.replace(**{**state.changes, "text": f"{text} {_ADDITION.sub('', subject)}"})
    keeps = _REPLACEMENT.search(subject)
    query = _FILLER.sub("", _REPLACEMENT.sub("", subject))
    base = state.previous.replace(image=None, audio=None, video=None, like=None) if keeps else ChatRequest()
    return base.replace(**{**state.changes, "text": query or subject})
