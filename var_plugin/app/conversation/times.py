"""Clock times and days in words, as a span of time: "after 2 pm", "on Friday evening", "an hour before that".

Days are read by dateparser. A time of day without a day is meant on the day in view.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import dateparser

from var_plugin.app.conversation.context import Context

Bounds = tuple[datetime | None, datetime | None]
"""From and until; None where open."""

# Hours of the day; the night reaches into the next one.
PARTS = {"morning": (6, 12), "afternoon": (12, 18), "evening": (18, 22), "night": (22, 30)}
AROUND = timedelta(minutes=10)
_NAMED_CLOCKS = {"noon": time(12), "midday": time(12), "midnight": time(0)}
HOURS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12,
}  # fmt: skip
_UNITS = {"second": 1, "minute": 60, "min": 60, "hour": 3600, "day": 86_400}
_AMOUNTS = {"a": 1.0, "an": 1.0, "the": 1.0, "half an": 0.5, "a few": 5.0, **HOURS}

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]*"
_WEEKDAY = r"(?:mon|tues?|wednes|thurs?|fri|satur|sun)day"
_ORDINAL = r"\d{1,2}(?:st|nd|rd|th)?"
_YEAR = r"(?:,? \d{4})"
# fmt: off
DAY = (
    rf"(?:the day before yesterday|yesterday|today|\d+ days ago|\d{{4}}-\d\d-\d\d|\d{{1,2}}[./]\d{{1,2}}[./]\d{{4}}"
    rf"|(?:{_WEEKDAY},? (?:the )?)?(?:{_MONTH} {_ORDINAL}|{_ORDINAL} (?:of )?{_MONTH}){_YEAR}?"
    rf"|(?:last |this )?{_WEEKDAY}|the \d{{1,2}}(?:st|nd|rd|th))\b"
)
CLOCK = (
    r"(?:noon|midday|midnight|half past \w+|\d{1,2}(?:[:.]\d\d){0,2} ?(?:a\.?m\b\.?|p\.?m\b\.?|o'?clock|h\b)"
    r"|\d{1,2}(?::\d\d){1,2})"
)
SPAN = rf"(?:(?:this|last) (?:week|month)|{_MONTH}(?: \d{{4}})?)"
PART = r"(?:morning|afternoon|evening|night)"
# fmt: on
_IN_PART = rf"(?:(?:in the|at|in|on that|that|this) )?{PART}"
_HOUR = r"(?:\d{1,2}|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b"
# A clock time with what can say which one: "8 o'clock in the evening", "Friday 8 am", "4" beside "5 pm".
POINT = rf"(?:(?:{DAY},? (?:at )?)?(?:{CLOCK}|{_HOUR})(?: {_IN_PART})?|{DAY})"


@dataclass(frozen=True)
class Point:
    """A time in words, taken apart: the day, the clock time, and the part of the day that tells am from pm."""

    day: date | None
    clock: time | None
    afternoon: bool | None
    """None where neither am, pm nor a part of the day is told."""


def read_point(words: str, context: Context) -> Point:
    """Take apart what `POINT` matched."""
    day_words = re.search(DAY, words)
    rest = words if day_words is None else words[: day_words.start()] + " " + words[day_words.end() :]
    part = re.search(PART, rest)
    found = re.search(rf"{CLOCK}|{_HOUR}", rest)
    meridiem = re.search(r"\b(?:\d|:)*\s?(a|p)\.?m\b", rest)
    afternoon = meridiem[1] == "p" if meridiem else part[0] != "morning" if part else None
    return Point(
        day=read_day(day_words[0], context) if day_words else None,
        clock=_clock(found[0], afternoon) if found else None,
        afternoon=afternoon,
    )


def read_day(words: str, context: Context) -> date | None:
    """Return the day that `DAY` matched: counted from now where it says so, else the latest up to the footage's end."""
    relative = re.search(r"yesterday|today|ago|last", words)
    # One day on: "Saturday" may be the very last day of the footage.
    base = context.now if relative else context.latest + timedelta(days=1)
    found = dateparser.parse(
        words, languages=["en"], settings={"RELATIVE_BASE": base.replace(tzinfo=None), "PREFER_DATES_FROM": "past"}
    )
    return found.date() if found else None


