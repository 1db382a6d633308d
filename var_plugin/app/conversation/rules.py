"""The table of rules, and what each rule does to the request. `patterns.py` explains the names in braces."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from functools import lru_cache
from typing import Any, Literal

from var_plugin.app.conversation import times
from var_plugin.app.conversation.context import Context, clock_span
from var_plugin.app.conversation.patterns import NUMBERS, ORDINALS, compile_rule, expand, mentioned_cameras
from var_plugin.app.conversation.request import MAX_MOMENTS, MIN_UNUSUAL, QUERY_FIELDS, ChatRequest
from var_plugin.app.conversation.times import AROUND, ONE_DAY, Span, UnclearTimeError, at, part_of_day, whole_day
from var_plugin.types import Moment

Action = Literal["search", "play", "undo", "explain"]
_MORE = 5
"""Moments that "show me more" adds."""
_GAP = " ; "
"""Replaces matched words, so that the words on both sides of it are not joined."""


@dataclass
class ParseState:
    """The unparsed rest of a message, and the changes to the previous request so far."""

    rest: str
    """The words that no rule has matched yet."""
    previous: ChatRequest
    context: Context
    action: Action = "search"
    position: int | None = None
    """For "play": position of the moment in the last answer, from 0."""
    moment: Moment | None = None
    """For "explain": the moment."""
    changes: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Sentences for the user about parts that cannot be applied."""
    days: Span | None = None
    """The day or period of the message. `place_times` combines it with the two fields below."""
    part: str | None = None
    """A part of the day: "evening"."""
    clocks: dict[str, time] = field(default_factory=dict)
    """Times of day without a day, for "after" and "before"."""

    def current(self, name: str) -> Any:
        """Return the current value of a request field: the changed value, else the one of the previous request."""
        return self.changes.get(name, getattr(self.previous, name))

    def change(self, **parts: Any) -> None:
        """Set fields of the request."""
        self.changes.update(parts)


Apply = Callable[[re.Match[str], ParseState], None]


def apply_rules(state: ParseState) -> None:
    """Apply each rule to all its matches. Matched words are removed from the message."""
    for pattern, apply in _compiled(state.context.cameras):
        while match := pattern.search(state.rest):
            state.rest = (state.rest[: match.start()] + _GAP + state.rest[match.end() :]).strip()
            try:
                apply(match, state)
            except UnclearTimeError as error:
                state.notes.append(f"{error}; this part is ignored")


@lru_cache(maxsize=8)
def _compiled(cameras: Sequence[str]) -> list[tuple[re.Pattern[str], Apply]]:
    return [(compile_rule(pattern, cameras), apply) for apply, *patterns in RULES for pattern in patterns]


def _text(match: re.Match[str], group: str) -> str:
    """Return the text of a group in lower case; empty if it did not take part in the match."""
    return (match.groupdict().get(group) or "").lower()


def _set(**parts: Any) -> Apply:
    return lambda _, state: state.change(**parts)


# The conversation and the player


def _undo(_: re.Match[str], state: ParseState) -> None:
    state.action = "undo"


def _reset(_: re.Match[str], state: ParseState) -> None:
    state.previous = ChatRequest()


def _clear_conditions(_: re.Match[str], state: ParseState) -> None:
    state.change(**{name: value for name, value in vars(ChatRequest()).items() if name not in QUERY_FIELDS})


def _play(match: re.Match[str], state: ParseState) -> None:
    if moment := _referenced_moment(_text(match, "which"), state):
        state.action, state.position = "play", state.context.moments.index(moment)


def _step(match: re.Match[str], state: ParseState) -> None:
    position = state.context.position + (1 if _text(match, "step") == "next" else -1)
    if state.context.moments:
        state.action, state.position = "play", min(max(0, position), len(state.context.moments) - 1)


def _explain(match: re.Match[str], state: ParseState) -> None:
    if moment := _referenced_moment(_text(match, "which"), state):
        state.action, state.moment = "explain", moment


