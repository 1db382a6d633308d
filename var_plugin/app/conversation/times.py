"""Parsing of clock times, days and longer periods: "after 2 pm", "from 28 to 30 March", "in March".

dateparser converts a day into a date. It guesses in some cases, which are refused here: days that do not exist, dates
whose order of day and month depends on the country, and weekdays that contradict their date. A time of day without a
day refers to the day of the selected moment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from var_plugin.app.conversation.context import Context

Bounds = tuple[datetime | None, datetime | None]
"""Start and end; None: unlimited."""

# First and last hour. The night ends on the next day.
PARTS = {"morning": (6, 12), "afternoon": (12, 18), "evening": (18, 22), "night": (22, 30)}
AROUND = timedelta(minutes=10)
HOURS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12,
}  # fmt: skip
_NAMED_CLOCKS = {"noon": time(12), "midday": time(12), "midnight": time(0)}
_MINUTES = {"half": 30, "quarter": 15, "five": 5, "ten": 10, "twenty": 20}
_UNITS = {"second": 1, "minute": 60, "min": 60, "hour": 3600, "day": 86_400}
_AMOUNTS = {"a": 1.0, "an": 1.0, "the": 1.0, "half an": 0.5, "a few": 5.0, **HOURS}
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LAST_MOMENT_NUMBER = 20
"""Highest number of a moment. "the 21st" is always a day."""

FOLLOWED_BY_NO_NOUN = (
    r"(?=\s*(?:$|[;,.!?)])|\s+(?:and|or|but|on|in|at|only|please|before|after|until|till|between|from|to|with|without"
    r"|where|near|around|about|then|too|also|for|showing|- )\b)"
)
# fmt: off
MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\b"
)
_WEEKDAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day\b"
ORDINAL = r"\d{1,2}(?:st|nd|rd|th)?\b"
_YEAR = r"(?:,? (?:of )?\d{4}\b|,? '\d\d\b)"
DAY_AND_MONTH = rf"(?:{ORDINAL}\.? (?:of )?{MONTH}{_YEAR}?)"
MONTH_AND_DAY = rf"(?:{MONTH} (?:the )?{ORDINAL}(?!:){_YEAR}?)"
_DATE = (
    rf"(?:(?:{_WEEKDAY}|(?:mon|tues?|wed|thu|thurs|fri|sat|sun)\.?),? (?:the )?)?(?:(?:the )?{DAY_AND_MONTH}|{MONTH_AND_DAY})"  # noqa: E501
)
_NUMERIC = r"(?:\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d\d))"
_AGO = rf"(?:\d+|a|{'|'.join(HOURS)}) (?:days?|weeks?) ago"
THE_NTH = rf"the \d{{1,2}}(?:st|nd|rd|th)\b{FOLLOWED_BY_NO_NOUN}"
DAY = (
    rf"(?:the day before yesterday|yesterday|today|{_AGO}|{_NUMERIC}|{_DATE}|(?:last |this )?{_WEEKDAY}"
    rf"|the (?:2[1-9]|3[01])(?:st|nd|rd|th)\b{FOLLOWED_BY_NO_NOUN})(?!\w)"
)
_HOUR_WORD = rf"(?:{'|'.join(HOURS)})\b"
_ANY_HOUR = rf"(?:\d{{1,2}}\b|{_HOUR_WORD})"
CLOCK = (
    r"(?:noon|midday|midnight"
    rf"|(?:half past|(?:a )?quarter (?:past|to)|(?:five|ten|twenty|\d{{1,2}})(?: minutes)? past|(?:five|ten|twenty|\d{{1,2}}) minutes to) "  # noqa: E501
    rf"{_ANY_HOUR}(?: ?[ap]\.?m\b\.?)?"
    rf"|{_HOUR_WORD} ?(?:[ap]\.?m\b\.?|o'?clock\b)|\d{{1,2}}h\d\d\b"
    r"|\d{1,2}(?:[:.]\d\d){0,2} ?(?:[ap]\.?m\b\.?|o'?clock\b|h\b)|\d{1,2}(?::\d\d){1,2}(?![\d:]))"
)
MONTH_IN_WORDS = rf"(?:{MONTH}(?:,? (?:of )?\d{{4}}\b)?)"
MONTH_WITH_YEAR = rf"(?:{MONTH},? (?:of )?\d{{4}}\b)"
THIS_OR_LAST = r"(?:(?:this|last) (?:week|month))"
PART = r"(?:morning|afternoon|evening|night)"
# fmt: on
_IN_PART = rf"(?:(?:(?:in the|at|in|on that|that|this) )?{PART})"
_BARE_HOUR = r"(?:[01]?\d|2[0-4])(?![\d:./])\b"
# A clock time with an optional day or part of the day: "8 o'clock in the evening", "Friday 8 am", "4" in "4 to 5 pm".
POINT = rf"(?:(?:{DAY},? (?:at )?)?(?:{CLOCK}|{_BARE_HOUR})(?: {_IN_PART})?(?:,? (?:on )?{DAY})?|{DAY})"
LENGTH = rf"(?:(?:{'|'.join(sorted(_AMOUNTS, reverse=True))}|\d+) (?:{'|'.join(_UNITS)})s?)"

_UNREAD = re.compile(
    r"(?<![\w'])(?:tomorrow|(?:this |last |next |the |on )*weekends?|"
    rf"(?:next|last|this) (?:week|month|year|{_WEEKDAY}|{MONTH})|"
    rf"(?:early|mid|late|(?:beginning|start|middle|end) of)[ -]{MONTH}|"
    rf"{_WEEKDAY}|{CLOCK}|{_NUMERIC}|\d{{1,2}}/\d{{1,2}}|"
    rf"{ORDINAL}(?: of)? {MONTH}|(?:\d+|an?|{'|'.join(HOURS)}|half an) (?:seconds?|minutes?|hours?|months?|years?) ago|"
    rf"(?:in|since|until|before|after|of) (?:the year )?(?:19|20)\d\d)(?!\w)",
    re.IGNORECASE,
)


class UnclearTimeError(ValueError):
    """Words in the form of a time that are invalid or ambiguous. The message is a note for the user."""


@dataclass(frozen=True)
class Point:
    """A parsed time: day, clock time, and whether it is pm."""

    day: date | None
    clock: time | None
    is_pm: bool | None
    """None if neither am, pm nor a part of the day is given. The clock time may then be on a 12- or 24-hour clock."""


def unread_time(words: str) -> str | None:
    """Return a part of the unparsed words that looks like a time; None if there is none."""
    match = _UNREAD.search(words)
    return match[0] if match else None


def read_point(words: str, context: Context, *, since: date | None = None) -> Point:
    """Parse a match of `POINT`. `since` is as for `read_day`.

    Raises:
        UnclearTimeError: the day or the time of day is invalid or ambiguous.
    """
    day_words = re.search(DAY, words)
    rest = words if day_words is None else words[: day_words.start()] + " " + words[day_words.end() :]
    clock_words = re.search(rf"{CLOCK}|{_BARE_HOUR}", rest)
    day = read_day(day_words[0], context, since=since) if day_words else None
    if clock_words is None:
        return Point(day, None, None)
    part = re.search(PART, rest)
    clock, is_pm = _read_clock(clock_words[0], part[0] if part else None)
    return Point(day, clock, is_pm)


def read_day(words: str, context: Context, *, since: date | None = None) -> date:
    """Parse a match of `DAY` or `THE_NTH`.

    A day without a year is the latest one up to the end of the footage. With `since` it is the first one from that date
    on. "Yesterday" and "last Friday" are relative to the current time.

    Raises:
        UnclearTimeError: the day is invalid or ambiguous.
    """
    import dateparser  # an optional dependency that takes a second to import

    words = re.sub(r"^the (?=\d)|(?<=\d)\.(?= )|'(?=\d\d\b)", "", words.strip())
    _check_order(words)
    if nth := re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)", words):
        return _day_of_month(int(nth[1]), since or context.reference_time.date(), forwards=since is not None)
    is_relative = re.search(r"yesterday|today|ago|last", words)
    if since is not None and not is_relative:
        base, prefer = datetime.combine(since, time()) - timedelta(days=1), "future"
    else:
        # Add a day, because "Saturday" may be the last day of the footage.
        now = context.now if is_relative else context.reference_time + timedelta(days=1)
        base, prefer = now.replace(tzinfo=None), "past"
    parsed = dateparser.parse(
        _with_digits(words),
        languages=["en"],
        settings={"RELATIVE_BASE": base, "PREFER_DATES_FROM": prefer, "DATE_ORDER": _order(words)},
    )
    if parsed is None:
        raise UnclearTimeError(f"there is no day “{words}”")
    weekday = re.match(r"(mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? ", words)
    if weekday and re.search(r"\d", words) and _WEEKDAYS[parsed.weekday()] != weekday[1]:
        raise UnclearTimeError(f"{parsed:%d %B %Y} is a {parsed:%A}, so “{words}” is ambiguous")
    day: date = parsed.date()
    return day


def has_year(words: str) -> bool:
    """Return whether a day or month has a year."""
    return re.search(r"\d{4}|'\d\d|\d[./-]\d\d$", words) is not None


def default_day(context: Context, after: datetime | None = None) -> date:
    """Return the day of `after`, else of the selected moment, else the last day of the footage."""
    if after is not None:
        return after.astimezone(context.zone).date()
    return (context.moment_span[0] if context.moment_span else context.reference_time).date()


def at(day: date, clock: time, context: Context) -> datetime:
    """Return the datetime of a day and a clock time in the time zone of the conversation."""
    return datetime.combine(day, clock, tzinfo=context.zone)


def whole_day(day: date, context: Context) -> tuple[datetime, datetime]:
    """Return the bounds of a day."""
    return at(day, time(), context), at(day + timedelta(days=1), time(), context)


def part_of_day(day: date, part: str, context: Context) -> tuple[datetime, datetime]:
    """Return the bounds of a part of a day. A night starts on its day and ends on the next."""
    first, last = PARTS[part]
    midnight = at(day, time(), context)
    return midnight + timedelta(hours=first), midnight + timedelta(hours=last)


def read_period(words: str, context: Context, *, since: date | None = None) -> tuple[datetime, datetime]:
    """Return the bounds of a day, a week or a month: "30 March", "last week", "March 2025".

    Raises:
        UnclearTimeError: as `read_day`.
    """
    today = context.now.date()
    if "week" in words and "ago" not in words:
        monday = today - timedelta(days=today.weekday() + (7 if "last" in words else 0))
        return at(monday, time(), context), at(monday + timedelta(days=7), time(), context)
    if re.fullmatch(r"(?:this|last) month", words):
        first = today.replace(day=1)
        if "last" in words:
            first = (first - timedelta(days=1)).replace(day=1)
    elif re.fullmatch(MONTH_IN_WORDS, words):
        # The month of `since` itself is included.
        first = read_day(f"1 {words}", context, since=since.replace(day=1) if since else None)
    else:
        return whole_day(read_day(words, context, since=since), context)
    return at(first, time(), context), at((first + timedelta(days=31)).replace(day=1), time(), context)


def read_range(first: str, last: str, context: Context) -> tuple[datetime, datetime]:
    """Return the span from the start of one period to the end of another. Missing years are inferred.

    Raises:
        UnclearTimeError: as `read_day`, or the range ends before it starts.
    """
    start, _ = read_period(first, context)
    if has_year(last) and not has_year(first):
        _, end = read_period(last, context)
        year = re.search(r"\d{4}", last)
        if year and re.search(MONTH, first):
            start, _ = read_period(f"{first} {year[0]}", context)
            if start >= end:
                start, _ = read_period(f"{first} {int(year[0]) - 1}", context)
    else:
        _, end = read_period(last, context, since=start.date())
    if start >= end:
        raise UnclearTimeError(f"“{first} to {last}” ends before it starts")
    return start, end


def between(first: str, last: str, fallback: date, context: Context) -> tuple[datetime, datetime]:
    """Return the span between two clock times. A missing am, pm or day is taken from the other: "between 2 and 6 pm".

    Raises:
        UnclearTimeError: the day or the time of day is invalid or ambiguous.
    """
    first_point = read_point(first, context)
    last_point = read_point(last, context, since=first_point.day)
    if first_point.clock is None or last_point.clock is None:
        raise UnclearTimeError(f"“{first} to {last}” has a clock time at one end only")
    start, end = first_point.clock, last_point.clock
    if first_point.is_pm is None and last_point.is_pm and start.hour < 12 and _later(start) < end:
        start = _later(start)
    if last_point.is_pm is None and first_point.is_pm and end.hour < 12 and start < _later(end):
        end = _later(end)
    first_day = first_point.day or last_point.day or fallback
    since = at(first_day, start, context)
    until = at(last_point.day or first_day, end, context)
    return since, until if until > since else until + timedelta(days=1)


def offset(words: str) -> timedelta:
    """Parse a duration: "ten minutes", "half an hour", "90 seconds"."""
    amount, _, unit = words.rpartition(" ")
    amount = amount or "one"
    number = _AMOUNTS[amount] if amount in _AMOUNTS else float(amount)
    return timedelta(seconds=number * _UNITS[unit.rstrip("s")])


def _check_order(words: str) -> None:
    """Raise `UnclearTimeError` if the order of day and month is ambiguous: 3/4/2025."""
    numeric = re.fullmatch(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4}|\d\d)", words)
    if numeric and int(numeric[1]) <= 12 and int(numeric[2]) <= 12 and numeric[1] != numeric[2]:
        raise UnclearTimeError(f"“{words}” is ambiguous; write the month as a word, or the date as 2025-03-30")


def _order(words: str) -> str:
    """Return the order of a numeric date: day first with dots, or if the first number cannot be a month."""
    if re.match(r"\d{4}", words):
        return "YMD"
    numeric = re.match(r"(\d{1,2})([./-])(\d{1,2})", words)
    return "MDY" if numeric and numeric[2] != "." and int(numeric[1]) <= 12 else "DMY"


def _with_digits(words: str) -> str:
    return re.sub(rf"^(?:{'|'.join(HOURS)})\b", lambda match: str(HOURS[match[0]]), words)


def _day_of_month(number: int, base: date, *, forwards: bool) -> date:
    """Return the latest date up to `base` with this day of the month, or the first one from `base` on."""
    month = base.replace(day=1)
    for _ in range(12):
        try:
            day = month.replace(day=number)
        except ValueError:  # the month has no such day
            day = None
        if day and (day >= base if forwards else day <= base):
            return day
        month = (month + timedelta(days=31)).replace(day=1) if forwards else (month - timedelta(days=1)).replace(day=1)
    raise UnclearTimeError(f"no month has a day {number}")


def _read_clock(words: str, part: str | None) -> tuple[time, bool | None]:
    """Return a time of day, and whether it is pm; None if that is not given."""
    if words in _NAMED_CLOCKS:
        return _NAMED_CLOCKS[words], True if words != "midnight" else None
    hour, minute, second = _hour_minute_second(words)
    meridiem = re.search(r"(?<![a-z])([ap])\.?m\b", words)
    try:
        clock = time(hour % 24 if hour == 24 else hour, minute, second)
    except ValueError as error:
        raise UnclearTimeError(f"“{words}” is not a valid time of day") from error
    if hour > 12:
        return clock, None if meridiem is None else True
    if meridiem:
        is_pm = meridiem[1] == "p"
    elif part == "night":
        is_pm = 6 <= hour < 12
    elif part:
        is_pm = part != "morning"
    else:
        return clock, None
    if is_pm:
        return (_later(clock) if hour < 12 else clock), True
    return (clock.replace(hour=0) if hour == 12 else clock), False


def _hour_minute_second(words: str) -> tuple[int, int, int]:
    if spoken := re.match(r"(?:a )?(\w+)(?: minutes)? (past|to) (\w+)", words):
        amount = spoken[1]
        minutes = _MINUTES[amount] if amount in _MINUTES else int(amount)
        hour = HOURS.get(spoken[3]) or int(re.sub(r"\D", "", spoken[3]))
        return (hour, minutes, 0) if spoken[2] == "past" else ((hour - 1) % 12 or 12, 60 - minutes, 0)
    if word := re.match(_HOUR_WORD, words):
        return HOURS[word[0]], 0, 0
    hour, minute, second = [*map(int, re.findall(r"\d+", words)[:3]), 0, 0][:3]
    return hour, minute, second


def _later(clock: time) -> time:
    return clock.replace(hour=clock.hour + 12)
