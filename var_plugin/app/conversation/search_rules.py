"""Rules for everything but times and cameras: likeness, loudness, unusualness, number, order, what is not wanted."""

from __future__ import annotations

import re
from collections.abc import Callable

from var_plugin.app.conversation.parser_state import CLAUSE_END, CLAUSE_START, Draft, rule, said, tidy
from var_plugin.app.conversation.request import MOST_MOMENTS, Request
from var_plugin.app.conversation.times import HOURS
from var_plugin.types import Moment

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_NUMBER = rf"(?:\d{{1,2}}|{'|'.join(HOURS)})"
_THING = r"(?:ones?|moments?|results?|clips?|matches|videos?|things?)"
REFERENCE = (
    rf"(?:(?:the |number |no\.? ?|#|moment |result |clip )*(?:{'|'.join(_ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th)?|last)"
    rf"(?: {_THING})?|(?:the )?(?:this|that|it|these|same)(?: {_THING})?|the one playing)"
)
UNUSUAL = r"(?:unusual|anomalous|suspicious|strange|abnormal|odd|weird)"
_NOT_THE_THING = re.compile(
    r"^(?:(?:a|an|the|any|some)(?:more)? )+|(?: (?:in (?:it|them|there|the picture)|there|at all|either|anymore))+$",
    re.IGNORECASE,
)
UNUSUAL_FROM = 0.5
"""Anomaly score from which a moment counts as unusual."""
_MORE = 5


def place_of(words: str, draft: Draft) -> int | None:
    """Return which of the shown moments a reference means; None, with a note, where there is no such."""
    shown = draft.context.shown
    number = re.search(r"\d+", words)
    ordinal = next((place for place, word in enumerate(_ORDINALS) if re.search(rf"\b{word}\b", words)), None)
    if number:
        place = int(number[0]) - 1
    elif ordinal is not None:
        place = ordinal
    else:
        place = len(shown) - 1 if re.search(r"\blast\b", words) else draft.context.chosen
    if 0 <= place < len(shown):
        return place
    draft.notes.append(f"“{words.strip()}” is not among the {len(shown)} moments shown")
    return None


def moment_of(words: str, draft: Draft) -> Moment | None:
    """Return the moment that a reference means: the one in view, unless it names another."""
    if not words or re.fullmatch(rf"(?:the )?(?:this|that|it|these|same|one playing)(?: {_THING})?", words):
        if draft.context.moment is None:
            draft.notes.append("there is no moment yet to go by")
        return draft.context.moment
    place = place_of(words, draft)
    return None if place is None else draft.context.shown[place]


def _like(found: re.Match[str], draft: Draft) -> None:
    moment = moment_of(said(found, "which"), draft)
    if moment is not None:
        draft.change(text=None, image=None, audio=None, video=None, like=moment.id)


def _loudness(louder: bool) -> Callable[[re.Match[str], Draft], None]:
    def apply(found: re.Match[str], draft: Draft) -> None:
        moment = moment_of(said(found, "which" if louder else "than"), draft)
        if moment is not None:
            chosen, other = ("louder_than", "quieter_than") if louder else ("quieter_than", "louder_than")
            draft.change(**{chosen: moment.id, other: None})

    return apply


def _more_unusual(found: re.Match[str], draft: Draft) -> None:
    moment = draft.context.moment
    draft.change(min_anomaly=round(moment.anomaly_score, 2) if moment else UNUSUAL_FROM)


def _anomaly_from(found: re.Match[str], draft: Draft) -> None:
    score = float(said(found, "score").rstrip(" %"))
    draft.change(min_anomaly=min(1.0, score / 100 if score > 1 else score))


def _at_most(found: re.Match[str], draft: Draft) -> None:
    words = said(found, "number") if "number" in found.re.groupindex else "1"
    number = HOURS[words] if words in HOURS else int(words or 1)
    draft.change(limit=max(1, min(MOST_MOMENTS, number)))


def _without(found: re.Match[str], draft: Draft) -> None:
    listed = re.split(r"(?:,? (?:or|and|nor) |, ?)(?:no |any |without |not )?", found["what"])
    things = [_NOT_THE_THING.sub("", tidy(thing)) for thing in listed]
    things = [re.sub(r"^(?:one|body)\b", "people", thing) for thing in things if thing]
    draft.change(without=tuple(dict.fromkeys([*draft.current("without"), *things])))


def _keep_only_what_is_asked(found: re.Match[str], draft: Draft) -> None:
    asked = ("text", "image", "audio", "video", "like")
    draft.change(**{name: value for name, value in vars(Request()).items() if name not in asked})


