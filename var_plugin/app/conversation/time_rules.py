"""Rules for clock times and days, which set `after` and `before` of a request."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta

from var_plugin.app.conversation.context import clock_span
from var_plugin.app.conversation.parser_state import CLAUSE_END, CLAUSE_START, ParseState, group_text, rule
from var_plugin.app.conversation.search_rules import REFERENCE, referenced_moment
from var_plugin.app.conversation.times import (
    AROUND,
    CLOCK,
    DAY,
    DAY_AND_MONTH,
    FOLLOWED_BY_NO_NOUN,
    LENGTH,
    MONTH,
    MONTH_IN_WORDS,
    MONTH_WITH_YEAR,
    ORDINAL,
    PART,
    POINT,
    THE_NTH,
    THIS_OR_LAST,
    Bounds,
    UnclearTimeError,
    at,
    between,
    default_day,
    offset,
    part_of_day,
    read_day,
    read_period,
    read_point,
    read_range,
    whole_day,
)

_THAT = rf"(?: (?:then|(?P<which>{REFERENCE})))?"
# A bare number is a time only if no noun follows it.
_SINGLE = rf"(?:{POINT}){FOLLOWED_BY_NO_NOUN}"
_SPOKEN_HOUR = rf"(?:{CLOCK}|\d{{1,2}}(?= (?:in the|at) {PART}))(?: (?:(?:in the|at) )?{PART})?"
# "After the 2nd" refers to a moment, "since the 2nd" to a day.
_PERIOD = rf"(?:{DAY}|{THIS_OR_LAST}|{MONTH_IN_WORDS}{FOLLOWED_BY_NO_NOUN})"
_PERIOD_OR_NTH = rf"(?:{_PERIOD}|{THE_NTH})"
_CLEAR_POINT = rf"(?:{DAY} )?{CLOCK}(?: (?:in the |at )?{PART})?(?: (?:on )?{DAY})?"
_TO = r"(?: ?(?:-|–) ?| (?:to|until|till|through) )"
_ONE_DAY = timedelta(days=1)


def _bounds(state: ParseState, bounds: Bounds) -> None:
    after, before = bounds
    if after is not None:
        state.change(after=after)
    if before is not None:
        state.change(before=before)


def _clock_bounds(state: ParseState, bounds: Bounds, *, has_day: bool) -> None:
    """Set bounds of a time of day. Without a day, a later rule may move them to its day."""
    _bounds(state, bounds)
    if not has_day:
        state.movable |= {name for name, bound in zip(("after", "before"), bounds, strict=True) if bound is not None}


def _narrow(state: ParseState, after: datetime, before: datetime) -> None:
    """Set the bounds of a day or a part of it. A time of day in the same message is moved into them and wins."""
    for name, bound in (("after", after), ("before", before)):
        time_of_day = state.changes.get(name) if name in state.movable else None
        moved = [
            moment
            for days in range(-1, 2)
            if time_of_day is not None
            and after <= (moment := datetime.combine(after.date() + days * _ONE_DAY, time_of_day.timetz())) <= before
        ]
        # For "before", midnight is the end of the day.
        state.change(**{name: bound if not moved else moved[-1] if name == "before" else moved[0]})
        if time_of_day is not None and not moved:
            state.notes.append(f"{time_of_day:%H:%M} is not within {after:%d %B %Y, %H:%M} to {before:%d %B %Y, %H:%M}")


def order_bounds(state: ParseState) -> None:
    """Move the end of a span over midnight to the next day: "after 11 pm and before 1 am"."""
    after, before = state.current("after"), state.current("before")
    if after is None or before is None or after < before or not {"after", "before"} & state.changes.keys():
        return
    if "before" in state.movable and before + _ONE_DAY > after:
        state.change(before=before + _ONE_DAY)
    elif "after" in state.movable and after - _ONE_DAY < before:
        state.change(after=after - _ONE_DAY)
    else:
        state.notes.append(f"there is no time after {after:%d %B %Y, %H:%M} and before {before:%d %B %Y, %H:%M}")


def _day(state: ParseState) -> date:
    """Return the day of a time of day if the message names none."""
    return default_day(state.context, state.current("after"))


def _relative_to_moment(
    bounds_of: Callable[[re.Match[str], datetime, datetime, ParseState], Bounds],
) -> Callable[..., None]:
    """Return a rule action that gets the clock times of the referenced moment's start and end."""

    def apply(match: re.Match[str], state: ParseState) -> None:
        words = group_text(match, "which") if "which" in match.re.groupindex else ""
        moment = referenced_moment(words, state) if words else state.context.moment
        if words and moment is None:
            return  # `referenced_moment` added a note
        times = clock_span(moment, state.context.zone) if moment else None
        if times is None:
            state.notes.append(f"“{match[0].strip()}” needs a moment with a known clock time")
        else:
            after, before = bounds_of(match, *times, state)
            state.change(after=after, before=before)

    return apply