def _referenced_moment(words: str, state: ParseState) -> Moment | None:
    """Return the moment that a reference names, by default the selected one. If it does not exist, add a note."""
    moments = state.context.moments
    number = re.search(r"\d+", words)
    ordinal = next((index for index, word in enumerate(ORDINALS) if re.search(rf"\b{word}\b", words)), None)
    if number or ordinal is not None:
        position = int(number[0]) - 1 if number else ordinal
    elif re.search(r"\blast\b", words):
        position = len(moments) - 1
    elif state.context.moment:
        return state.context.moment
    else:
        state.notes.append("there is no moment yet to refer to")
        return None
    if position is not None and 0 <= position < len(moments):
        return moments[position]
    state.notes.append(f"“{words.strip()}” is not one of the {len(moments)} moments of the last answer")
    return None


# Cameras


def _camera_of_moment(*, same: bool) -> Apply:
    def apply(_: re.Match[str], state: ParseState) -> None:
        if moment := _referenced_moment("", state):
            others = sorted({*state.context.cameras} - {moment.camera})
            state.change(cameras=(moment.camera,) if same else tuple(others))

    return apply


def _include_cameras(match: re.Match[str], state: ParseState) -> None:
    state.change(cameras=tuple(sorted(mentioned_cameras(_text(match, "names"), state.context.cameras))))


def _exclude_cameras(match: re.Match[str], state: ParseState) -> None:
    excluded = mentioned_cameras(_text(match, "names"), state.context.cameras)
    state.change(cameras=tuple(sorted({*state.context.cameras} - excluded)))


def _unknown_camera(match: re.Match[str], state: ParseState) -> None:
    cameras = ", ".join(state.context.cameras) or "none yet"
    state.notes.append(f"there is no camera “{match['name']}”; the cameras are: {cameras}")


# Times


def _shift_day(days: int) -> Apply:
    def apply(_: re.Match[str], state: ParseState) -> None:
        day = times.default_day(state.context, state.current("after"))
        state.days = whole_day(day + timedelta(days=days), state.context)

    return apply


def _relative(span_of: Callable[[datetime, datetime], tuple[datetime | None, datetime | None]]) -> Apply:
    """Return an action that sets the bounds from the recording times of the referenced moment's start and end."""

    def apply(match: re.Match[str], state: ParseState) -> None:
        moment = _referenced_moment(_text(match, "which"), state)
        span = clock_span(moment, state.context.zone) if moment else None
        if span:
            after, before = span_of(*span)
            state.change(after=after, before=before)
        elif moment:
            state.notes.append(f"“{match[0].strip()}” needs a moment with a known recording time")

    return apply


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _near_moment(match: re.Match[str], state: ParseState) -> None:
    length = times.read_length(_text(match, "length"))
    if _text(match, "side") in ("before", "earlier"):
        _relative(lambda start, end: (start - length, start))(match, state)
    else:
        _relative(lambda start, end: (end, end + length))(match, state)


def _last_length(match: re.Match[str], state: ParseState) -> None:
    state.change(after=state.context.reference_time - times.read_length(_text(match, "length")))


def _day_range(match: re.Match[str], state: ParseState) -> None:
    state.days = times.read_range(_text(match, "first"), _text(match, "last"), state.context)


def _clock_range(match: re.Match[str], state: ParseState) -> None:
    first, last = _text(match, "first"), _text(match, "last")
    first_day, start, last_day, end = times.read_clock_range(first, last, state.context)
    if first_day and last_day:
        after, before = at(first_day, start, state.context), at(last_day, end, state.context)
        state.change(after=after, before=before if before > after else before + ONE_DAY)
    else:
        state.clocks = {"after": start, "before": end}
    _note_ambiguous_hour(state, f"{first} to {last}", start, end)