_COUNTED = rf"{CLAUSE_START}(?:only |just |show me |show |give me )*"
_LIKE = r"(?:like|closer to|nearer to|more of|similar to|resembling|the same as|just like|looks? like|looking like|sounds? like)"  # noqa: E501
COMMON_RULES = (
    rule(
        r"(?:remove|drop|clear|forget|reset|no)(?: all)?(?: the| of the)? (?:filters?|conditions?|restrictions?)",
        _keep_only_what_is_asked,
    ),
    rule(
        rf"(?:(?:show me|find|find me|give me|some) )?(?:more|others?|another|something|anything|ones?|things|similar)?"
        rf"(?: {_THING})? ?{_LIKE} (?P<which>{REFERENCE})",
        _like,
    ),
    rule(r"not (?:that|this|it)(?: one)?", lambda found, draft: (
        draft.notes.append("one moment alone is not left out; mark it as wrong instead"))),
    rule(r"(?:show me |find |find me )?(?:more|other)? ?similar(?: ones| moments| results)?$", lambda found, draft: (
        draft.change(like=draft.context.moment.id, text=None, image=None, audio=None, video=None)
        if draft.context.moment else draft.notes.append("there is no moment yet to be similar to"))),
    rule(rf"(?:much |a bit |only )?louder(?: {_THING})?(?: than (?P<which>{REFERENCE}))?", _loudness(louder=True)),
    rule(
        rf"(?:much |a bit |only )?(?:quieter|softer|less loud|not so loud)(?: {_THING})?(?: than (?P<than>{REFERENCE}))?",  # noqa: E501
        _loudness(louder=False),
    ),
    rule(r"(?:any|forget the|drop the|ignore the|whatever the) (?:loudness|volume)",
         lambda found, draft: draft.change(louder_than=None, quieter_than=None)),
    rule(
        r"(?:with )?(?:an? )?(?:anomaly|anomalies|unusualness|anomaly score|score)(?: score)?(?: is| of)? "
        r"(?:above|over|at least|greater than|more than|higher than|from|>=?) ?(?P<score>\d*\.?\d+ ?%?)",
        _anomaly_from,
    ),
    rule(r"(?:any|forget the|drop the|ignore the|remove the) anomaly(?: score)?|(?:also )?usual ones too",
         lambda found, draft: draft.change(min_anomaly=None)),
    rule(rf"{CLAUSE_START}(?:even )?more {UNUSUAL}(?: {_THING})?{CLAUSE_END}", _more_unusual),
    rule(
        rf"(?:only|just|show me|show) (?:the )?(?:most )?{UNUSUAL}(?: {_THING})?{CLAUSE_END}"
        rf"|(?:only|just) (?:the )?anomalies"
        rf"|{CLAUSE_START}(?:the )?(?:most )?{UNUSUAL} {_THING}(?: only)?{CLAUSE_END}|anomalies only",
        lambda found, draft: draft.change(min_anomaly=UNUSUAL_FROM),
    ),
    rule(r"(?:only |just )?(?:the )?(?:one|once|best) (?:per|for each|of each|in each) (?:video|camera)",
         lambda found, draft: draft.change(per_video=True)),
    # A number in a description counts what is in the footage: "two men", "the first two cars".
    rule(rf"{_COUNTED}(?:the )?(?:top|best|first) (?P<number>{_NUMBER})(?: {_THING})?{CLAUSE_END}", _at_most),
    rule(rf"(?:only|just) (?:the )?(?:best|top|first)(?: one| match| result| moment)?{CLAUSE_END}"
         rf"|{_COUNTED}(?:the )?best (?:one|match){CLAUSE_END}|{_COUNTED}only one{CLAUSE_END}", _at_most),
    rule(rf"{_COUNTED}(?:up to |at most )?(?P<number>{_NUMBER}) (?:results|moments|clips|matches){CLAUSE_END}",
         _at_most),
    rule(rf"(?:only|just) (?P<number>{_NUMBER}) of them{CLAUSE_END}", _at_most),
    rule(rf"^(?:show|give)(?: me)? (?:only |just )?(?P<number>{_NUMBER})$", _at_most),
    rule(rf"^(?:show |give )?(?:me )?(?:fewer|less|not so many)(?: {_THING})?$",
         lambda found, draft: draft.change(limit=max(1, draft.current("limit") // 2))),
    rule(r"^(?:and |now |please )?(?:show |give |get |i want |load )?(?:me )?(?:some |a few |even )?more"
         rf"(?: {_THING}| of them| of those| please)?$|next page",
         lambda found, draft: draft.change(limit=min(MOST_MOMENTS, draft.current("limit") + _MORE))),
    rule(rf"(?:the )?(?:newest|latest|most recent)(?: {_THING})?(?: (?:first|on top))",
         lambda found, draft: draft.change(order="newest")),
    rule(rf"(?:the )?(?:oldest|earliest)(?: {_THING})?(?: (?:first|on top))"
         rf"|(?:sort(?:ed)? |ordered? |{CLAUSE_START})by (?:time|date){CLAUSE_END}"
         r"|(?:in )?chronological(?:ly)?(?: order)?|in order of time",
         lambda found, draft: draft.change(order="oldest")),
    rule(r"(?:the )?best(?: ones?)? first"
         rf"|(?:sort(?:ed)? |ordered? |{CLAUSE_START})by (?:score|relevance|match){CLAUSE_END}",
         lambda found, draft: draft.change(order="best")),
)  # fmt: skip

NEGATION = rule(
    r"(?:but |and |with |also )?(?:nothing|neither|none|not any|(?<!\ba )(?<!\bthe )no|not|without|except|except for"
    r"|excluding|nobody"
    rf"|{CLAUSE_START}(?:exclude|skip|hide|leave out|ignore|remove))(?: (?:ones|moments|results|clips))?(?: (?:with|of|showing|containing|like|in which there are))?"  # noqa: E501
    r" (?P<what>[^;.!?]+)",
    _without,
)
