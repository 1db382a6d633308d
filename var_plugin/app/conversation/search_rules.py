"""Rules for everything but times and cameras: similarity, audio level, anomaly score, count, order, exclusion."""

from __future__ import annotations

import re
from collections.abc import Callable

from var_plugin.app.conversation.parser_state import CLAUSE_END, CLAUSE_START, ParseState, group_text, rule, tidy
from var_plugin.app.conversation.request import MAX_MOMENTS, QUERY_FIELDS, ChatRequest
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
_DETERMINERS = re.compile(
    r"^(?:(?:a|an|the|any|some)(?:more)? )+|(?: (?:in (?:it|them|there|the picture)|there|at all|either|anymore))+$",
    re.IGNORECASE,
)
MIN_UNUSUAL = 0.5
"""Anomaly score from which a moment counts as unusual."""
_MORE = 5
"""Moments that "show me more" adds."""


def position_of(words: str, state: ParseState) -> int | None:
    """Return the position of the moment that a reference names; None, with a note, if there is none."""
    moments = state.context.moments
    number = re.search(r"\d+", words)
    ordinal = next((position for position, word in enumerate(_ORDINALS) if re.search(rf"\b{word}\b", words)), None)
    if number:
        position = int(number[0]) - 1
    elif ordinal is not None:
        position = ordinal
    else:
        position = len(moments) - 1 if re.search(r"\blast\b", words) else state.context.position
    if 0 <= position < len(moments):
        return position
    state.notes.append(f"“{words.strip()}” is not one of the {len(moments)} moments of the last answer")
    return None


def referenced_moment(words: str, state: ParseState) -> Moment | None:
    """Return the moment that a reference names. Without a number it is the selected moment."""
    if not words or re.fullmatch(rf"(?:the )?(?:this|that|it|these|same|one playing)(?: {_THING})?", words):
        if state.context.moment is None:
            state.notes.append("there is no moment yet to refer to")
        return state.context.moment
    position = position_of(words, state)
    return None if position is None else state.context.moments[position]


def _similar_to(match: re.Match[str], state: ParseState) -> None:
    moment = referenced_moment(group_text(match, "which"), state)
    if moment is not None:
        state.change(text=None, image=None, audio=None, video=None, like=moment.id)


def _compare_level(louder: bool) -> Callable[[re.Match[str], ParseState], None]:
    def apply(match: re.Match[str], state: ParseState) -> None:
        moment = referenced_moment(group_text(match, "which" if louder else "than"), state)
        if moment is not None:
            field, other = ("louder_than", "quieter_than") if louder else ("quieter_than", "louder_than")
            state.change(**{field: moment.id, other: None})

    return apply


def _more_unusual(match: re.Match[str], state: ParseState) -> None:
    moment = state.context.moment
    state.change(min_anomaly=round(moment.anomaly_score, 2) if moment else MIN_UNUSUAL)


def _set_min_anomaly(match: re.Match[str], state: ParseState) -> None:
    score = float(group_text(match, "score").rstrip(" %"))
    state.change(min_anomaly=min(1.0, score / 100 if score > 1 else score))


def _set_limit(match: re.Match[str], state: ParseState) -> None:
    words = group_text(match, "number") if "number" in match.re.groupindex else "1"
    number = HOURS[words] if words in HOURS else int(words or 1)
    state.change(limit=max(1, min(MAX_MOMENTS, number)))


def _exclude(match: re.Match[str], state: ParseState) -> None:
    listed = re.split(r"(?:,? (?:or|and|nor) |, ?)(?:no |any |without |not )?", match["what"])
    things = [_DETERMINERS.sub("", tidy(thing)) for thing in listed]
    things = [re.sub(r"^(?:one|body)\b", "people", thing) for thing in things if thing]
    state.change(without=tuple(dict.fromkeys([*state.current("without"), *things])))


def _clear_conditions(match: re.Match[str], state: ParseState) -> None:
    state.change(**{name: value for name, value in vars(ChatRequest()).items() if name not in QUERY_FIELDS})