def _bound(name: Literal["after", "before"], *, inclusive: bool) -> Apply:
    """Return an action that sets one bound. If `inclusive`, a day or a longer period lies inside the bounds."""

    def apply(match: re.Match[str], state: ParseState) -> None:
        words = _text(match, "when").removesuffix(" on")
        if re.fullmatch(expand("{any_period}"), words):
            start, end = times.read_period(words, state.context)
            state.change(**{name: start if inclusive == (name == "after") else end})
            return
        day, clock, _ = times.read_point(words, state.context)
        if day:
            # "before midnight" means the midnight that ends the day.
            end_of_day = ONE_DAY if name == "before" and clock == time() else timedelta()
            state.change(**{name: at(day, clock, state.context) + end_of_day})
        else:
            state.clocks[name] = clock
        _note_ambiguous_hour(state, words, clock)

    return apply


def _around(match: re.Match[str], state: ParseState) -> None:
    day, clock, _ = times.read_point(_text(match, "when"), state.context)
    middle = at(day or times.default_day(state.context), clock, state.context)
    if day:
        state.change(after=middle - AROUND, before=middle + AROUND)
    else:
        state.clocks = {"after": (middle - AROUND).time(), "before": (middle + AROUND).time()}
    _note_ambiguous_hour(state, _text(match, "when"), clock)


def _note_ambiguous_hour(state: ParseState, words: str, *clocks: time) -> None:
    if times.is_ambiguous(words) and any(1 <= clock.hour <= 11 for clock in clocks):
        state.notes.append(f"“{words}” is read as {' to '.join(f'{clock:%H:%M}' for clock in clocks)}; add am or pm")


def _on_day(match: re.Match[str], state: ParseState) -> None:
    state.days = whole_day(times.read_day(_text(match, "day"), state.context), state.context)
    state.part = _text(match, "part") or state.part


def _in_period(match: re.Match[str], state: ParseState) -> None:
    state.days = times.read_period(_text(match, "period"), state.context)


def _in_part(match: re.Match[str], state: ParseState) -> None:
    state.part = _text(match, "part")


def _part_of_today(*, days: int = 0) -> Apply:
    def apply(match: re.Match[str], state: ParseState) -> None:
        day = state.context.now.date() + timedelta(days=days)
        state.days = part_of_day(day, _text(match, "part") or "night", state.context)

    return apply


def _time_exclusion(match: re.Match[str], state: ParseState) -> None:
    state.notes.append(f"“{match[0].strip()}”: a time cannot be excluded; name the time to search instead")


def place_times(state: ParseState) -> None:
    """Combine the day, the part of the day and the times of day of a message into bounds.

    A time of day without a day is on the default day. A bound of the previous request that contradicts is removed.
    """
    fallback = times.default_day(state.context, state.current("after"))
    if state.part:
        state.days = part_of_day(state.days[0].date() if state.days else fallback, state.part, state.context)
    start, end = state.days or whole_day(fallback, state.context)
    if state.days:
        state.changes = {"after": start, "before": end} | state.changes
    if clock := state.clocks.get("after"):
        after = at(start.date(), clock, state.context)
        state.change(after=after if after >= start else after + ONE_DAY)
    if (clock := state.clocks.get("before")) is not None:
        before = at(end.date(), clock, state.context)
        before = before if before <= end else before - ONE_DAY
        earliest = state.current("after")
        # A span over midnight: "after 11 pm and before 1 am".
        state.change(before=before + ONE_DAY if earliest and before <= earliest < before + ONE_DAY else before)
    _check_order(state)


def _check_order(state: ParseState) -> None:
    after, before = state.current("after"), state.current("before")
    changed = {"after", "before"} & state.changes.keys()
    if after is None or before is None or after < before or not changed:
        return
    if len(changed) == 1:
        state.change(**{"before" if "after" in changed else "after": None})
        return
    state.notes.append(
        f"there is no time after {after:%d %B %Y, %H:%M} and before {before:%d %B %Y, %H:%M}; this part is ignored"
    )
    del state.changes["after"], state.changes["before"]


# Similarity, scores, counts, exclusion


def _similar_to(match: re.Match[str], state: ParseState) -> None:
    if moment := _referenced_moment(_text(match, "which"), state):
        state.change(text=None, image=None, audio=None, video=None, like=moment.id)


