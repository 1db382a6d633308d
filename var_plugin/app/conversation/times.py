"""Readers of days and clock times: they turn the words that a rule has matched into dates and times."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

from var_plugin.app.conversation.context import Context
from var_plugin.app.conversation.patterns import NUMBERS, expand

Span = tuple[datetime, datetime]

AROUND = timedelta(minutes=10)
ONE_DAY = timedelta(days=1)
# First and last hour. The night ends on the next day.
_PARTS = {"morning": (6, 12), "afternoon": (12, 18), "evening": (18, 22), "night": (22, 30)}
_NAMED_CLOCKS = {"noon": time(12), "midday": time(12), "midnight": time(0)}
_MINUTES = {"half": 30, "quarter": 15, "five": 5, "ten": 10, "twenty": 20}
_UNITS = {"second": 1, "minute": 60, "min": 60, "hour": 3600, "day": 86_400}
_AMOUNTS = {"a": 1.0, "an": 1.0, "half an": 0.5, "a few": 5.0, **NUMBERS}
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_DAY = re.compile(expand("{day}"))
_PART = re.compile(expand("{part}"))
_MONTH = re.compile(expand("{month}"))
_UNREAD = re.compile(
    expand(
        r"(?<![\w'])(?:tomorrow|(?:this |last |next |the |on )*weekends?"
        r"|(?:next|last|this) (?:week|month|year|{weekday}|{month})"
        r"|(?:early|mid|late|(?:start|middle|end) of)[ -]{month}|{weekday}"
        r"|{clock_of_day}|{numeric}|\d{1,2}/\d{1,2}|{day_month}"
        r"|(?:half an|an?|{number}|\d+) (?:seconds?|minutes?|hours?|months?|years?) ago"
        r"|(?:in|since|until|before|after|of) (?:the year )?(?:19|20)\d\d)(?!\w)"
    ),
    re.IGNORECASE,
)


class UnclearTimeError(ValueError):
    """Words in the form of a time that are invalid or ambiguous. The message is a note for the user."""


def unread_time(words: str) -> str | None:
    """Return a part of the unparsed words that looks like a time, or None."""
    match = _UNREAD.search(words)
    return match[0] if match else None


def read_point(words: str, context: Context, *, since: date | None = None) -> tuple[date | None, time, bool | None]:
    """Read a clock time with or without a day. `since` is as for `read_day`.

    Returns:
        The day, the time of day, and whether it is pm; None if the words do not say so.

    Raises:
        UnclearTimeError: the day or the time of day is invalid or ambiguous.
    """
    match = _DAY.match(words)
    day = read_day(match[0], context, since=since) if match else None
    return day, *_read_clock(words[match.end() :].strip(" ,") if match else words)


def read_day(words: str, context: Context, *, since: date | None = None) -> date:
    """Read a day.

    A day without a year is the latest one up to the end of the footage. With `since` it is the first one from that date
    on. "Yesterday" and "last Friday" are relative to the current time.

    Raises:
        UnclearTimeError: the day is invalid or ambiguous.
    """
    import dateparser  # an optional dependency that takes a second to import

    words = re.sub(r"^the (?=\d)|(?<=\d)\.(?= )|'(?=\d\d\b)", "", words.strip())
    if nth := re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)", words):
        return _day_of_month(int(nth[1]), since or context.reference_time.date(), forwards=since is not None)
    is_relative = re.search(r"yesterday|today|ago|last", words)
    if since is not None and not is_relative:
        base, prefer = datetime.combine(since, time()) - ONE_DAY, "future"
    else:
        # Add a day, because "Saturday" may be the last day of the footage.
        now = context.now if is_relative else context.reference_time + ONE_DAY
        base, prefer = now.replace(tzinfo=None), "past"
    parsed = dateparser.parse(
        re.sub(r"^[a-z]+(?= .* ago)", lambda match: str(NUMBERS.get(match[0], match[0])), words),
        languages=["en"],
        settings={"RELATIVE_BASE": base, "PREFER_DATES_FROM": prefer, "DATE_ORDER": _date_order(words)},
    )
    if parsed is None:
        raise UnclearTimeError(f"there is no day “{words}”")
    weekday = re.match(r"(mon|tue|wed|thu|fri|sat|sun)[a-z]*,? ", words)
    if weekday and re.search(r"\d", words) and _WEEKDAYS[parsed.weekday()] != weekday[1]:
        raise UnclearTimeError(f"{parsed:%d %B %Y} is a {parsed:%A}, so “{words}” is ambiguous")
    day: date = parsed.date()
    return day


def read_period(words: str, context: Context, *, since: date | None = None) -> Span:
    """Read a day, a week or a month: "30 March", "last week", "March 2025".

    Raises:
        UnclearTimeError: as `read_day`.
    """
    today = context.now.date()
    if re.fullmatch(r"(?:this|last) week", words):
        monday = today - timedelta(days=today.weekday() + (7 if "last" in words else 0))
        return at(monday, time(), context), at(monday + timedelta(days=7), time(), context)
    if re.fullmatch(r"(?:this|last) month", words):
        first = today.replace(day=1)
        if "last" in words:
            first = (first - ONE_DAY).replace(day=1)
    elif re.fullmatch(expand("{months}"), words):
        # The month of `since` itself is included.
        first = read_day(f"1 {words}", context, since=since.replace(day=1) if since else None)
    else:
        return whole_day(read_day(words, context, since=since), context)
    return at(first, time(), context), at((first + timedelta(days=31)).replace(day=1), time(), context)


def read_range(first: str, last: str, context: Context) -> Span:
    """Return the span from the start of one period to the end of another.

    A month or a year that one end lacks is taken from the other: "28 to 30 March", "March 28 to 30, 2025".

    Raises:
        UnclearTimeError: as `read_day`, or the range ends before it starts.
    """
    number = expand(r"(?:the )?{nth}\.?")
    day_numbers = [int(match[0]) for match in (re.search(r"\d+", first), re.search(r"\d+", last)) if match]
    is_one_month = True
    if re.fullmatch(number, first) and _MONTH.search(last):
        first = re.sub(expand("{nth}"), str(day_numbers[0]), last, count=1)
    elif re.fullmatch(rf"{number}(?:,? \d{{4}})?", last) and (month := _MONTH.search(first)):
        last = f"{month[0]} {last}"
    else:
        is_one_month = False
    if is_one_month and day_numbers[0] > day_numbers[1]:
        raise UnclearTimeError(f"“{first} to {last}” ends before it starts")
    start, _ = read_period(first, context)
    _, end = read_period(last, context, since=None if re.search(r"\d{4}|'\d\d", last) else start.date())
    year = re.search(r"\d{4}", last)
    if year and _MONTH.search(first) and not re.search(r"\d{4}|'\d\d", first):
        start, _ = read_period(f"{first} {year[0]}", context)
        if start >= end:
            start, _ = read_period(f"{first} {int(year[0]) - 1}", context)
    if start >= end:
        raise UnclearTimeError(f"“{first} to {last}” ends before it starts")
    return start, end


def read_clock_range(first: str, last: str, context: Context) -> tuple[date | None, time, date | None, time]:
    """Read two clock times. A missing am, pm or day is taken from the other: "between 2 and 6 pm".

    Raises:
        UnclearTimeError: the day or the time of day is invalid or ambiguous.
    """
    first_day, start, first_pm = read_point(first, context)
    last_day, end, last_pm = read_point(last, context, since=first_day)
    if first_pm is None and last_pm and start.hour < 12 and _plus_12(start) < end:
        start = _plus_12(start)
    if last_pm is None and first_pm and end.hour < 12 and start < _plus_12(end):
        end = _plus_12(end)
    return first_day or last_day, start, last_day or first_day, end


def read_length(words: str) -> timedelta:
    """Read a duration: "ten minutes", "half an hour", "90 seconds", "hour"."""
    amount, _, unit = words.rpartition(" ")
    number = _AMOUNTS[amount or "one"] if (amount or "one") in _AMOUNTS else float(amount)
    return timedelta(seconds=number * _UNITS[unit.rstrip("s")])


def default_day(context: Context, after: datetime | None = None) -> date:
    """Return the day of `after`, else of the selected moment, else the last day of the footage."""
    if after is not None:
        return after.astimezone(context.zone).date()
    return (context.moment_span[0] if context.moment_span else context.reference_time).date()


def at(day: date, clock: time, context: Context) -> datetime:
    """Return the datetime of a day and a clock time in the time zone of the conversation."""
    return datetime.combine(day, clock, tzinfo=context.zone)


def whole_day(day: date, context: Context) -> Span:
    """Return the bounds of a day."""
    return at(day, time(), context), at(day + ONE_DAY, time(), context)


def part_of_day(day: date, part: str, context: Context) -> Span:
    """Return the bounds of a part of a day. A night starts on its day and ends on the next."""
    midnight = at(day, time(), context)
    first, last = (timedelta(hours=hour) for hour in _PARTS[part])
    return midnight + first, midnight + last


def is_ambiguous(words: str) -> bool:
    """Return whether an hour from 1 to 11 may be am or pm: "after 2", "half past three"."""
    return re.search(expand(r"(?<![a-z]){pm}|{part}|noon|midday|midnight|\d[:h]\d|\d ?h\b"), words) is None


def _date_order(words: str) -> str:
    """Return the order of a numeric date: day first with dots, or if the first number cannot be a month.

    Raises:
        UnclearTimeError: both numbers can be the month: 3/4/2025.
    """
    numeric = re.match(r"(\d{1,2})([./-])(\d{1,2})", words)
    if re.match(r"\d{4}", words):
        return "YMD"
    if numeric is None or numeric[2] == "." or int(numeric[1]) > 12:
        return "DMY"
    if int(numeric[3]) <= 12 and numeric[1] != numeric[3]:
        raise UnclearTimeError(f"“{words}” is ambiguous; write the month as a word, or the date as 2025-03-30")
    return "MDY"


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
        month = (month + timedelta(days=31)).replace(day=1) if forwards else (month - ONE_DAY).replace(day=1)
    raise UnclearTimeError(f"no month has a day {number}")


def _read_clock(words: str) -> tuple[time, bool | None]:
    """Return a time of day, and whether it is pm; None if the words do not say so."""
    if words in _NAMED_CLOCKS:
        return _NAMED_CLOCKS[words], True if words != "midnight" else None
    hour, minute, second = _hour_minute_second(words)
    try:
        clock = time(0 if hour == 24 else hour, minute, second)
    except ValueError as error:
        raise UnclearTimeError(f"“{words}” is not a valid time of day") from error
    meridiem, part = re.search(r"(?<![a-z])([ap])\.?m\b", words), _PART.search(words)
    if meridiem:
        is_pm = meridiem[1] == "p" or hour > 12
    elif part is None or hour > 12:
        return clock, None
    else:
        is_pm = 6 <= hour < 12 if part[0] == "night" else part[0] != "morning"
    if is_pm:
        return (_plus_12(clock) if hour < 12 else clock), True
    return (clock.replace(hour=0) if hour == 12 else clock), False


def _hour_minute_second(words: str) -> tuple[int, int, int]:
    if spoken := re.match(r"(?:a )?(\w+)(?: minutes)? (past|to) (\w+)", words):
        amount, hour_word = spoken[1], re.sub(r"(?<=\d)\D+", "", spoken[3])
        minutes = _MINUTES[amount] if amount in _MINUTES else int(amount)
        hour = NUMBERS[hour_word] if hour_word in NUMBERS else int(hour_word)
        return (hour, minutes, 0) if spoken[2] == "past" else ((hour - 1) % 12 or 12, 60 - minutes, 0)
    if word := re.match("|".join(sorted(NUMBERS, key=len, reverse=True)), words):
        return NUMBERS[word[0]], 0, 0
    hour, minute, second = [*map(int, re.findall(r"\d+", words)[:3]), 0, 0][:3]
    return hour, minute, second


def _plus_12(clock: time) -> time:
    return clock.replace(hour=clock.hour + 12)
