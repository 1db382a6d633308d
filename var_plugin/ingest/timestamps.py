"""When a file was recorded: known, derived, or unknown with the reason; never guessed in silence.

Sources in order of trust: the caller, a sidecar file, the file's name, the container's header. The first two are a
person's word and are taken as they stand; the last two are the camera's own clock, which has an error of its own and
often tells local time without saying so.
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

from var_plugin.config import CameraClock
from var_plugin.errors import InvalidInputError, os_error_message
from var_plugin.escaping import printable
from var_plugin.ingest.file_names import time_in_name
from var_plugin.types import ClockOrigin, ClockSource

_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)  # cameras that lost their clock begin at 1970 or 1980, MP4 at 1904
_UTC_ONLY = CameraClock()
_AHEAD = timedelta(days=1)
_FIRST_KNOWN, _LAST_KNOWN = datetime(1880, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_SIDECAR_BYTES = 64 << 10
_NOTE_LENGTH = 120


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
    """Determine when a file was recorded.

    Args:
        file: the footage; its sidecar is `NAME.EXT.json` or `NAME.json` beside it and holds
            {"recorded_at": "2026-11-01T14:30Z"}.
        given: the caller's word, with a time zone.
        created_at: reads what the container's header says (`MediaInfo.created_at`); called where nothing else has a
            time.
        clock: the camera's time zone and error, and how its files' names give the time.

    Raises:
        InvalidInputError: `given` has no zone or cannot be stored; and what `created_at` raises.
    """
    if given is not None:
        return Recorded(check_known(given), ClockOrigin(certainty="known", source="caller"))
    notes: list[str] = []
    told = _sidecar(file, notes)
    if told is not None:
        return Recorded(told, ClockOrigin(certainty="known", source="sidecar", notes=tuple(notes)))
    for source, time in _marks(file, clock, created_at, notes):
        if time.tzinfo is None and clock.zone is None:
            notes.append(f"the {source} says {time}, but not in which time zone")
            continue
        at = _in_utc(time if time.tzinfo else time.replace(tzinfo=clock.zone), clock.offset)
        if at is not None and _EARLIEST <= at <= datetime.now(UTC) + _AHEAD:
            notes.extend(_doubts(time, clock.zone))
            return Recorded(at, ClockOrigin(certainty="derived", source=source, notes=tuple(notes)))
        notes.append(f"the {source} says {time}, which cannot be")
    reasons = tuple(notes) or ("no time could be read from name or header",)
    return Recorded(None, ClockOrigin(certainty="unknown", source="unknown", notes=reasons))


def check_known(time: datetime) -> datetime:
    """Return a clock time that a person gave, in UTC.

    Raises:
        InvalidInputError: it has no time zone, or lies so far away that neither footage can be of that time nor times
            in it be reckoned.
    """
    if time.tzinfo is None:
        raise InvalidInputError(
            f"the clock time given {time} has no time zone", fix="add it, as in 2026-11-01T14:30+01:00"
        )
    at = _in_utc(time)
    if at is None or not _FIRST_KNOWN <= at < _LAST_KNOWN:
        raise InvalidInputError(
            f"nothing was recorded at {time.isoformat()}",
            why=f"clock times lie between {_FIRST_KNOWN.year} and {_LAST_KNOWN.year}",
            fix="write it as 2026-11-01T14:30+01:00",
        )
    return at


def _in_utc(time: datetime, offset: timedelta = timedelta()) -> datetime | None:
    """Return a time with zone in UTC, the camera's error corrected; None where no calendar reaches so far."""
    try:
        return time.astimezone(UTC) + offset
    except (OverflowError, ValueError):
        return None


def _marks(
    file: Path, clock: CameraClock, created_at: Callable[[], str | None], notes: list[str]
) -> Iterator[tuple[ClockSource, datetime]]:
    """Yield the marks that the camera itself left; note those that are not understood."""
    named = time_in_name(file, clock.pattern, clock.zone)
    notes.extend(named.notes)
    if named.time:
        yield "file name", named.time
    if declared := _from_header(created_at()):
        yield "container", declared


def _sidecar(file: Path, notes: list[str]) -> datetime | None:
    """Return the time in a sidecar; a file of that name which holds none is another program's, and noted."""
    for path in (file.with_name(file.name + ".json"), file.with_suffix(".json")):
        try:
            content = _read_json(path)
            if content is None or not isinstance(content, dict) or "recorded_at" not in content:
                continue
            time = datetime.fromisoformat(content["recorded_at"])
        except (OSError, TypeError, ValueError, RecursionError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else os_error_message(error)
            notes.append(f"{path.name} beside it gives no clock time: {printable(why)[:_NOTE_LENGTH]}")
            continue
        if time.tzinfo is None:
            notes.append(f"{path.name} says {time}, but not in which time zone")
            continue
        try:
            return check_known(time)
        except InvalidInputError:
            notes.append(f"{path.name} says {time.isoformat()}, which cannot be")
    return None


def _read_json(path: Path) -> Any:
    """Read a small JSON file in any of its encodings, with a byte order mark or without.

    Returns:
        None where there is no file, it is no regular one, or one so large that it is another program's.

    Raises:
        OSError: it cannot be read.
        ValueError, RecursionError: it holds no JSON.
    """
    try:
        # Not blocking, and the state of what was opened: a pipe in its place would never end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        # No sidecar: nothing there, a name too long to have one, a link to itself, a socket.
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO):
            return None
        raise
    with os.fdopen(descriptor, "rb") as opened:
        if not S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = opened.read(_SIDECAR_BYTES + 1)
    return json.loads(data) if len(data) <= _SIDECAR_BYTES else None


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