_COUNTED = rf"{CLAUSE_START}(?:only |just |show me |show |give me )*"
_LIKE = r"(?:like|closer to|nearer to|more of|similar to|resembling|the same as|just like|looks? like|looking like|sounds? like)"  # noqa: E501
COMMON_RULES = (
    rule(
        r"(?:remove|drop|clear|forget|reset|no)(?: all)?(?: the| of the)? (?:filters?|conditions?|restrictions?)",
        _clear_conditions,
    ),
    rule(
        rf"(?:(?:show me|find|find me|give me|some) )?(?:more|others?|another|something|anything|ones?|things|similar)?"
        rf"(?: {_THING})? ?{_LIKE} (?P<which>{REFERENCE})",
        _similar_to,
    ),
    rule(r"not (?:that|this|it)(?: one)?", lambda match, state: (
        state.notes.append("a single moment cannot be excluded from the results; ✗ wrong only stores feedback on it"))),
    rule(r"(?:show me |find |find me )?(?:more|other)? ?similar(?: ones| moments| results)?$", lambda match, state: (
        state.change(like=state.context.moment.id, text=None, image=None, audio=None, video=None)
        if state.context.moment else state.notes.append("there is no moment yet to be similar to"))),
    rule(rf"(?:much |a bit |only )?louder(?: {_THING})?(?: than (?P<which>{REFERENCE}))?", _compare_level(louder=True)),
    rule(
        rf"(?:much |a bit |only )?(?:quieter|softer|less loud|not so loud)(?: {_THING})?(?: than (?P<than>{REFERENCE}))?",  # noqa: E501
        _compare_level(louder=False),
    ),
    rule(r"(?:any|forget the|drop the|ignore the|whatever the) (?:loudness|volume)",
         lambda match, state: state.change(louder_than=None, quieter_than=None)),
    rule(
        r"(?:with )?(?:an? )?(?:anomaly|anomalies|unusualness|anomaly score|score)(?: score)?(?: is| of)? "
        r"(?:above|over|at least|greater than|more than|higher than|from|>=?) ?(?P<score>\d*\.?\d+ ?%?)",
        _set_min_anomaly,
    ),
    rule(r"(?:any|forget the|drop the|ignore the|remove the) anomaly(?: score)?|(?:also )?usual ones too",
         lambda match, state: state.change(min_anomaly=None)),
    rule(rf"{CLAUSE_START}(?:even )?more {UNUSUAL}(?: {_THING})?{CLAUSE_END}", _more_unusual),
    rule(
        rf"(?:only|just|show me|show) (?:the )?(?:most )?{UNUSUAL}(?: {_THING})?{CLAUSE_END}"
        rf"|(?:only|just) (?:the )?anomalies"
        rf"|{CLAUSE_START}(?:the )?(?:most )?{UNUSUAL} {_THING}(?: only)?{CLAUSE_END}|anomalies only",
        lambda match, state: state.change(min_anomaly=MIN_UNUSUAL),
    ),
    rule(r"(?:only |just )?(?:the )?(?:one|once|best) (?:per|for each|of each|in each) (?:video|camera)",
         lambda match, state: state.change(per_video=True)),
    # In a description a number counts things in the footage: "two men", "the first two cars".
    rule(rf"{_COUNTED}(?:the )?(?:top|best|first) (?P<number>{_NUMBER})(?: {_THING})?{CLAUSE_END}", _set_limit),
    rule(rf"(?:only|just) (?:the )?(?:best|top|first)(?: one| match| result| moment)?{CLAUSE_END}"
         rf"|{_COUNTED}(?:the )?best (?:one|match){CLAUSE_END}|{_COUNTED}only one{CLAUSE_END}", _set_limit),
    rule(rf"{_COUNTED}(?:up to |at most )?(?P<number>{_NUMBER}) (?:results|moments|clips|matches){CLAUSE_END}",
         _set_limit),
    rule(rf"(?:only|just) (?P<number>{_NUMBER}) of them{CLAUSE_END}", _set_limit),
    rule(rf"^(?:show|give)(?: me)? (?:only |just )?(?P<number>{_NUMBER})$", _set_limit),
    rule(rf"^(?:show |give )?(?:me )?(?:fewer|less|not so many)(?: {_THING})?$",
         lambda match, state: state.change(limit=max(1, state.current("limit") // 2))),
    rule(r"^(?:and |now |please )?(?:show |give |get |i want |load )?(?:me )?(?:some |a few |even )?more"
         rf"(?: {_THING}| of them| of those| please)?$|next page",
         lambda match, state: state.change(limit=min(MAX_MOMENTS, state.current("limit") + _MORE))),
    rule(rf"(?:the )?(?:newest|latest|most recent)(?: {_THING})?(?: (?:first|on top))",
         lambda match, state: state.change(order="newest")),
    rule(rf"(?:the )?(?:oldest|earliest)(?: {_THING})?(?: (?:first|on top))"
         rf"|(?:sort(?:ed)? |ordered? |{CLAUSE_START})by (?:time|date){CLAUSE_END}"
         r"|(?:in )?chronological(?:ly)?(?: order)?|in order of time",
         lambda match, state: state.change(order="oldest")),
    rule(r"(?:the )?best(?: ones?)? first"
         rf"|(?:sort(?:ed)? |ordered? |{CLAUSE_START})by (?:score|relevance|match){CLAUSE_END}",
         lambda match, state: state.change(order="best")),
)  # fmt: skip

NEGATION = rule(
    r"(?:but |and |with |also )?(?:nothing|neither|none|not any|(?<!\ba )(?<!\bthe )no|not|without|except|except for"
    r"|excluding|nobody"
    rf"|{CLAUSE_START}(?:exclude|skip|hide|leave out|ignore|remove))(?: (?:ones|moments|results|clips))?(?: (?:with|of|showing|containing|like|in which there are))?"  # noqa: E501
    r" (?P<what>[^;.!?]+)",
    _exclude,
)