def _shifted_day(days: int) -> Callable[[re.Match[str], ParseState], None]:
    def apply(match: re.Match[str], state: ParseState) -> None:
        _narrow(state, *whole_day(_day(state) + timedelta(days=days), state.context))

    return apply


def _near_moment(match: re.Match[str], start: datetime, end: datetime, state: ParseState) -> Bounds:
    length = offset(group_text(match, "length"))
    if group_text(match, "side") in ("before", "earlier", "previous", "preceding"):
        return start - length, start
    if group_text(match, "side") in ("after", "later", "next", "following"):
        return end, end + length
    return start - length, start + length


def _later_part(match: re.Match[str], start: datetime, end: datetime, state: ParseState) -> Bounds:
    return end, part_of_day(start.date(), group_text(match, "part"), state.context)[1]


def _days_of_month(match: re.Match[str], state: ParseState) -> None:
    """Parse "28 to 30 March" or "March 28 to 30", where one end of the range is a number alone."""
    first, last = group_text(match, "first"), group_text(match, "last")
    if "month" in match.re.groupindex:
        last = f"{group_text(match, 'month')} {last}"
        first = re.sub(rf"(?:the )?{ORDINAL}", first, last, count=1)
    else:
        first = re.sub(rf"^{ORDINAL}\.?", first, last, count=1)
    if int(re.findall(r"\d+", group_text(match, "first"))[0]) > int(re.findall(r"\d+", group_text(match, "last"))[0]):
        raise UnclearTimeError(f"“{match[0].strip()}” ends before it starts")
    _narrow(state, *read_range(first, last, state.context))


def _from_period_to_period(match: re.Match[str], state: ParseState) -> None:
    _narrow(state, *read_range(group_text(match, "first"), group_text(match, "last"), state.context))


def _between(match: re.Match[str], state: ParseState) -> None:
    first = group_text(match, "first") or ("begin" in match.re.groupindex and group_text(match, "begin")) or ""
    last = group_text(match, "last")
    bounds = between(first, last, _day(state), state.context)
    words = f"{first} to {last}"
    _clock_bounds(state, bounds, has_day=re.search(DAY, words) is not None)
    _note_ambiguous_hour(state, words, *bounds)


def _after(match: re.Match[str], state: ParseState) -> None:
    _set_limit(match, state, "after")


def _before(match: re.Match[str], state: ParseState) -> None:
    _set_limit(match, state, "before")


def _set_limit(match: re.Match[str], state: ParseState, name: str) -> None:
    """Set one limit. "after" and "before" exclude a whole period, "since" and "until" include it."""
    words = group_text(match, "point")
    if re.fullmatch(_PERIOD_OR_NTH, words):
        start, end = read_period(words, state.context)
        excludes = group_text(match, "word") in ("after", "later than", "before", "earlier than")
        limit = (end if excludes else start) if name == "after" else (start if excludes else end)
        state.change(**{name: limit})
        return
    point = read_point(words, state.context)
    clock = point.clock or time()
    # "before midnight" means the midnight that ends the day.
    days = 1 if clock == time() and name == "before" else 0
    limit = at((point.day or _day(state)) + timedelta(days=days), clock, state.context)
    bounds = (limit, None) if name == "after" else (None, limit)
    _clock_bounds(state, bounds, has_day=point.day is not None)
    _note_ambiguous_hour(state, words, limit)


def _note_ambiguous_hour(state: ParseState, words: str, *limits: datetime | None) -> None:
    """Add a note if an hour may be am or pm: "after 2"."""
    if re.search(rf"(?<![a-z])[ap]\.?m\b|{PART}|noon|midday|midnight|\d[:h]\d|\d ?h\b", words):
        return
    if any(limit and 1 <= limit.hour <= 11 for limit in limits):
        clocks = " to ".join(f"{limit:%H:%M}" for limit in limits if limit)
        state.notes.append(f"“{words}” is read as {clocks}; add am or pm")


def _around(match: re.Match[str], state: ParseState) -> None:
    point = read_point(group_text(match, "point"), state.context)
    if point.clock is not None:
        middle = at(point.day or _day(state), point.clock, state.context)
        _clock_bounds(state, (middle - AROUND, middle + AROUND), has_day=point.day is not None)
        _note_ambiguous_hour(state, group_text(match, "point"), middle)


def _in_period(match: re.Match[str], state: ParseState) -> None:
    words = next(filter(None, (group_text(match, group) for group in ("period", "month", "alone"))))
    _narrow(state, *read_period(words, state.context))


