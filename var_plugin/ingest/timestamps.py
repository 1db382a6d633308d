"""Determine when a file was recorded: known, derived, or unknown with the reasons.

Sources in order of trust: the caller, a sidecar file, the file name, the container header. The first two are stated by
a person and used unchanged. The last two come from the camera's clock, which may be wrong and often gives local time
without a time zone.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from stat import S_ISREG
from typing import Any

from var_plugin.config import CameraClock, IndexOptions
from var_plugin.errors import InvalidInputError, os_error_message
from var_plugin.escaping import printable
from var_plugin.ingest.file_names import time_in_name
from var_plugin.types import ClockOrigin, ClockSource

_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)  # cameras that lost their time start at 1970 or 1980, MP4 at 1904
_UTC_ONLY = CameraClock()
_MAX_AHEAD = timedelta(days=1)
_MIN_KNOWN, _MAX_KNOWN = datetime(1880, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_MAX_SIDECAR_BYTES = 64 << 10
_MAX_NOTE_LENGTH = 120


@dataclass(frozen=True)
class Recorded:
    """The clock time at the start of a file, and its source."""

    at: datetime | None
    """UTC. None if unknown."""
    origin: ClockOrigin


def recorded_at(
    file: Path,
    *,
    explicit: datetime | None = None,
    created_at: Callable[[], str | None] = lambda: None,
    clock: CameraClock = _UTC_ONLY,
) -> Recorded:
    """Determine when a file was recorded.

    Args:
        file: The footage. Its sidecar is `NAME.EXT.json` or `NAME.json` beside it and holds
            {"recorded_at": "2026-11-01T14:30Z"}.
        explicit: The time that the caller states, with a time zone.
        created_at: Returns the time of the container header (`MediaInfo.created_at`). It is called only if no other
            source has a time.
        clock: The camera's time zone and clock error, and the pattern of times in file names.

    Raises:
        InvalidInputError: `explicit` has no time zone or cannot be stored. Errors of `created_at` are also raised.
    """
    if explicit is not None:
        return Recorded(check_known(explicit), ClockOrigin(certainty="known", source="caller"))
    notes: list[str] = []
    sidecar_time = _sidecar(file, notes)
    if sidecar_time is not None:
        return Recorded(sidecar_time, ClockOrigin(certainty="known", source="sidecar", notes=tuple(notes)))
    for source, time in _camera_times(file, clock, created_at, notes):
        if time.tzinfo is None and clock.zone is None:
            notes.append(f"the {source} says {time}, but not in which time zone")
            continue
        at = _in_utc(time if time.tzinfo else time.replace(tzinfo=clock.zone), clock.offset)
        if at is not None and _EARLIEST <= at <= datetime.now(UTC) + _MAX_AHEAD:
            notes.extend(_doubts(time, clock.zone))
            return Recorded(at, ClockOrigin(certainty="derived", source=source, notes=tuple(notes)))
        notes.append(f"the {source} says {time}, which is not possible")
    reasons = tuple(notes) or ("no time could be read from name or header",)
    return Recorded(None, ClockOrigin(certainty="unknown", source="unknown", notes=reasons))


def camera_clock(options: IndexOptions, camera: str) -> CameraClock:
    """Return the clock of a camera. Without a time zone of its own it has the zone of the options."""
    clock = options.cameras.get(camera, _UTC_ONLY)
    return clock if clock.zone else clock.model_copy(update={"zone": options.zone})


def check_known(time: datetime) -> datetime:
    """Return a clock time that a person stated, in UTC.

    Raises:
        InvalidInputError: It has no time zone, or lies outside the years 1880 to 2200.
    """
    if time.tzinfo is None:
        raise InvalidInputError(
            f"the recording time {time} has no time zone", fix="add it, as in 2026-11-01T14:30+01:00"
        )
    at = _in_utc(time)
    if at is None or not _MIN_KNOWN <= at < _MAX_KNOWN:
        raise InvalidInputError(
            f"the recording time {time.isoformat()} is out of range",
            why=f"recording times lie between {_MIN_KNOWN.year} and {_MAX_KNOWN.year}",
            fix="write it as 2026-11-01T14:30+01:00",
        )
    return at


def _in_utc(time: datetime, offset: timedelta = timedelta()) -> datetime | None:
    """Convert a time to UTC and correct the clock error. None if the calendar does not reach that far."""
    try:
        return time.astimezone(UTC) + offset
    except (OverflowError, ValueError):
        return None


def _camera_times(
    file: Path, clock: CameraClock, created_at: Callable[[], str | None], notes: list[str]
) -> Iterator[tuple[ClockSource, datetime]]:
    """Yield the times of the file name and the header. Add notes on those that cannot be parsed."""
    name_time = time_in_name(file, clock.pattern, clock.zone)
    notes.extend(name_time.notes)
    if name_time.time:
        yield "file name", name_time.time
    if header_time := _from_header(created_at()):
        yield "container", header_time


def _sidecar(file: Path, notes: list[str]) -> datetime | None:
    """Return the time in a sidecar. A file of that name without a time gets a note: it belongs to another program."""
    for path in (file.with_name(file.name + ".json"), file.with_suffix(".json")):
        try:
            content = _read_json(path)
            if content is None or not isinstance(content, dict) or "recorded_at" not in content:
                continue
            time = datetime.fromisoformat(content["recorded_at"])
        except (OSError, TypeError, ValueError, RecursionError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else os_error_message(error)
            notes.append(f"{path.name} beside it gives no clock time: {printable(why)[:_MAX_NOTE_LENGTH]}")
            continue
        if time.tzinfo is None:
            notes.append(f"{path.name} says {time}, but not in which time zone")
            continue
        try:
            return check_known(time)
        except InvalidInputError:
            notes.append(f"{path.name} says {time.isoformat()}, which is not possible")
    return None


def _read_json(path: Path) -> Any:
    """Read a small JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Returns:
        None if there is no regular file, or if it is too large for a sidecar.

    Raises:
        OSError: It cannot be read.
        ValueError, RecursionError: It is not JSON.
    """
    try:
        # Non-blocking, and the type is checked on the opened file: reading a FIFO would never end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        # No sidecar: nothing there, a name too long to have one, a link to itself, a socket.
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO):
            return None
        raise
    with os.fdopen(descriptor, "rb") as opened:
        if not S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = opened.read(_MAX_SIDECAR_BYTES + 1)
    return json.loads(data) if len(data) <= _MAX_SIDECAR_BYTES else None


def _from_header(created_at: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(created_at) if created_at else None
    except ValueError:
        return None


def _doubts(time: datetime, zone: tzinfo | None) -> Iterator[str]:
    """Yield a note if a local time is ambiguous or does not exist because of a daylight-saving change."""
    if time.tzinfo is None and zone is not None:
        first, second = (time.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
        if first != second:
            yield f"clocks changed around {time}, so it may be wrong by an hour"
