"""Rule-based parser: turns a message and the previous request into the next request.

The rules (`rules.py`) remove the words that they match and change the request. The remaining words are the subject:

- No subject: the message refines the previous request.
- A subject that depends on the previous text ("with a red jacket", "in red") is appended to it.
- A subject after "what about", "and" or "also" replaces the text and keeps the conditions.
- Any other subject starts a new request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from var_plugin.app.conversation.context import Context
from var_plugin.app.conversation.request import ChatRequest
from var_plugin.app.conversation.rules import Action, ParseState, apply_rules, place_times, tidy
from var_plugin.app.conversation.times import unread_time
from var_plugin.types import Moment

MAX_MESSAGE_LENGTH = 500
"""Number of characters that are parsed; the rest of a message is ignored."""


@dataclass(frozen=True)
class ParseResult:
    """The action and the request of a message."""

    request: ChatRequest
    action: Action = "search"
    position: int | None = None
    """For "play": position of the moment in the last answer, from 0."""
    moment: Moment | None = None
    """For "explain": the moment."""
    notes: tuple[str, ...] = ()
    """Sentences for the user about parts of the message that cannot be applied."""


_POLITE = re.compile(r"[\s,]*\b(?:please|thanks|thank you|pls)\b[\s,.!]*", re.IGNORECASE)
_FILLER = re.compile(
    r"^(?:(?:ok|okay|so|now|hey|hi|can|could|you|show|find|get|give|search|look|looking|for|me|us|i|want|to|see|i'm|i'd"
    r"|like|is|are|was|were|there|any)\b[\s,]*)+(?=\S)",
    re.IGNORECASE,
)
_REPLACEMENT = re.compile(
    r"^(?:and |but |now |ok )*(?:what about|how about|and|also|instead|only|just|make it|(?:i )?(?:mean|meant)|no,)\s+"
    r"|\s+(?:instead|too)$",
    re.IGNORECASE,
)
_ADDITION = re.compile(
    r"^(?:(?:but|and|only|just|also|the|those|ones?)\b\s*)*?"
    r"(?=(?:with|wearing|in|holding|carrying|riding|pushing|near|next to|under|inside|outside|behind|beside|running|"
    r"walking|standing|sitting|lying)\b)",
    re.IGNORECASE,
)


def parse_message(message: str, previous: ChatRequest, context: Context) -> ParseResult:
    """Parse a message.

    Args:
        message: the text of the user.
        previous: the request of the last turn; `ChatRequest()` for the first message.
        context: cameras, current time, and the moments of the last answer.
    """
    words = " ".join(_POLITE.sub(" ", message[:MAX_MESSAGE_LENGTH].replace("’", "'")).split()).strip(" ?!.,;")
    state = ParseState(words, previous, context)
    apply_rules(state)
    if state.action != "search":
        return ParseResult(previous, state.action, state.position, state.moment)
    place_times(state)
    if time_words := unread_time(state.rest):
        state.notes.append(f"“{time_words}” is not recognised as a time and is searched for as words")
    subject = " ".join(part for part in map(tidy, state.rest.split(";")) if part)
    return ParseResult(_request(subject, state), notes=tuple(state.notes))


def _request(subject: str, state: ParseState) -> ChatRequest:
    if not subject:
        return state.previous.replace(**state.changes)
    text = state.current("text")
    if text and _ADDITION.match(subject):
        return state.previous.replace(**{**state.changes, "text": f"{text} {_ADDITION.sub('', subject)}"})
    keeps_conditions = _REPLACEMENT.search(subject)
    query = _FILLER.sub("", _REPLACEMENT.sub("", subject))
    base = state.previous.replace(image=None, audio=None, video=None, like=None) if keeps_conditions else ChatRequest()
    return base.replace(**{**state.changes, "text": query or subject})
