"""Rules for clock times and days: from words to the `after` and `before` of a request."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta

from var_plugin.app.conversation.context import clock_span
from var_plugin.app.conversation.draft import Draft, rule, said
from var_plugin.app.conversation.rules import REFERENCE, moment_of
from var_plugin.app.conversation.times import (
    AROUND,
    CLOCK,
    DAY,
    LENGTH,
    PART,
    POINT,
    SPAN,
    Bounds,
    at,
    between,
    calendar_span,
    day_in_view,
    offset,
    part_of_day,
    read_day,
    read_point,
    whole_day,
)

_THAT = rf"(?: (?:then|(?P<which>{REFERENCE})))?"
# A bare number is a time only where nothing follows that it could count.
_SINGLE = rf"{POINT}(?! (?!and|or|on|in|at|but|only|please)\w)"


def _bounds(draft: Draft, bounds: Bounds) -> None:
    after, before = bounds
    if after is not None:
        draft.change(after=after)
    if before is not None:
        draft.change(before=before)


def _day(draft: Draft) -> date:
    """Return the day that a time of day is meant on: one that the message names, else the day in view."""
    named = re.search(rf"(?<!\w){DAY}", draft.left, re.IGNORECASE)
    day = read_day(named[0].lower(), draft.context) if named else None
    return day or day_in_view(draft.context, draft.current("after"))


def _of_moment(give: Callable[[re.Match[str], datetime, datetime, Draft], Bounds]) -> Callable[..., None]:
    """Make a rule of a function that needs to know when the moment in view began and ended."""

    def apply(found: re.Match[str], draft: Draft) -> None:
        words = said(found, "which") if "which" in found.re.groupindex else ""
        moment = moment_of(words, draft) if words else draft.context.moment
        times = clock_span(moment, draft.context.zone) if moment else None
        if times is None:
            draft.notes.append(f"“{found[0].strip()}” needs a moment whose clock time is known")
        else:
            after, before = give(found, *times, draft)
            draft.change(after=after, before=before)

    return apply


def _shifted_day(days: int) -> Callable[[re.Match[str], Draft], None]:
    def apply(found: re.Match[str], draft: Draft) -> None:
        _bounds(draft, whole_day(_day(draft) + timedelta(days=days), draft.context))

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


def _between(found: re.Match[str], draft: Draft) -> None:
    day = read_day(said(found, "day"), draft.context) if found["day"] else None
    _bounds(draft, between(said(found, "first"), said(found, "last"), day or _day(draft), draft.context))


def _after(found: re.Match[str], draft: Draft) -> None:
    _bounds(draft, (_side(found, draft, after=True), None))


def _before(found: re.Match[str], draft: Draft) -> None:
    _bounds(draft, (None, _side(found, draft, after=False)))


def _side(found: re.Match[str], draft: Draft, *, after: bool) -> datetime:
    """Return a point as a limit: a whole day is left out by "after" and "before", and begun or ended by the others."""
    point = read_point(said(found, "point"), draft.context)
    day = point.day or _day(draft)
    midnight, next_midnight = at(day, time(), draft.context), at(day + timedelta(days=1), time(), draft.context)
    if point.clock is not None:
        # "before midnight" is the one that ends the day.
        return next_midnight if point.clock == time() and not after else at(day, point.clock, draft.context)
    excluded = said(found, "word") in ("after", "later than", "before", "earlier than")
    return (next_midnight if excluded else midnight) if after else (midnight if excluded else next_midnight)


def _around(found: re.Match[str], draft: Draft) -> None:
    point = read_point(said(found, "point"), draft.context)
    if point.clock is not None:
        middle = at(point.day or _day(draft), point.clock, draft.context)
        _bounds(draft, (middle - AROUND, middle + AROUND))


def _on_day(found: re.Match[str], draft: Draft) -> None:
    day = read_day(said(found, "day"), draft.context)
    if day is not None:
        part = said(found, "part") or said(found, "first_part")
        after, before = part_of_day(day, part, draft.context) if part else whole_day(day, draft.context)
        # What the message says by the clock is narrower: "on Friday after 2 pm".
        draft.change(after=draft.changes.get("after", after), before=draft.changes.get("before", before))


def _part(found: re.Match[str], draft: Draft) -> None:
    _bounds(draft, part_of_day(_day(draft), said(found, "part"), draft.context))


def _part_before(found: re.Match[str], draft: Draft) -> None:
    _bounds(draft, part_of_day(_day(draft) - timedelta(days=1), said(found, "part"), draft.context))


def _of_today(part: str | None, days: int = 0) -> Callable[[re.Match[str], Draft], None]:
    def apply(found: re.Match[str], draft: Draft) -> None:
        day = draft.context.now.date() + timedelta(days=days)
        _bounds(draft, part_of_day(day, part or said(found, "part"), draft.context))

    return apply


def _cannot(found: re.Match[str], draft: Draft) -> None:
    draft.notes.append(f"“{found[0].strip()}”: a time cannot be left out, only kept; say which")


def _last(found: re.Match[str], draft: Draft) -> None:
    _bounds(draft, (draft.context.latest - offset(said(found, "length")), None))


TIME_RULES = (
    rule(
        r"(?:forget|drop|remove|ignore|clear|reset)(?: about)? the (?:times?|dates?|days?|hours?)(?: filter| limit)?"
        r"|(?:at )?any ?time|any (?:day|hour)|whenever|all (?:day|times|days)",
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
    rule(r"(?:on )?the (?:day before|previous day)(?! yesterday)(?: that)?|a day earlier", _shifted_day(-1)),
    rule(r"(?:on )?the (?:next|following) day|(?:on )?the day after(?: that)?|a day later", _shifted_day(1)),
    rule(r"(?:that|the same|on that|on the same) day(?: only)?", _shifted_day(0)),
    rule(
        rf"(?:in |within |up to )?(?P<length>{LENGTH}) (?P<side>before|after|earlier|later|around){_THAT}", _of_moment(_near)  # noqa: E501
    ),
    rule(rf"(?P<side>within) (?P<length>{LENGTH}) of (?P<which>{REFERENCE})", _of_moment(_near)),
    rule(rf"(?:in |during )?the (?P<side>previous|preceding|next|following) (?P<length>{LENGTH}|hour|minute)", _of_moment(_near)),  # noqa: E501
    rule(rf"(?:on )?the (?P<part>{PART}) before", _part_before),
    rule(rf"(?:in |during |from )?(?P<span>{SPAN})(?: only)?$",
         lambda found, draft: _bounds(draft, calendar_span(said(found, "span"), draft.context))),
    rule(rf"(?:in |during |within )?the (?:last|past) (?P<length>{LENGTH}|hour|minute|day)", _last),
    rule(
        r"(?:at |around |about |near )(?:that|the same|this) (?:time|moment)|around then|at the time",
        _of_moment(lambda found, begins, ends, draft: (begins - AROUND, begins + AROUND)),
    ),
    rule(
        rf"(?:(?:on )?(?P<day>{DAY}),? )?(?:between|from) (?P<first>{POINT}) (?:and|to|until|till|-|–) (?P<last>{POINT})",  # noqa: E501
        _between,
    ),
    rule(rf"(?P<word>no earlier than|not earlier than|not before|not until) (?P<point>{_SINGLE})", _after),
    rule(rf"(?P<word>no later than|not later than|not after|not past) (?P<point>{_SINGLE})", _before),
    rule(
        rf"(?P<word>after|since|from|starting at|starting from|later than) (?P<point>{_SINGLE})(?: (?:on|onwards?))?", _after  # noqa: E501
    ),
    rule(rf"(?P<word>before|until|till|by|up to|earlier than) (?P<point>{_SINGLE})", _before),
    rule(rf"(?:not|nothing|except|but not|no|none) (?:in the|during the|at|by|on) (?:{PART}|{DAY})", _cannot),
    rule(rf"(?:around|about|at|near)(?: about)? (?P<point>(?:{DAY} )?{CLOCK}(?: {PART})?(?: (?:on )?{DAY})?)", _around),
    rule(r"last night|overnight", _of_today("night", days=-1)),
    rule(r"(?:only )?(?:during the|in the|by|during) ?day(?:time|light)?(?: only)?|daytime(?: only)?",
         lambda found, draft: _bounds(draft, (at(_day(draft), time(6), draft.context), at(_day(draft), time(18), draft.context)))),  # noqa: E501
    rule(r"tonight", _of_today("night")),
    rule(rf"(?:in |during )?this (?P<part>{PART})", _of_today(None)),
    rule(
        rf"(?:(?:in |during )?(?:the )?(?P<first_part>{PART}) (?:of |on ))?(?:on |during |from |for )?(?P<day>{DAY})"
        rf"(?:,? (?:in the |at |during the )?(?P<part>{PART}))?(?: only)?",
        _on_day,
    ),
    rule(rf"(?:in the|during the|at|by|that|on that|in that|only in the) (?P<part>{PART})(?! \w+ing)", _part),
    rule(rf"^(?:and |but |a bit |much )*earlier(?: on| than that)?$|before (?P<which>{REFERENCE})",
         _of_moment(lambda found, begins, ends, draft: (None, begins))),
    rule(rf"^(?:and |but |a bit |much )*later(?: on| than that)?$|after (?P<which>{REFERENCE})",
         _of_moment(lambda found, begins, ends, draft: (ends, None))),
)  # fmt: skip
"""Longer forms come before those that are part of them."""