def _on_day(match: re.Match[str], state: ParseState) -> None:
    day = read_day(group_text(match, "day"), state.context)
    part = group_text(match, "part") or group_text(match, "first_part")
    _narrow(state, *(part_of_day(day, part, state.context) if part else whole_day(day, state.context)))


def _part(match: re.Match[str], state: ParseState) -> None:
    _narrow(state, *part_of_day(_day(state), group_text(match, "part"), state.context))


def _part_before(match: re.Match[str], state: ParseState) -> None:
    _narrow(state, *part_of_day(_day(state) - _ONE_DAY, group_text(match, "part"), state.context))


def _of_today(part: str | None, days: int = 0) -> Callable[[re.Match[str], ParseState], None]:
    def apply(match: re.Match[str], state: ParseState) -> None:
        day = state.context.now.date() + timedelta(days=days)
        _narrow(state, *part_of_day(day, part or group_text(match, "part"), state.context))

    return apply


def _daytime(match: re.Match[str], state: ParseState) -> None:
    _narrow(state, at(_day(state), time(6), state.context), at(_day(state), time(18), state.context))


def _note_exclusion(match: re.Match[str], state: ParseState) -> None:
    state.notes.append(f"“{match[0].strip()}”: a time cannot be excluded; name the time to search instead")


def _last(match: re.Match[str], state: ParseState) -> None:
    _bounds(state, (state.context.reference_time - offset(group_text(match, "length")), None))


_REFINES = rf"{CLAUSE_START}(?:and |but |only |a bit |much )*"