def _audio_level(name: str, other: str) -> Apply:
    def apply(match: re.Match[str], state: ParseState) -> None:
        if moment := _referenced_moment(_text(match, "which"), state):
            state.change(**{name: moment.id, other: None})

    return apply


def _note_single_moment(_: re.Match[str], state: ParseState) -> None:
    state.notes.append("a single moment cannot be excluded from the results; ✗ wrong only stores feedback on it")


def _more_unusual(_: re.Match[str], state: ParseState) -> None:
    moment = state.context.moment
    state.change(min_anomaly=round(moment.anomaly_score, 2) if moment else MIN_UNUSUAL)


def _min_anomaly(match: re.Match[str], state: ParseState) -> None:
    score = float(_text(match, "score").rstrip(" %"))
    state.change(min_anomaly=min(1.0, score / 100 if score > 1 else score))


def _limit(match: re.Match[str], state: ParseState) -> None:
    words = _text(match, "number")
    number = NUMBERS[words] if words in NUMBERS else int(words or 1)
    state.change(limit=max(1, min(MAX_MOMENTS, number)))


def _more(_: re.Match[str], state: ParseState) -> None:
    state.change(limit=min(MAX_MOMENTS, state.current("limit") + _MORE))


def _exclude(match: re.Match[str], state: ParseState) -> None:
    listed = re.split(r"(?:,? (?:or|and|nor) |, ?)(?:no |any |without |not )?", match["what"])
    things = [re.sub(r"^(?:(?:a|an|the|any) )+", "", tidy(thing), flags=re.IGNORECASE) for thing in listed]
    things = [re.sub(r"^(?:one|body)\b", "people", thing) for thing in things if thing]
    state.change(without=tuple(dict.fromkeys([*state.current("without"), *things])))


_STOP_WORDS = re.compile(
    r"(?:[\s;,.!?:]|\b(?:only|just|show|me|us|the|this|that|those|these|them|it|ones?|please|find|give|get|can|could|you|"
    r"i|want|to|see|what|happened|was|were|is|are|there|now|then|and|but|or|ok|okay|also|again|moments?|results?|clips?|"
    r"videos?|something|anything|everything|things?|all|of|with|for|about|how|at|on|in|from|limit|search|look|"
    r"filter|keep|restrict|narrow|down|same|a|bit|much)\b)*",
    re.IGNORECASE,
)


def tidy(words: str) -> str:
    """Strip punctuation. Return an empty string for stop words alone."""
    words = words.strip(" ,.?!:-")
    return "" if _STOP_WORDS.fullmatch(words) else words


