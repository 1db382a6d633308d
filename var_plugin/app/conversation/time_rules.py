"""Rules for clock times and days: from words to the `after` and `before` of a request."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta

from var_plugin.app.conversation.context import clock_span
from var_plugin.app.conversation.parser_state import CLAUSE_END, CLAUSE_START, Draft, rule, said
from var_plugin.app.conversation.search_rules import REFERENCE, moment_of
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
    day_in_view,
    offset,
    part_of_day,
    read_day,
    read_period,
    read_point,
    read_range,
    whole_day,
)

_THAT = rf"(?: (?:then|(?P<which>{REFERENCE})))?"
# A bare number is a time only where nothing follows that it could count.
_SINGLE = rf"(?:{POINT}){FOLLOWED_BY_NO_NOUN}"
_SPOKEN_HOUR = rf"(?:{CLOCK}|\d{{1,2}}(?= (?:in the|at) {PART}))(?: (?:(?:in the|at) )?{PART})?"
# "After the 2nd" means a moment, "since the 2nd" a day.
_PERIOD = rf"(?:{DAY}|{THIS_OR_LAST}|{MONTH_IN_WORDS}{FOLLOWED_BY_NO_NOUN})"
_PERIOD_OR_NTH = rf"(?:{_PERIOD}|{THE_NTH})"
_CLEAR_POINT = rf"(?:{DAY} )?{CLOCK}(?: (?:in the |at )?{PART})?(?: (?:on )?{DAY})?"
_TO = r"(?: ?(?:-|–) ?| (?:to|until|till|through) )"
_ONE_DAY = timedelta(days=1)


def _bounds(draft: Draft, bounds: Bounds) -> None:
    after, before = bounds
    if after is not None:
        draft.change(after=after)
    if before is not None:
        draft.change(before=before)


def _clock_bounds(draft: Draft, bounds: Bounds, *, has_day: bool) -> None:
    """Set bounds of a time of day; where the message names no day beside it, another rule may move it to its day."""
    _bounds(draft, bounds)
    if not has_day:
        draft.movable |= {name for name, bound in zip(("after", "before"), bounds, strict=True) if bound is not None}


def _narrow(draft: Draft, after: datetime, before: datetime) -> None:
    """Set the bounds of a day or a part of it; a time of day in the same message is moved into them and counts more."""
    for name, bound in (("after", after), ("before", before)):
        given = draft.changes.get(name) if name in draft.movable else None
        moved = [
            moment
            for days in range(-1, 2)
            if given is not None
            and after <= (moment := datetime.combine(after.date() + days * _ONE_DAY, given.timetz())) <= before
        ]
        # Midnight ends a day where it is a limit for "before".
        draft.change(**{name: bound if not moved else moved[-1] if name == "before" else moved[0]})
        if given is not None and not moved:
            draft.notes.append(f"{given:%H:%M} is not within {after:%d %B %Y, %H:%M} to {before:%d %B %Y, %H:%M}")


def order_bounds(draft: Draft) -> None:
    """Let a span over midnight end on the next day: "after 11 pm and before 1 am"."""
    after, before = draft.current("after"), draft.current("before")
    if after is None or before is None or after < before or not {"after", "before"} & draft.changes.keys():
        return
    if "before" in draft.movable and before + _ONE_DAY > after:
        draft.change(before=before + _ONE_DAY)
    elif "after" in draft.movable and after - _ONE_DAY < before:
        draft.change(after=after - _ONE_DAY)
    else:
        draft.notes.append(f"nothing lies after {after:%d %B %Y, %H:%M} and before {before:%d %B %Y, %H:%M}")


def _day(draft: Draft) -> date:
    """Return the day that a time of day is meant on, as long as the message names none."""
    return day_in_view(draft.context, draft.current("after"))


def _of_moment(give: Callable[[re.Match[str], datetime, datetime, Draft], Bounds]) -> Callable[..., None]:
    """Make a rule of a function that needs to know when the moment in view began and ended."""

    def apply(found: re.Match[str], draft: Draft) -> None:
        words = said(found, "which") if "which" in found.re.groupindex else ""
        moment = moment_of(words, draft) if words else draft.context.moment
        if words and moment is None:
            return  # a note says so already
        times = clock_span(moment, draft.context.zone) if moment else None
        if times is None:
            draft.notes.append(f"“{found[0].strip()}” needs a moment whose clock time is known")
        else:
            after, before = give(found, *times, draft)
            draft.change(after=after, before=before)

    return apply


def _shifted_day(days: int) -> Callable[[re.Match[str], Draft], None]:
    def apply(found: re.Match[str], draft: Draft) -> None:
        _narrow(draft, *whole_day(_day(draft) + timedelta(days=days), draft.context))

    return apply


def _near(found: re.Match[str], begins: datetime, ends: datetime, draft: Draft) -> Bounds:
    length = offset(said(found, "length"))
    if said(found, "side") in ("before", "earlier", "previous", "preceding"):
        return begins - length, begins
    if said(found, "side") in ("after", "later", "next", "following"):
        return ends, ends + length
    return begins - length, begins + length


def _later_part(found: re.Match[str], begins: datetime, ends: datetime, draft: Draft) -> Bounds:
    return ends, part_of_day(begins.date(), said(found, "part"), draft.context)[1]


def _days_of_month(found: re.Match[str], draft: Draft) -> None:
    """Read "28 to 30 March" or "March 28 to 30", whose first or last part is a number alone."""
    first, last = said(found, "first"), said(found, "last")
    if "month" in found.re.groupindex:
        last = f"{said(found, 'month')} {last}"
        first = re.sub(rf"(?:the )?{ORDINAL}", first, last, count=1)
    else:
        first = re.sub(rf"^{ORDINAL}\.?", first, last, count=1)
    if int(re.findall(r"\d+", said(found, "first"))[0]) > int(re.findall(r"\d+", said(found, "last"))[0]):
        raise UnclearTimeError(f"“{found[0].strip()}” ends before it begins")
    _narrow(draft, *read_range(first, last, draft.context))


def _from_period_to_period(found: re.Match[str], draft: Draft) -> None:
    _narrow(draft, *read_range(said(found, "first"), said(found, "last"), draft.context))


def _between(found: re.Match[str], draft: Draft) -> None:
    first = said(found, "first") or ("begin" in found.re.groupindex and said(found, "begin")) or ""
    last = said(found, "last")
    bounds = between(first, last, _day(draft), draft.context)
    words = f"{first} to {last}"
    _clock_bounds(draft, bounds, has_day=re.search(DAY, words) is not None)
    _tell_reading(draft, words, *bounds)


def _after(found: re.Match[str], draft: Draft) -> None:
    _side(found, draft, "after")


def _before(found: re.Match[str], draft: Draft) -> None:
    _side(found, draft, "before")


def _side(found: re.Match[str], draft: Draft, name: str) -> None:
    """Set a limit; "after" and "before" leave a whole period out, "since" and "until" include it."""
    words = said(found, "point")
    if re.fullmatch(_PERIOD_OR_NTH, words):
        begins, ends = read_period(words, draft.context)
        excludes = said(found, "word") in ("after", "later than", "before", "earlier than")
        limit = (ends if excludes else begins) if name == "after" else (begins if excludes else ends)
        draft.change(**{name: limit})
        return
    point = read_point(words, draft.context)
    clock = point.clock or time()
    # "before midnight" is the one that ends the day.
    days = 1 if clock == time() and name == "before" else 0
    limit = at((point.day or _day(draft)) + timedelta(days=days), clock, draft.context)
    bounds = (limit, None) if name == "after" else (None, limit)
    _clock_bounds(draft, bounds, has_day=point.day is not None)
    _tell_reading(draft, words, limit)


def _tell_reading(draft: Draft, words: str, *limits: datetime | None) -> None:
    """Note how an hour of twelve was read that can be one of two: "after 2"."""
    if re.search(rf"(?<![a-z])[ap]\.?m\b|{PART}|noon|midday|midnight|\d[:h]\d|\d ?h\b", words):
        return
    if any(limit and 1 <= limit.hour <= 11 for limit in limits):
        clocks = " to ".join(f"{limit:%H:%M}" for limit in limits if limit)
        draft.notes.append(f"“{words}” is read as {clocks}; say am or pm")


def _around(found: re.Match[str], draft: Draft) -> None:
    point = read_point(said(found, "point"), draft.context)
    if point.clock is not None:
        middle = at(point.day or _day(draft), point.clock, draft.context)
        _clock_bounds(draft, (middle - AROUND, middle + AROUND), has_day=point.day is not None)
        _tell_reading(draft, said(found, "point"), middle)


def _in_period(found: re.Match[str], draft: Draft) -> None:
    words = next(filter(None, (said(found, group) for group in ("period", "month", "alone"))))
    _narrow(draft, *read_period(words, draft.context))


def _on_day(found: re.Match[str], draft: Draft) -> None:
    day = read_day(said(found, "day"), draft.context)
    part = said(found, "part") or said(found, "first_part")
    _narrow(draft, *(part_of_day(day, part, draft.context) if part else whole_day(day, draft.context)))


def _part(found: re.Match[str], draft: Draft) -> None:
    _narrow(draft, *part_of_day(_day(draft), said(found, "part"), draft.context))


def _part_before(found: re.Match[str], draft: Draft) -> None:
    _narrow(draft, *part_of_day(_day(draft) - _ONE_DAY, said(found, "part"), draft.context))


def _of_today(part: str | None, days: int = 0) -> Callable[[re.Match[str], Draft], None]:
    def apply(found: re.Match[str], draft: Draft) -> None:
        day = draft.context.now.date() + timedelta(days=days)
        _narrow(draft, *part_of_day(day, part or said(found, "part"), draft.context))

    return apply


def _daytime(found: re.Match[str], draft: Draft) -> None:
    _narrow(draft, at(_day(draft), time(6), draft.context), at(_day(draft), time(18), draft.context))


def _cannot(found: re.Match[str], draft: Draft) -> None:
    draft.notes.append(f"“{found[0].strip()}”: a time cannot be left out, only kept; say which")


def _last(found: re.Match[str], draft: Draft) -> None:
    _bounds(draft, (draft.context.latest - offset(said(found, "length")), None))


_REFINES = rf"{CLAUSE_START}(?:and |but |only |a bit |much )*"

TIME_RULES = (
    rule(
        r"(?:forget|drop|remove|ignore|clear|reset)(?: about)? the (?:times?|dates?|days?|hours?)(?: filter| limit)?"
        rf"|{_REFINES}(?:(?:at )?any ?time|(?:on )?any (?:day|hour)|whenever|all (?:day|times|days)){CLAUSE_END}",
        lambda found, draft: draft.change(after=None, before=None),
    ),
    rule(
        r"(?:earlier|before that|before this)(?:,? (?:on |the )?(?:that|same|this) day)",
        _of_moment(lambda found, begins, ends, draft: (at(begins.date(), datetime.min.time(), draft.context), begins)),
    ),
    rule(
        r"(?:later|after that|after this)(?:,? (?:on |the )?(?:that|same|this) day)",
        _of_moment(lambda found, begins, ends, draft: (ends, whole_day(begins.date(), draft.context)[1])),
    ),
    rule(rf"later (?:that|in the|the same|this) (?P<part>{PART})", _of_moment(_later_part)),
    rule(rf"(?:on )?the (?:day before|previous day)(?! yesterday)(?: that)?{FOLLOWED_BY_NO_NOUN}|a day earlier", _shifted_day(-1)),  # noqa: E501
    rule(rf"(?:on )?the (?:next|following) day{FOLLOWED_BY_NO_NOUN}|(?:on )?the day after(?: that)?{FOLLOWED_BY_NO_NOUN}|a day later", _shifted_day(1)),  # noqa: E501
    rule(r"(?:that|the same|on that|on the same) day(?: only)?", _shifted_day(0)),
    rule(
        rf"(?:in |within |up to )?(?P<length>{LENGTH}) (?P<side>before|after|earlier|later|around){_THAT}{FOLLOWED_BY_NO_NOUN}",  # noqa: E501
        _of_moment(_near),
    ),
    rule(rf"(?P<side>within) (?P<length>{LENGTH}) of (?P<which>{REFERENCE})", _of_moment(_near)),
    rule(rf"(?:in |during )?the (?P<side>previous|preceding|next|following) (?P<length>{LENGTH}|hour|minute)", _of_moment(_near)),  # noqa: E501
    rule(rf"(?:on )?the (?P<part>{PART}) before{FOLLOWED_BY_NO_NOUN}", _part_before),
    rule(rf"(?:in|during|within|over|from) the (?:last|past) (?P<length>{LENGTH}|hour|minute|day)", _last),
    rule(
        r"(?:at |around |about |near )(?:that|the same|this) (?:time|moment)|around then|at the time",
        _of_moment(lambda found, begins, ends, draft: (begins - AROUND, begins + AROUND)),
    ),
    # Days and months from one to another, before the clock times that their numbers could be taken for.
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
    rule(rf"(?:not|nothing|except|but not|no|none) (?:in the|during the|at|by|on) (?:{PART}|{DAY})", _cannot),
    rule(
        rf"(?:around|about|at|near)(?: about)? (?P<point>(?:{DAY} )?{_SPOKEN_HOUR}(?: (?:on )?{DAY})?)", _around
    ),
    # Alone it can mean nothing else.
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
         _of_moment(lambda found, begins, ends, draft: (None, begins))),
    rule(rf"^(?:and |but |a bit |much )*later(?: on| than that)?$|{_REFINES}after (?P<which>{REFERENCE}){CLAUSE_END}",
         _of_moment(lambda found, begins, ends, draft: (ends, None))),
)  # fmt: skip
"""Longer forms come before those that are part of them."""