def day_in_view(context: Context, after: datetime | None = None) -> date:
    """Return the day that a time of day is meant on: the one asked for, else of the moment in view, else the latest."""
    if after is not None:
        return after.astimezone(context.zone).date()
    return (context.moment_at[0] if context.moment_at else context.latest).date()


def at(day: date, clock: time, context: Context) -> datetime:
    """Return a day and a clock time in the time zone of the conversation."""
    return datetime.combine(day, clock, tzinfo=context.zone)


def whole_day(day: date, context: Context) -> Bounds:
    """Return from midnight to midnight."""
    return at(day, time(), context), at(day + timedelta(days=1), time(), context)


def part_of_day(day: date, part: str, context: Context) -> Bounds:
    """Return the hours that a part of the day means; a night begins on its day."""
    first, last = PARTS[part]
    midnight = at(day, time(), context)
    return midnight + timedelta(hours=first), midnight + timedelta(hours=last)


def calendar_span(words: str, context: Context) -> Bounds:
    """Return the week or the month that "this week", "last month", "march", "march 2025" means."""
    if "week" in words:
        monday = context.now.date() - timedelta(days=context.now.weekday() + (7 if "last" in words else 0))
        return at(monday, time(), context), at(monday + timedelta(days=7), time(), context)
    first = context.now.date().replace(day=1)
    if "month" not in words:
        settings = {"RELATIVE_BASE": context.latest.replace(tzinfo=None), "PREFER_DATES_FROM": "past"}
        named = dateparser.parse(f"1 {words}", languages=["en"], settings=settings)
        first = named.date() if named else first
    elif "last" in words:
        first = (first - timedelta(days=1)).replace(day=1)
    return at(first, time(), context), at((first + timedelta(days=31)).replace(day=1), time(), context)


def between(first: str, last: str, fallback: date, context: Context) -> Bounds:
    """Return the span between two points; what one leaves out, the other tells: "between 2 and 6 pm"."""
    begin, end = read_point(first, context), read_point(last, context)
    day = begin.day or end.day or fallback
    if begin.clock is None or end.clock is None:
        return whole_day(begin.day or fallback, context)[0], whole_day(end.day or fallback, context)[1]
    begins = begin.clock
    if begin.afternoon is None and end.afternoon and begins.hour < 12 and _later(begins) <= end.clock:
        begins = _later(begins)
    since, until = at(begin.day or day, begins, context), at(end.day or day, end.clock, context)
    return since, until if until > since else until + timedelta(days=1)


def offset(words: str) -> timedelta:
    """Return the length of "ten minutes", "half an hour", "90 seconds"."""
    amount, _, unit = words.rpartition(" ")
    amount = amount or "one"
    number = _AMOUNTS[amount] if amount in _AMOUNTS else float(amount)
    return timedelta(seconds=number * _UNITS[unit.rstrip("s")])


LENGTH = rf"(?:(?:{'|'.join(sorted(_AMOUNTS, reverse=True))}|\d+) (?:{'|'.join(_UNITS)})s?)"


def _clock(words: str, afternoon: bool | None) -> time | None:
    if words in _NAMED_CLOCKS:
        return _NAMED_CLOCKS[words]
    if words.startswith("half past"):
        words = f"{HOURS.get(words.split()[-1], words.split()[-1])}:30"
    elif words in HOURS:
        words = str(HOURS[words])
    try:
        clock = time(*map(int, re.findall(r"\d+", words)[:3]))  # type: ignore[arg-type]
    except ValueError:
        return None
    if afternoon and clock.hour < 12:
        return _later(clock)
    return clock.replace(hour=0) if afternoon is False and clock.hour == 12 else clock


def _later(clock: time) -> time:
    return clock.replace(hour=clock.hour + 12)
