r"""From a typed `Filter` to conditions, and from those to a Milvus expression.

Values are escaped, keys are checked: nothing is injected. `copy.py` tests the same conditions without Milvus.

Milvus Lite has no expression templates, so literals are written out. Its strings follow JSON's escapes except \uXXXX;
control characters, which JSON would write like that, are refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from var_plugin.errors import InvalidInputError
from var_plugin.types import Filter, Scalar

UNKNOWN_TIME = -1
"""`recorded_at` of a segment whose clock time is not known."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Far enough from the ends of `datetime` that zones and positions can be added.
MIN_CLOCK_MS = round((datetime(2, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds() * 1000)
MAX_CLOCK_MS = round((datetime(9900, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds() * 1000)
MAX_VIDEO_SECONDS = 1e9

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LONGEST_STRING = 1_000
_LONGEST_LIST = 10_000

Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]


@dataclass(frozen=True)
class Condition:
    """What one field of a row must satisfy; with `key`, the value under that key of a JSON field."""

    field: str
    operator: Operator
    value: Scalar | tuple[str, ...]
    key: str | None = None


@dataclass(frozen=True)
class AnyOf:
    """Alternatives: all conditions of at least one group must hold."""

    groups: tuple[tuple[Condition, ...], ...]


Conditions = Sequence[Condition | AnyOf]
"""What a row must satisfy, all of it."""


def compile_filter(
    wanted: Filter, *, excluded_videos: Iterable[str] = (), running_at_start: Mapping[str, int] | None = None
) -> str:
    """Return the Milvus expression for a filter, as `conditions`; an empty string filters nothing."""
    return expression(conditions(wanted, excluded_videos=excluded_videos, running_at_start=running_at_start))


def conditions(
    wanted: Filter, *, excluded_videos: Iterable[str] = (), running_at_start: Mapping[str, int] | None = None
) -> list[Condition | AnyOf]:
    """Return the conditions for a filter, all of which must hold; none filters nothing.

    A segment satisfies `after` and `before` if some of it lies between them. Rows have the clock time of a segment's
    start only, and Milvus cannot add two fields. So the segments that began before `after` and end later are found by
    their position: they belong to the few videos that were running at `after`.

    Args:
        wanted: the filter.
        excluded_videos: ids of videos that must not be found.
        running_at_start: by video id, how far the video had run at `wanted.after`, in milliseconds.

    Raises:
        InvalidInputError: a value or a metadata key that cannot be part of an expression.
    """
    found: list[Condition | AnyOf] = []
    for field, values in (("camera", wanted.cameras), ("video_id", wanted.video_ids), ("kind", wanted.kinds)):
        if values is not None:
            found.append(one_of(field, values))
    if excluded := list(excluded_videos):
        found.append(one_of("video_id", excluded, operator="not in"))
    if wanted.after is not None or wanted.before is not None:
        found.append(Condition("recorded_at", "!=", UNKNOWN_TIME))
    if wanted.after is not None:
        later = (Condition("recorded_at", ">=", epoch_ms(wanted.after)),)
        running = [
            (Condition("video_id", "==", check_text(video_id)), Condition("end_ms", ">", position))
            for video_id, position in (running_at_start or {}).items()
        ]
        found.append(AnyOf((later, *running)) if running else later[0])
    if wanted.before is not None:
        found.append(Condition("recorded_at", "<", epoch_ms(wanted.before)))
    if wanted.after_second is not None:
        found.append(Condition("end_ms", ">", _milliseconds_of(wanted.after_second)))
    if wanted.before_second is not None:
        found.append(Condition("start_ms", "<", _milliseconds_of(wanted.before_second)))
    if wanted.min_anomaly is not None:
        found.append(Condition("anomaly", ">=", wanted.min_anomaly))
    if wanted.max_anomaly is not None:
        found.append(Condition("anomaly", "<=", wanted.max_anomaly))
    for key, value in stored_metadata(wanted.metadata).items():
        literal(value)  # raises where it cannot be asked for
        found.append(Condition("metadata", "==", value, key))
    return found


def expression(wanted: Iterable[Condition | AnyOf]) -> str:
    """Return conditions as Milvus reads them; an empty string where there is none."""
    return " and ".join(f"({_written(condition)})" for condition in wanted)


def _written(condition: Condition | AnyOf) -> str:
    if isinstance(condition, AnyOf):
        return " or ".join(f"({expression(group)})" for group in condition.groups)
    field = condition.field if condition.key is None else f'{condition.field}["{condition.key}"]'
    if isinstance(condition.value, tuple):
        listed = ", ".join(literal(value) for value in condition.value)
        inside = f"{field} in [{listed}]"
        return inside if condition.operator == "in" else f"not ({inside})"
    return f"{field} {condition.operator} {literal(condition.value)}"


def literal(value: Scalar) -> str:
    """Write a value as Milvus reads it.

    Raises:
        InvalidInputError: not a scalar, not finite, too long, or with control characters.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise InvalidInputError(f"cannot filter by {value}", fix="use a finite number")
        return repr(value)
    return json.dumps(check_text(value), ensure_ascii=False)


def check_text(value: str) -> str:
    """Return the text if it can be stored and filtered by.

    Raises:
        InvalidInputError: it is no text, too long, or has control characters or half a surrogate pair.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"not a text: {value!r}", fix="pass a string")
    if len(value) > _LONGEST_STRING:
        raise InvalidInputError(f"a text of {len(value)} characters", why=f"at most {_LONGEST_STRING} can be stored")
    if _CONTROL.search(value):
        raise InvalidInputError(f"{value!r} has control characters", fix="remove them")
    return value


def is_text(value: object) -> bool:
    """Return whether `check_text` admits a value."""
    return isinstance(value, str) and len(value) <= _LONGEST_STRING and not _CONTROL.search(value)


def check_key(key: str) -> str:
    """Return the metadata key if it is an identifier; `InvalidInputError` otherwise."""
    if not _KEY.fullmatch(key):
        raise InvalidInputError(
            f"{key!r} cannot be a metadata key", why="keys are letters, digits and _, and begin with no digit"
        )
    return key


def check_metadata(metadata: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the metadata if all of it can be stored and filtered by; `InvalidInputError` otherwise."""
    for key, value in metadata.items():
        check_key(key)
        literal(value)
    return dict(metadata)


def stored_metadata(metadata: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return metadata as the rows of segments hold it, for nothing but filtering.

    True and false stand under a key of their own, `lit?` for `lit`: to Milvus Lite false is 0 and true is 1.

    Raises:
        InvalidInputError: a key is no identifier.
    """
    return {
        f"{check_key(key)}?" if isinstance(value, bool) else check_key(key): value for key, value in metadata.items()
    }


def to_epoch_ms(moment: datetime) -> int:
    """Return the milliseconds since 1970 UTC of a time that can be stored.

    Raises:
        InvalidInputError: no time zone, or far from any recording.
    """
    if not MIN_CLOCK_MS <= (since := epoch_ms(moment)) <= MAX_CLOCK_MS:
        raise InvalidInputError(
            f"{moment.isoformat()} cannot be stored", why="it is before the year 2 or after the year 9900"
        )
    return since


def epoch_ms(moment: datetime) -> int:
    """Return milliseconds since 1970 UTC; `InvalidInputError` without a time zone."""
    if moment.tzinfo is None:
        raise InvalidInputError(
            f"{moment.isoformat()} has no time zone",
            why="clock times are never guessed",
            fix=f"add one, for example {moment.isoformat()}+00:00",
        )
    return round((moment - _EPOCH) / timedelta(milliseconds=1))


def _milliseconds_of(seconds: float) -> int:
    if abs(seconds) > MAX_VIDEO_SECONDS:
        raise InvalidInputError(f"no video is {seconds:g} s long", fix="count in seconds from its start")
    return round(seconds * 1000)


def clock_time(since_1970_ms: int) -> datetime | None:
    """Return the time in UTC, or None for `UNKNOWN_TIME`."""
    return None if since_1970_ms == UNKNOWN_TIME else _EPOCH + timedelta(milliseconds=since_1970_ms)


def one_of(field: str, values: Iterable[str], *, operator: Literal["in", "not in"] = "in") -> Condition:
    """Return the condition that a field holds one of some texts, or none of them.

    Raises:
        InvalidInputError: no text, too many, or one that cannot be stored.
    """
    listed = tuple(check_text(value) for value in values)
    if not listed:
        raise InvalidInputError(f"an empty list for {field} matches nothing", fix="leave it out to match everything")
    if len(listed) > _LONGEST_LIST:
        raise InvalidInputError(f"{len(listed)} values for {field}", why=f"at most {_LONGEST_LIST} fit in one query")
    return Condition(field, operator, listed)
