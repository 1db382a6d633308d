"""Parse clock times in the names of recordings: date, time, fraction, AM or PM, and time zone.

Recorders write `20240115_120000.mp4`, `2024-01-15T12-00-00.000Z.mp4`, `Front 2024-01-15 3.05.10 PM GMT+1.mp4` and
similar names. If a time zone or PM were ignored, the time would be wrong by hours. A name that cannot be parsed
completely therefore gives no time, but a note with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path

_PARTS = ("year", "month", "day", "hour", "minute", "second")
# The lookbehind rejects a date that ends in a year: 15-01-2024_12-05-30.
_TIME = re.compile(
    r"(?<!\d)(?<!\d\d[-_.]\d\d[-_.])"
    r"(?P<year>(?:19|20)\d\d)(?:[-_.]?(?P<month>\d\d)[-_.]?(?P<day>\d\d))"
    r"(?P<joint>[Tt]|_-_|__|[ _]at[ _]|, ?|[_ .-])?"
    r"(?:(?P<hour>\d\d)[-_.:h]?(?P<minute>\d\d)[-_.:m]?(?P<second>\d\d)"
    r"|(?P<hour1>\d)[-_.:h](?P<minute1>\d\d)[-_.:m](?P<second1>\d\d))"
    r"(?:(?P<thousandths>\d{3})|[.,]\d{1,9}|-\d{3}(?=[Zz+-]))?(?!\d)s?"
)
_HALF = re.compile(
    r"[ _.\u00a0\u202f-]?(?:"
    r"(?P<morning>[Aa]\.?[ \u00a0\u202f]?[Mm]\.?(?![A-Za-z0-9])|上午|午前|오전|vorm\.?(?![A-Za-z]))"
    r"|(?P<afternoon>[Pp]\.?[ \u00a0\u202f]?[Mm]\.?(?![A-Za-z0-9])|下午|午後|오후|nachm\.?(?![A-Za-z])))"
)
_ZULU = re.compile(r"[ _]?[Zz](?![A-Za-z0-9])")
_NAMED_OFFSET = re.compile(
    r"[ _.-]?[(\[]?(?:UTC|GMT)"
    r"(?:[ _]?(?P<sign>[+\u2212-])(?P<hours>\d{1,2}?)(?:[:._-]?(?P<minutes>\d\d))?)?(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_OFFSET = re.compile(r"[ _]?[(\[]?(?P<sign>[+\u2212-])(?P<hours>\d\d)(?:(?P<colon>[:_-]?)(?P<minutes>\d\d))?(?!\d)")
# Names of time zones. An abbreviation has different meanings in different countries.
_ZONE_NAME = re.compile(
    r"[ _.-]?[(\[]?(?P<name>"
    r"(?:ACDT|ACST|ADT|AEDT|AEST|AKDT|AKST|AST|AWST|BRT|BST|CAT|CDT|CEST|CET|CST|EAT|EDT|EEST|EET|EST|HKT|HST|IDT|IST|"
    r"JST|KST|MDT|MSK|MST|NDT|NST|NZDT|NZST|PDT|PHT|PKT|PST|SAST|SGT|TRT|WAT|WEST|WET|WIB|WIT|WITA)(?![A-Za-z])"
    r"|(?:Africa|America|Asia|Atlantic|Australia|Europe|Indian|Pacific)[-_][A-Z][A-Za-z_]+"
    r"|(?:cest|cet|jst|msk|pdt|pst)(?![A-Za-z])"
    r"|(?:Eastern|Central|Mountain|Pacific)[ _-]Time"
    r"|[A-Z][A-Za-z]*\.?(?:[ _-][A-Z][A-Za-z]*\.?){0,3}[ _-](?:Standard|Daylight|Summer)[ _-]Time"
    r"|(?:UTC|GMT)\d{1,2}(?!\d))"
)
_MAX_LENGTH = timedelta(hours=48)
_MIN_EPOCH, _MAX_AHEAD = datetime(2010, 1, 1, tzinfo=UTC), timedelta(days=1)
# Milliseconds, or seconds with a fraction. Ten digits alone may be any number.
_EPOCH = re.compile(r"(?<![\d.])(?:(?P<milliseconds>1\d{12})|(?P<seconds>1\d{9})(?P<fraction>\.\d{3,6})?)(?![\d.])")


@dataclass(frozen=True)
class NameTime:
    """The start time of a recording according to its file name."""

    time: datetime | None = None
    """With a time zone if the name has one."""
    notes: tuple[str, ...] = ()
    """Why a time in the name is not used."""


def time_in_name(file: Path, pattern: re.Pattern[str] | None = None, zone: tzinfo | None = None) -> NameTime:
    """Parse the clock time in a file name.

    Args:
        file: The recording. Only its name is used.
        pattern: Pattern with the groups year, month, day, hour, minute, second and, optionally, zone. Default: the
            usual formats.
        zone: The camera's time zone. It decides whether an abbreviation such as CET is accepted.
    """
    name = file.name if file.suffix[1:].isdigit() else file.stem
    if pattern is not None:
        return _by_pattern(name, pattern)
    times = list(_times(name, zone))
    if not times:
        return _epoch(name)
    first = times[0]
    if first.time is None:
        return first
    others = [other.time for other in times[1:] if other.time is not None and other.time != first.time]
    if any(not _is_end(first.time, other) for other in others):
        return NameTime(notes=(f"the file name holds several times ({first.time}, {others[0]}), none is used",))
    return first


def _is_end(start: datetime, other: datetime) -> bool:
    """Return whether the second time may be the end of the recording."""
    if start.tzinfo is None or other.tzinfo is None:
        start, other = start.replace(tzinfo=None), other.replace(tzinfo=None)
    return timedelta() <= other - start <= _MAX_LENGTH


def _by_pattern(name: str, pattern: re.Pattern[str]) -> NameTime:
    for match in pattern.finditer(name):
        parts = match.groupdict()
        try:
            time = _datetime([parts[part] for part in _PARTS])
        except (TypeError, ValueError):
            continue
        if not (written := parts.get("zone")):
            return NameTime(time)
        offset = _offset(_OFFSET.fullmatch(written) or _NAMED_OFFSET.fullmatch(written))
        if _ZULU.fullmatch(written):
            offset = UTC
        if offset is None:
            return NameTime(notes=(f"the file name says {time}, but its time zone is unknown: {written}",))
        return NameTime(time.replace(tzinfo=offset))
    return NameTime()


def _times(name: str, zone: tzinfo | None) -> Iterator[NameTime]:
    for match in _TIME.finditer(name):
        parts = match.groupdict()
        if parts["thousandths"] and parts["hour1"]:
            continue
        try:
            time = _datetime([parts[part] or parts[f"{part}1"] for part in _PARTS])
        except ValueError:
            continue
        if parts["thousandths"]:
            time = time.replace(microsecond=1000 * int(parts["thousandths"]))
        # Pixel phones write UTC without a zone.
        default = UTC if name[: match.start()].endswith("PXL_") else None
        yield _apply_suffix(time, name[match.end() :], iso=parts["joint"] in ("T", "t"), zone=zone, default=default)


def _datetime(parts: Sequence[str]) -> datetime:
    year, month, day, hour, minute, second = map(int, parts)
    return datetime(year, month, day, hour, minute, second)


def _apply_suffix(time: datetime, rest: str, *, iso: bool, zone: tzinfo | None, default: tzinfo | None) -> NameTime:
    """Apply the AM or PM and the time zone that follow a time in a name.

    Args:
        time: The time in the name.
        rest: The text after it.
        iso: Whether date and time are joined as in ISO 8601, so that `-0500` is a time zone and not a number.
        zone: The camera's time zone.
        default: Time zone if the text has none.
    """
    if half := _HALF.match(rest):
        afternoon = half["afternoon"] is not None
        if (time.hour > 12 and not afternoon) or (time.hour == 0 and afternoon):
            return NameTime(
                notes=(f"the file name says {time} and {half[0].strip(' _-')}, which contradict each other",)
            )
        if time.hour <= 12:
            time = time.replace(hour=time.hour % 12 + 12 * afternoon)
        rest = rest[half.end() :]
    if _ZULU.match(rest):
        return NameTime(time.replace(tzinfo=UTC))
    if named := _NAMED_OFFSET.match(rest):
        return _zoned(time, _offset(named), named[0])
    if match := _OFFSET.match(rest):
        offset, after = _offset(match), rest[match.end() :]
        # A minus may also precede the number of a part, or the end time of the recording.
        is_continued = re.match(r"[-:.]?\d", after) is not None
        if match["sign"] == "+" or match["colon"] == ":" or (iso and match["minutes"] is not None and not is_continued):
            return _zoned(time, offset, match[0])
        if offset is not None and not is_continued and (match["minutes"] is not None or iso or rest.startswith(" ")):
            written = match[0].strip(" _")
            return NameTime(
                notes=(f"the file name says {time}; {written} may be its time zone or a number, so it is not used",)
            )
    elif match := _ZONE_NAME.match(rest):
        name = match["name"].upper() if match["name"].islower() else match["name"]
        if zone is None or name not in (time.replace(tzinfo=zone).tzname(), re.sub("/", "-", str(zone))):
            return _zoned(time, None, match["name"])
    elif re.match(r" ?\+\d", rest):
        return _zoned(time, None, rest[:8])
    return NameTime(time.replace(tzinfo=default) if default else time)


def _zoned(time: datetime, offset: tzinfo | None, written: str) -> NameTime:
    """Return the time in its time zone, or a note if the zone is unknown."""
    if offset is not None:
        return NameTime(time.replace(tzinfo=offset))
    zone = written.strip(" _.-([")
    return NameTime(notes=(f"the file name says {time} in an unknown time zone: {zone}",))


def _offset(match: re.Match[str] | None) -> tzinfo | None:
    """Return the time zone of a UTC offset that is in use; None for other numbers."""
    if match is None:
        return None
    if match["sign"] is None:
        return UTC
    offset = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"] or 0))
    if offset > timedelta(hours=14) or offset.seconds % 900 or timedelta() < offset < timedelta(hours=1):
        return None
    return timezone(offset if match["sign"] == "+" else -offset)


def _epoch(name: str) -> NameTime:
    """Parse a Unix time in milliseconds or with a fraction. Ten digits alone are ambiguous and only noted."""
    for match in _EPOCH.finditer(name):
        seconds = float(match["milliseconds"] or match["seconds"] + (match["fraction"] or ""))
        time = datetime.fromtimestamp(seconds / (1000 if match["milliseconds"] else 1), UTC)
        if not _MIN_EPOCH <= time <= datetime.now(UTC) + _MAX_AHEAD:
            continue
        if match["milliseconds"] or match["fraction"]:
            return NameTime(time)
        return NameTime(notes=(f"{match[0]} in the file name may be a Unix time ({time}), so it is not used",))
    return NameTime()
