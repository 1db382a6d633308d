"""From a message and the request before it to the request it makes.

Parts of the message that a rule knows are taken out and change the request. What is left is the subject. Nothing left:
the message refines the request before. A rest that leans on it ("with a red jacket", "in red") is added to its text;
one that is led by "what about", "and", "also" replaces the text and keeps the conditions; any other begins anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from var_plugin.app.conversation.camera_rules import camera_rules
from var_plugin.app.conversation.context import Context
from var_plugin.app.conversation.parser_state import CLAUSE_END, Draft, Rule, tidy
from var_plugin.app.conversation.request import Request
from var_plugin.app.conversation.search_rules import COMMON_RULES, NEGATION, REFERENCE, UNUSUAL, place_of
from var_plugin.app.conversation.time_rules import TIME_RULES, order_bounds
from var_plugin.app.conversation.times import DAY, unread_time

LONGEST_MESSAGE = 500
"""Letters of a message that are read."""

Action = Literal["search", "play", "undo"]


@dataclass(frozen=True)
class Understood:
    """What a message asks the page to do."""

    request: Request
    action: Action = "search"
    place: int | None = None
    """With "play": which of the shown moments, from 0."""
    notes: tuple[str, ...] = ()
    """What was said and makes no sense here, in words for the person."""


_POLITE = re.compile(r"[\s,]*\b(?:please|thanks|thank you|pls)\b[\s,.!]*", re.IGNORECASE)
_UNDO = re.compile(r"(?:undo|go back|back|never ?mind|take that back|as before)(?: that| to before)?", re.IGNORECASE)
_ANEW = re.compile(
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

_LEAD = re.compile(
    r"^(?:(?:ok|okay|so|now|then|hey|hi|well|um|can|could|would|will|you|please|show|find|get|give|search|look|looking|"
    r"for|me|us|i|want|to|see|i'm|im|am|i'd|like|is|are|was|were|there|did|do|have|any)\b[\s,]*)+(?=\S)",
    re.IGNORECASE,
)
_KEEPS_CONDITIONS = re.compile(
    r"^(?:and |but |also |now |ok |then )*(?:what about|how about|same for|the same for|the same with|same with|and|also|"  # noqa: E501
    r"instead|rather|try|only|just|(?:i )?(?:mean|meant)|make it|change it to|no(?=, an? )),?\s+"
    r"|\s+(?:instead|too|as well)$",
    re.IGNORECASE,
)
_ADDS = re.compile(
    r"^(?:(?:but|and|only|just|make it|also|the|those|these|ones?|that|which|who|is|are)\b\s*)*?"
    r"(?=(?:with|wearing|in|holding|carrying|riding|pushing|near|next to|under|inside|outside|behind|beside|running|"
    r"walking|standing|sitting|lying)\b)",
    re.IGNORECASE,
)
_KIND = re.compile(r"(?:only |just )?(?:the )?(?P<kind>\w+) ones?(?: only)?", re.IGNORECASE)
_RATHER = re.compile(r"^(?:no, )?not (?:an? |the )?[\w ]+? but (?=\w)", re.IGNORECASE)


def understand(message: str, before: Request, context: Context) -> Understood:
    """Return what a message makes of the request before it.

    Args:
        message: what the person typed.
        before: the request that was answered last; `Request()` where there was none.
        context: the footage, what was shown last, the time.
    """
    message = message[:LONGEST_MESSAGE]
    words = " ".join(_POLITE.sub(" ", message.replace("’", "'")).split()).strip(" ?!.,;")
    if _UNDO.fullmatch(words):
        return Understood(before, "undo")
    if _ANEW.fullmatch(words):
        return Understood(Request())
    draft = Draft(_RATHER.sub("make it ", words), before, context)
    if (place := _played(words, draft)) is not None:
        return Understood(before, "play", place)
    if anything := _ANYTHING_UNUSUAL.match(words):
        # A question of its own, over the whole index; only what it says itself narrows it.
        draft = Draft(words[: anything.start()] + words[anything.end() :], Request(), context)
    for each in _rules(context):
        each.run(draft)
    order_bounds(draft)
    if time_words := unread_time(draft.left):
        draft.notes.append(f"“{time_words}” is not understood as a time and is searched for as words")
    subject = " ".join(part for part in map(tidy, draft.left.split(";")) if part)
    return Understood(_request(subject, draft), notes=tuple(draft.notes))


def _played(words: str, draft: Draft) -> int | None:
    if not draft.context.shown:
        return None
    if found := _STEP.fullmatch(words):
        place = draft.context.chosen + (1 if found["step"].lower() == "next" else -1)
        return min(max(0, place), len(draft.context.shown) - 1)
    found = _PLAY.fullmatch(words)
    return place_of(found["which"].lower(), draft) if found else None


def _rules(context: Context) -> Iterator[Rule]:
    yield from camera_rules(context.cameras)
    yield from TIME_RULES
    yield from COMMON_RULES
    yield NEGATION


def _request(subject: str, draft: Draft) -> Request:
    if not subject:
        return draft.before.but(**draft.changes)
    text = draft.current("text")
    if text and (found := _KIND.fullmatch(subject)):
        return draft.before.but(**{**draft.changes, "text": f"{text}, {found['kind']}"})
    if text and _ADDS.match(subject):
        return draft.before.but(**{**draft.changes, "text": f"{text} {_ADDS.sub('', subject)}"})
    keeps = _KEEPS_CONDITIONS.search(subject)
    asked = _LEAD.sub("", _KEEPS_CONDITIONS.sub("", subject))
    base = draft.before.but(image=None, audio=None, video=None, like=None) if keeps else Request()
    return base.but(**{**draft.changes, "text": asked or subject})