# Each action with its patterns, in order of precedence: a longer form comes before the forms that it contains.
RULES: tuple[tuple[Apply, *tuple[str, ...]], ...] = (
    # The whole message
    (_undo, r"^(?:undo|go back|back|never ?mind)(?: that)?$"),
    (_reset, r"^(?:(?:start|begin) (?:over|again)|(?:a )?new search|(?:reset|clear|forget)(?: all| everything)?)$"),
    # "anything unusual?" searches the whole index. Only conditions in the same message apply.
    (
        _reset,
        r"^(?:(?:is|was|are|were|did|has|have|show|find|list|me|there|so|and|any ?thing|something|what|what's|any"
        r"|the|all|most|else) )*"
        r"(?:{unusual_things}|anomaly|anomalies)(?: (?:going on|here|there|at all|happen(?:s|ed|ing)?))*"
        r"(?:{end}|(?= (?:last|this|that day|today|tonight|during|around|{day})\b))",
    ),
    (_limit, r"^(?:show|give)(?: me)? (?:only )?{number:number}$"),
    (_play, r"^(?:play|open|watch|go to|jump to|show|see)(?: me)? {which:moment}(?: again)?$"),
    (_step, r"^(?:play |show |show me )?(?:the )?(?P<step>next|previous)(?: one| moment| clip)?$"),
    (_explain, r"^why(?:(?: is| was)?(?: {which:moment})?(?: (?:so )?(?:{unusual}|flagged|an anomaly|listed|here))?)$"),
    # Cameras
    (
        _set(cameras=None),
        r"(?:{on} )?(?:all|any|every)(?: the)? {cam}",
        r"{start}(?:everywhere|anywhere){end}",
        r"{clear} {cam}",
    ),
    (_camera_of_moment(same=True), r"{only}(?:{on} |{start})(?:the )?(?:same {cam}|(?:this|that) {cam}{end})"),
    (_camera_of_moment(same=False), r"(?:{on} )?(?:(?:the )?other|another) {cam}", r"{start}elsewhere{end}"),
    (
        _exclude_cameras,
        r"{not}(?: {on})? {names:distinct_cameras}{end}",
        r"{start}{not} {on} {names:any_cameras}{end}",
        r"^{not} {names:any_cameras}$",
    ),
    (
        _include_cameras,
        r"{only}{on} {names:distinct_cameras}(?: only)?{end}",
        r"{start}{only}(?!in (?:the )?front)(?:on|at|from|in) {names:any_cameras}(?: only)?{end}",
        r"{start}(?:only|just) {names:any_cameras}{end}",
        r"{start}{names:any_cameras} only",
        r"{start}{names:camera}{end}",
        r"^(?:and |now |what about |show me )*{names:any_cameras}$",
    ),
    (
        _unknown_camera,
        r"{start}{only}{on} (?:the )?(?P<name>(?!the\b|a\b)[\w-]+) {cam}{end}",
        r"{start}{only}(?:{on} )?(?:the )?{cam} (?P<name>\d+){end}",
    ),
    # Times
    (
        _set(after=None, before=None),
        r"{clear} (?:time|date|day|hour)s?(?: filter)?",
        r"{start}(?:(?:at )?any ?time|(?:on )?any day){end}",
    ),
    (_relative(lambda start, end: (_midnight(start), start)), r"(?:earlier|before that)(?:,? on)? {that_day}"),
    (_relative(lambda start, end: (end, _midnight(start) + ONE_DAY)), r"(?:later|after that)(?:,? on)? {that_day}"),
    (_shift_day(-1), r"(?:on )?the (?:day before|previous day)(?: that)?{end}"),
    (_shift_day(1), r"(?:on )?the (?:next day|following day|day after)(?: that)?{end}"),
    (_shift_day(0), r"(?:on )?{that_day}"),
    (_near_moment, r"{length:length} (?P<side>before|after|earlier|later)(?: then| {which:moment})?{end}"),
    (_last_length, r"(?:in|during|within|from) the (?:last|past) (?P<length>{length}|{unit})"),
    (
        _relative(lambda start, end: (start - AROUND, start + AROUND)),
        r"(?:at |around )(?:that|the same|this) (?:time|moment)",
        r"around then",
    ),
    (
        _day_range,
        r"(?:from |between |on )?(?:the )?{first:nth}{to_and}(?:the )?{last:day_month}",
        r"(?:from |between |on )?{first:month_day}{to_and}(?:the )?(?P<last>{nth}(?!:| ?{pm}| o'clock){year}?)",
        r"(?:from |between )?{first:first_period}{to_and}{last:any_period}",
    ),
    (
        _clock_range,
        r"between {first:first_point} and {last:point}",
        r"from {first:first_point}{to}{last:point}",
        r"{first:first_point}{to}{last:clock}",
    ),
    (
        _bound("after", inclusive=True),
        r"(?:since|not before|not until|no earlier than) (?P<when>{point}|{any_period})(?: on)?",
        r"from (?P<when>{clear_point}|{any_period} on)",
    ),
    (
        _bound("before", inclusive=True),
        r"(?:until|till|not after|no later than) (?P<when>{point}|{any_period})",
        r"(?:by|up to) (?P<when>{clear_point}|{any_period})",
    ),
    (_bound("after", inclusive=False), r"(?:after|later than) (?P<when>{point}|{period})"),
    (_bound("before", inclusive=False), r"(?:before|earlier than) (?P<when>{point}|{period})"),
    (_time_exclusion, r"(?:not|nothing|except|no) (?:in the|during the|at|by|on) (?:{part}|{day})"),
    (_around, r"(?:around|about|at|near) {when:clear_point}", r"{start}{when:clear_point}{end}"),
    (_part_of_today(days=-1), r"last night"),
    (_part_of_today(), r"(?:in |during )?this {part:part}", r"tonight"),
    (
        _on_day,
        r"(?:on |during |from |for |of )?{day:day}(?:,? (?:in the |at )?{part:part})?(?: only)?",
        r"(?:on|of|from) {day:the_nth}",
    ),
    (
        _in_period,
        r"(?:(?:in|during|of|for|from) )?(?P<period>(?:this|last) (?:week|month)|{month},? (?:of )?\d{4}\b)",
        r"(?:in|during) {period:months}{end}",
        r"^{period:months}$",
    ),
    (_in_part, r"(?:in the|during the|at|by|that) {part:part}{end}"),
    (_relative(lambda start, end: (None, start)), r"^(?:and )?earlier$", r"{start}before {which:moment}{end}"),
    (_relative(lambda start, end: (end, None)), r"^(?:and )?later$", r"{start}after {which:moment}{end}"),
    # Conditions
    (_clear_conditions, r"{clear} (?:filters?|conditions?)", r"(?:clear|remove|no)(?: all)? (?:filters?|conditions?)"),
    (
        _similar_to,
        r"(?:show me |find )?(?:more|something|anything|others?|ones?)(?: {thing})? {like} {which:moment}",
        r"{start}{like} {which:moment}",
        r"^(?:show me |find )?(?:more )?similar(?: {thing})?$",
    ),
    (_note_single_moment, r"^not (?:that|this|it)(?: one)?$"),
    (_audio_level("louder_than", "quieter_than"), r"{start}{only}louder(?: {thing})?(?: than {which:moment})?"),
    (_audio_level("quieter_than", "louder_than"), r"{start}{only}quieter(?: {thing})?(?: than {which:moment})?"),
    (
        _min_anomaly,
        r"(?:with )?(?:an )?anomaly(?: score)?(?: of)? (?:above|over|at least|>=?) ?(?P<score>\d*\.?\d+ ?%?)",
    ),
    (_more_unusual, r"{start}(?:even )?more {unusual}(?: {thing})?{end}"),
    (
        _set(min_anomaly=MIN_UNUSUAL),
        r"(?:only|just) (?:the )?(?:(?:most )?{unusual_things}{end}|anomalies)",
        r"anomalies only",
    ),
    (_set(per_video=True), r"{only}(?:the )?(?:one|best) (?:per|for each|of each|in each) video"),
    # In a description a number counts things in the footage: "two men", "the first two cars".
    (
        _limit,
        r"{start}{only}{show}(?:the )?(?:top|best|first) {number:number}(?: {thing})?{end}",
        r"{start}{only}{show}(?:up to |at most )?{number:number} (?:results|moments|clips|matches){end}",
        r"(?:only|just) (?:the )?best(?: one| match| result| moment)?{end}",
    ),
    (_more, r"^{show}(?:some |a few )?more(?: {thing}| of them)?$"),
    (_set(order="newest"), r"(?:the )?(?:newest|latest|most recent)(?: {thing})? first"),
    (_set(order="oldest"), r"(?:the )?(?:oldest|earliest)(?: {thing})? first", r"{sort}by (?:time|date){end}"),
    (_set(order="best"), r"(?:the )?best(?: {thing})? first", r"{sort}by (?:score|relevance){end}"),
    # An exclusion takes the rest of its clause.
    (
        _exclude,
        r"(?:{start}(?:nothing|none|no|not|except|excluding|exclude|hide|skip|nobody)|(?:and |but )?without)"
        r"(?: (?:ones|moments|results))?(?: (?:with|of|showing|containing))? (?P<what>[^;.!?]+)",
    ),
)  # fmt: skip