TIME_RULES = (
    rule(
        r"(?:forget|drop|remove|ignore|clear|reset)(?: about)? the (?:times?|dates?|days?|hours?)(?: filter| limit)?"
        rf"|{_REFINES}(?:(?:at )?any ?time|(?:on )?any (?:day|hour)|whenever|all (?:day|times|days)){CLAUSE_END}",
        lambda match, state: state.change(after=None, before=None),
    ),
    rule(
        r"(?:earlier|before that|before this)(?:,? (?:on |the )?(?:that|same|this) day)",
        _relative_to_moment(lambda match, start, end, state: (at(start.date(), time(), state.context), start)),
    ),
    rule(
        r"(?:later|after that|after this)(?:,? (?:on |the )?(?:that|same|this) day)",
        _relative_to_moment(lambda match, start, end, state: (end, whole_day(start.date(), state.context)[1])),
    ),
    rule(rf"later (?:that|in the|the same|this) (?P<part>{PART})", _relative_to_moment(_later_part)),
    rule(rf"(?:on )?the (?:day before|previous day)(?! yesterday)(?: that)?{FOLLOWED_BY_NO_NOUN}|a day earlier", _shifted_day(-1)),  # noqa: E501
    rule(rf"(?:on )?the (?:next|following) day{FOLLOWED_BY_NO_NOUN}|(?:on )?the day after(?: that)?{FOLLOWED_BY_NO_NOUN}|a day later", _shifted_day(1)),  # noqa: E501
    rule(r"(?:that|the same|on that|on the same) day(?: only)?", _shifted_day(0)),
    rule(
        rf"(?:in |within |up to )?(?P<length>{LENGTH}) (?P<side>before|after|earlier|later|around){_THAT}{FOLLOWED_BY_NO_NOUN}",  # noqa: E501
        _relative_to_moment(_near_moment),
    ),
    rule(rf"(?P<side>within) (?P<length>{LENGTH}) of (?P<which>{REFERENCE})", _relative_to_moment(_near_moment)),
    rule(rf"(?:in |during )?the (?P<side>previous|preceding|next|following) (?P<length>{LENGTH}|hour|minute)", _relative_to_moment(_near_moment)),  # noqa: E501
    rule(rf"(?:on )?the (?P<part>{PART}) before{FOLLOWED_BY_NO_NOUN}", _part_before),
    rule(rf"(?:in|during|within|over|from) the (?:last|past) (?P<length>{LENGTH}|hour|minute|day)", _last),
    rule(
        r"(?:at |around |about |near )(?:that|the same|this) (?:time|moment)|around then|at the time",
        _relative_to_moment(lambda match, start, end, state: (start - AROUND, start + AROUND)),
    ),
    # Ranges of days and months come before clock times, because their numbers could be read as hours.
    rule(
        rf"(?:from |between |on )?(?:the )?(?P<first>{ORDINAL}){_TO}(?:the )?(?P<last>{DAY_AND_MONTH})", _days_of_month
    ),
    rule(rf"between (?:the )?(?P<first>{ORDINAL}) and (?:the )?(?P<last>{DAY_AND_MONTH})", _days_of_month),
    rule(
        rf"(?:from |between |on )?(?P<month>{MONTH}) (?:the )?(?P<first>{ORDINAL})(?:{_TO}| and )(?:the )?"
        rf"(?P<last>{ORDINAL}(?!:| ?[ap]\.?m\b| o'?clock)(?:,? \d{{4}}\b)?)",
        _days_of_month,
    ),
    rule(rf"(?:from |between )?(?P<first>{_PERIOD_OR_NTH}){_TO}(?P<last>{_PERIOD_OR_NTH})", _from_period_to_period),
    rule(rf"between (?P<first>{_PERIOD_OR_NTH}) and (?P<last>{_PERIOD_OR_NTH})", _from_period_to_period),
    rule(rf"(?:between (?P<first>{POINT}) and|from (?P<begin>{POINT}){_TO}) ?(?P<last>{_SINGLE})", _between),
    rule(rf"(?P<first>{POINT}){_TO}(?P<last>(?:{CLOCK})(?: in the {PART})?)", _between),
    rule(rf"(?P<word>no earlier than|not earlier than|not before|not until) (?P<point>{_SINGLE}|{_PERIOD})", _after),
    rule(rf"(?P<word>no later than|not later than|not after|not past) (?P<point>{_SINGLE}|{_PERIOD})", _before),
    rule(rf"(?P<word>after|later than) (?P<point>{_SINGLE}|{_PERIOD})(?: (?:on|onwards?))?", _after),
    rule(
        rf"(?P<word>since|starting (?:at|from|on)) (?P<point>{_SINGLE}|{_PERIOD_OR_NTH})(?: (?:on|onwards?))?", _after
    ),
    rule(rf"(?P<word>from) (?P<point>{_CLEAR_POINT}|{_PERIOD_OR_NTH})(?: (?:on|onwards?))?", _after),
    rule(rf"(?P<word>before|earlier than) (?P<point>{_SINGLE}|{_PERIOD})", _before),
    rule(rf"(?P<word>until|till) (?P<point>{_SINGLE}|{_PERIOD_OR_NTH})", _before),
    rule(rf"(?P<word>by|up to) (?P<point>{_CLEAR_POINT}|{_PERIOD_OR_NTH})", _before),
    rule(rf"(?:not|nothing|except|but not|no|none) (?:in the|during the|at|by|on) (?:{PART}|{DAY})", _note_exclusion),
    rule(
        rf"(?:around|about|at|near)(?: about)? (?P<point>(?:{DAY} )?{_SPOKEN_HOUR}(?: (?:on )?{DAY})?)", _around
    ),
    # A message of nothing but a time is unambiguous.
    rule(rf"^(?P<point>(?:{DAY},? (?:at )?)?{_SPOKEN_HOUR})$", _around),
    rule(rf"last night|overnight{FOLLOWED_BY_NO_NOUN}", _of_today("night", days=-1)),
    rule(rf"(?:only )?(?:during the|in the|by|during) ?day(?:time|light)?(?: only)?{FOLLOWED_BY_NO_NOUN}|daytime(?: only)?{FOLLOWED_BY_NO_NOUN}", _daytime),  # noqa: E501
    rule(r"tonight", _of_today("night")),
    rule(rf"(?:in |during )?this (?P<part>{PART})", _of_today(None)),
    rule(
        rf"(?:(?:in |during )?(?:the )?(?P<first_part>{PART}) (?:of |on ))?(?:on |during |from |for )?(?P<day>{DAY})"
        rf"(?:,? (?:in the |at |during the )?(?P<part>{PART}))?(?: only)?",
        _on_day,
    ),
    rule(rf"(?:(?:in |during )?(?:the )?(?P<first_part>{PART}) of |on )(?P<day>{THE_NTH})(?: in the (?P<part>{PART}))?(?: only)?", _on_day),  # noqa: E501
    rule(
        rf"(?:(?:in|during|of|for|from) )?(?P<period>{MONTH_WITH_YEAR}|{THIS_OR_LAST})(?: only)?"
        rf"|(?:in|during) (?P<month>{MONTH_IN_WORDS}{FOLLOWED_BY_NO_NOUN})(?: only)?|^(?P<alone>{MONTH_IN_WORDS})$",
        _in_period,
    ),
    rule(rf"(?:in the|during the|at|by|that|on that|in that|only in the) (?P<part>{PART}){FOLLOWED_BY_NO_NOUN}", _part),
    rule(rf"^(?:and |but |a bit |much )*earlier(?: on| than that)?$"
         rf"|{_REFINES}before (?P<which>{REFERENCE}){CLAUSE_END}",
         _relative_to_moment(lambda match, start, end, state: (None, start))),
    rule(rf"^(?:and |but |a bit |much )*later(?: on| than that)?$|{_REFINES}after (?P<which>{REFERENCE}){CLAUSE_END}",
         _relative_to_moment(lambda match, start, end, state: (end, None))),
)  # fmt: skip
"""In order of precedence: a longer form comes before the forms that it contains."""
