"""When a file was recorded: told, derived, or unknown with the reason; never guessed in silence (DESIGN section 7).

Sources in order of trust: the caller, a sidecar file, the file's name, the container's header. The first two are a
person's word and are taken as they stand; the last two are the camera's own clock, which has an error of its own and
often tells local time without saying so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

from var_plugin.errors import InvalidInputError, said
from var_plugin.settings import CameraClock
from var_plugin.types import ClockOrigin, ClockSource

# 2026-11-01T14-30-00Z, 20261101_143000, 20261101143000, 2026.11.01 14.30.00+0100. No -0100: that may be a number.
_NAME_PATTERN = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)[-_.]?(?P<month>\d\d)[-_.]?(?P<day>\d\d)(?:[T_ .-]|_-_)?"
    r"(?P<hour>\d\d)[-_.:h]?(?P<minute>\d\d)[-_.:m]?(?P<second>\d\d)(?!\d)(?P<zone>Z|\+\d\d:?\d\d|-\d\d:\d\d)?"
)
_PARTS = ("year", "month", "day", "hour", "minute", "second")
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)  # cameras that lost their clock begin at 1970 or 1980, MP4 at 1904
_UTC_ONLY = CameraClock()
_AHEAD = timedelta(days=1)
_SIDECAR_BYTES = 64 << 10


@dataclass(frozen=True)
class Recorded:
    """The clock time at the start of a file, and how it is known."""

    at: datetime | None
    """In UTC; None when unknown."""
    origin: ClockOrigin


def recorded_at(
    file: Path,
    *,
    given: datetime | None = None,
    created_at: Callable[[], str | None] = lambda: None,
    clock: CameraClock = _UTC_ONLY,
) -> Recorded:
    """Tell when a file was recorded.

    Args:
        file: the footage; its sidecar is `NAME.EXT.json` or `NAME.json` beside it and holds
            {"recorded_at": "2026-11-01T14:30Z"}.
        given: the caller's word, with a time zone.
        created_at: reads what the container's header says (`MediaInfo.created_at`); called where nothing else tells.
        clock: the camera's time zone and error, and how its files' names tell the time.

    Raises:
        InvalidInputError: `given` has no zone, or the sidecar is not as described; and what `created_at` raises.
    """
    if given is not None:
        return _known(_with_zone(given, "the clock time given"), "caller")
    told = _sidecar(file)
    if told is not None:
        return _known(told, "sidecar")
    notes: list[str] = []
    for source, found in _marks(file, clock.pattern or _NAME_PATTERN, created_at):
        if found.tzinfo is None and clock.zone is None:
            notes.append(f"the {source} says {found}, but not in which time zone")
            continue
        notes.extend(_doubts(found, clock.zone))
        at = (found if found.tzinfo else found.replace(tzinfo=clock.zone)).astimezone(UTC) + clock.offset
        if _EARLIEST <= at <= datetime.now(UTC) + _AHEAD:
            return Recorded(at, ClockOrigin(certainty="derived", source=source, notes=tuple(notes)))
        notes.append(f"the {source} says {found}, which cannot be")
    reasons = tuple(notes) or ("neither name nor header tells a time",)
    return Recorded(None, ClockOrigin(certainty="unknown", source="unknown", notes=reasons))


def _known(at: datetime, source: ClockSource) -> Recorded:
    return Recorded(at, ClockOrigin(certainty="known", source=source))


def _marks(
    file: Path, pattern: re.Pattern[str], created_at: Callable[[], str | None]
) -> Iterator[tuple[ClockSource, datetime]]:
    """Yield the marks that the camera itself left."""
    if named := _from_name(file, pattern):
        yield "file name", named
    if declared := _from_header(created_at()):
        yield "container", declared


def _with_zone(time: datetime, what: str) -> datetime:
    if time.tzinfo is None:
        raise InvalidInputError(f"{what} {time} has no time zone", fix="add it, as in 2026-11-01T14:30+01:00")
    return time.astimezone(UTC)


def _sidecar(file: Path) -> datetime | None:
    for path in (file.with_name(file.name + ".json"), file.with_suffix(".json")):
        if not path.is_file():
            continue
        try:
            if path.stat().st_size > _SIDECAR_BYTES:
                continue  # some other program's
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict) or "recorded_at" not in content:
                continue
            return _with_zone(datetime.fromisoformat(content["recorded_at"]), f"recorded_at in {path}")
        except (OSError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"cannot read the clock time in {path}",
                why=said(error),
                fix='write {"recorded_at": "2026-11-01T14:30:00+01:00"}',
            ) from error
    return None


def _from_name(file: Path, pattern: re.Pattern[str]) -> datetime | None:
    """Return the first time in the name that can be one, without zone where the name has none."""
    for match in pattern.finditer(file.stem):
        parts = match.groupdict()
        zone = parts.get("zone")
        try:
            naive = datetime(**{name: int(parts[name]) for name in _PARTS})  # type: ignore[arg-type]
            return datetime.fromisoformat(f"{naive.isoformat()}{zone or ''}")
        except ValueError:
            continue
    return None


def _from_header(created_at: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(created_at) if created_at else None
    except ValueError:
        return None


def _doubts(time: datetime, zone: tzinfo | None) -> Iterator[str]:
    """Say so where a local time occurs twice, or not at all, since clocks are set back and forth."""
    if time.tzinfo is None and zone is not None:
        first, second = (time.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
        if first != second:
            yield f"clocks were changed around {time}: it may be an hour off"
