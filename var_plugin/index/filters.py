r"""Convert a typed `Filter` to conditions, and conditions to a Milvus expression.

Values are escaped and keys are checked, so that nothing can be injected. Snapshots evaluate the same conditions without
Milvus.

Milvus Lite has no expression templates, so values are written as literals. Its strings support the escapes of JSON
except \uXXXX. Control characters, which need that escape, are refused.
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
from var_plugin.types import MIN_EVENT_SCORE, Filter, Scalar

UNKNOWN_TIME = -1
"""Value of `recorded_at` if the clock time is unknown."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Inside the range of `datetime` by enough to add time zones and positions.
MIN_CLOCK_MS = round((datetime(2, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds() * 1000)
MAX_CLOCK_MS = round((datetime(9900, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds() * 1000)
MAX_VIDEO_SECONDS = 1e9
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
"""Range of integers that a store holds."""

_KIND = re.compile(r"[a-z][a-z ]{0,63}")
_MAX_KINDS = 100
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_MAX_TEXT_LENGTH = 1_000
_MAX_VALUES = 10_000

Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]


@dataclass(frozen=True)
class Condition:
    """A comparison of one field, or of the value under `key` in a JSON field, with a value."""

    field: str
    operator: Operator
    value: Scalar | tuple[str, ...]
    key: str | None = None


@dataclass(frozen=True)
class AnyOf:
    """A disjunction: all conditions of at least one group must hold."""

    groups: tuple[tuple[Condition, ...], ...]


Conditions = Sequence[Condition | AnyOf]
"""A conjunction: all conditions must hold."""


def compile_filter(
    filter: Filter,  # noqa: A002  (the usual name in vector stores)
    *,
    excluded_videos: Iterable[str] = (),
    running_at_start: Mapping[str, int] | None = None,
) -> str:
    """Return the Milvus expression of a filter; see `conditions`. An empty string matches everything."""
    return expression(conditions(filter, excluded_videos=excluded_videos, running_at_start=running_at_start))


def conditions(
    filter: Filter,  # noqa: A002  (the usual name in vector stores)
    *,
    excluded_videos: Iterable[str] = (),
    running_at_start: Mapping[str, int] | None = None,
) -> list[Condition | AnyOf]:
    """Return the conditions of a filter. An empty list matches everything.

    A segment matches `after` and `before` if it overlaps the time between them. Rows store the clock time of the start
    of a segment only, and Milvus cannot add two fields. Segments that start before `after` and end after it are
    therefore matched by their position: they belong to the few videos that were recording at `after`.

    Args:
        filter: the filter.
        excluded_videos: ids of videos to leave out.
        running_at_start: position in ms at `filter.after`, by video id, of the videos that were recording then.

    Raises:
        InvalidInputError: a value or a metadata key is not allowed in an expression.
    """
    result: list[Condition | AnyOf] = []
    for field, values in (("camera", filter.cameras), ("video_id", filter.video_ids), ("kind", filter.segment_kinds)):
        if values is not None:
            result.append(one_of(field, values))
    if filter.kinds is not None:
        result.append(_of_kinds(filter.kinds))
    if excluded := list(excluded_videos):
        result.append(one_of("video_id", excluded, operator="not in"))
    if filter.after is not None or filter.before is not None:
        result.append(Condition("recorded_at", "!=", UNKNOWN_TIME))
    if filter.after is not None:
        later = (Condition("recorded_at", ">=", epoch_ms(filter.after)),)
        running = [
            (Condition("video_id", "==", check_text(video_id)), Condition("end_ms", ">", position))
            for video_id, position in (running_at_start or {}).items()
        ]
        result.append(AnyOf((later, *running)) if running else later[0])
    if filter.before is not None:
        result.append(Condition("recorded_at", "<", epoch_ms(filter.before)))
    if filter.after_second is not None:
        result.append(Condition("end_ms", ">", _milliseconds_of(filter.after_second)))
    if filter.before_second is not None:
        result.append(Condition("start_ms", "<", _milliseconds_of(filter.before_second)))
    if filter.min_anomaly is not None:
        result.append(Condition("anomaly", ">=", filter.min_anomaly))
    if filter.max_anomaly is not None:
        result.append(Condition("anomaly", "<=", filter.max_anomaly))
    for key, value in stored_metadata(filter.metadata).items():
        literal(value)  # raises for a value that is not allowed
        result.append(Condition("metadata", "==", value, key))
    return result


def _of_kinds(kinds: Sequence[str]) -> AnyOf:
    if not kinds:
        raise InvalidInputError("an empty list for kinds matches nothing", fix="leave it out to match everything")
    if len(kinds) > _MAX_KINDS:
        raise InvalidInputError(
            f"too many kinds of events: {len(kinds)}", why=f"the limit for one query is {_MAX_KINDS}"
        )
    if invalid := [kind for kind in kinds if not is_event_kind(kind)]:
        raise InvalidInputError(
            f"{invalid[0]!r} cannot be a kind of event", why="kinds are lower-case letters and spaces"
        )
    return AnyOf(tuple((Condition("events", ">=", MIN_EVENT_SCORE, kind),) for kind in kinds))


def is_event_kind(value: object) -> bool:
    """Return whether a value has the form of a kind of event."""
    return isinstance(value, str) and _KIND.fullmatch(value) is not None


def expression(conditions: Iterable[Condition | AnyOf]) -> str:
    """Return the Milvus expression of a conjunction of conditions. It is empty without conditions."""
    return " and ".join(f"({_term(condition)})" for condition in conditions)


def _term(condition: Condition | AnyOf) -> str:
    if isinstance(condition, AnyOf):
        return " or ".join(f"({expression(group)})" for group in condition.groups)
    field = condition.field if condition.key is None else f'{condition.field}["{condition.key}"]'
    if isinstance(condition.value, tuple):
        values = ", ".join(literal(value) for value in condition.value)
        membership = f"{field} in [{values}]"
        return membership if condition.operator == "in" else f"not ({membership})"
    return f"{field} {condition.operator} {literal(condition.value)}"


def literal(value: Scalar) -> str:
    """Return a value as a literal of a Milvus expression.

    Raises:
        InvalidInputError: the value is not a scalar, not finite, too large, too long, or has control characters.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        if isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
            raise InvalidInputError("an integer is too large", why="integers have 64 bits", fix="use a text")
        if not math.isfinite(value):
            raise InvalidInputError(f"cannot filter by {value}", fix="use a finite number")
        return repr(value)
    return json.dumps(check_text(value), ensure_ascii=False)


def check_text(value: str) -> str:
    """Return a text unchanged if it can be stored and filtered by.

    Raises:
        InvalidInputError: it is not a string, too long, or has control characters or an unpaired surrogate.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{value!r} is not a string", fix="pass a string")
    if len(value) > _MAX_TEXT_LENGTH:
        raise InvalidInputError(f"the text has {len(value)} characters", why=f"the limit is {_MAX_TEXT_LENGTH}")
    if _CONTROL.search(value):
        raise InvalidInputError(f"{value!r} has control characters", fix="remove them")
    return value


def is_text(value: object) -> bool:
    """Return whether `check_text` accepts a value."""
    return isinstance(value, str) and len(value) <= _MAX_TEXT_LENGTH and not _CONTROL.search(value)


def check_key(key: str) -> str:
    """Return a metadata key unchanged. Raise `InvalidInputError` if it is not an identifier."""
    if not _KEY.fullmatch(key):
        raise InvalidInputError(
            f"{key!r} cannot be a metadata key", why="keys are letters, digits and _, and start with a letter or _"
        )
    return key


def check_metadata(metadata: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return metadata as a dict. Raise `InvalidInputError` if a key or value cannot be stored and filtered by."""
    for key, value in metadata.items():
        check_key(key)
        literal(value)
    return dict(metadata)


def stored_metadata(metadata: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return metadata in the form that rows of segments store for filtering.

    Booleans get a key of their own, `lit?` for `lit`, because Milvus Lite treats false as 0 and true as 1.

    Raises:
        InvalidInputError: a key is not an identifier.
    """
    return {
        f"{check_key(key)}?" if isinstance(value, bool) else check_key(key): value for key, value in metadata.items()
    }


def to_epoch_ms(moment: datetime) -> int:
    """Return the milliseconds since 1970 UTC of a time that can be stored.

    Raises:
        InvalidInputError: the time has no time zone, or its year is outside 2…9900.
    """
    if not MIN_CLOCK_MS <= (milliseconds := epoch_ms(moment)) <= MAX_CLOCK_MS:
        raise InvalidInputError(
            f"{moment.isoformat()} cannot be stored", why="it is before the year 2 or after the year 9900"
        )
    return milliseconds


def epoch_ms(moment: datetime) -> int:
    """Return the milliseconds since 1970 UTC. Raise `InvalidInputError` for a time without a time zone."""
    if moment.tzinfo is None:
        raise InvalidInputError(
            f"{moment.isoformat()} has no time zone",
            why="the time zone of a clock time is never guessed",
            fix=f"add one, for example {moment.isoformat()}+00:00",
        )
    return round((moment - _EPOCH) / timedelta(milliseconds=1))


def _milliseconds_of(seconds: float) -> int:
    if abs(seconds) > MAX_VIDEO_SECONDS:
        raise InvalidInputError(
            f"a position of {seconds:g} s is out of range", fix="give seconds from the start of the video"
        )
    return round(seconds * 1000)


def clock_time(epoch_ms: int) -> datetime | None:
    """Return the UTC time of milliseconds since 1970, or None for `UNKNOWN_TIME`."""
    return None if epoch_ms == UNKNOWN_TIME else _EPOCH + timedelta(milliseconds=epoch_ms)


def one_of(field: str, values: Iterable[str], *, operator: Literal["in", "not in"] = "in") -> Condition:
    """Return the condition that a field has one of the values, or with `not in` that it has none of them.

    Raises:
        InvalidInputError: there are no values, too many, or one cannot be stored.
    """
    texts = tuple(check_text(value) for value in values)
    if not texts:
        raise InvalidInputError(f"an empty list for {field} matches nothing", fix="leave it out to match everything")
    if len(texts) > _MAX_VALUES:
        raise InvalidInputError(
            f"too many values for {field}: {len(texts)}", why=f"the limit for one query is {_MAX_VALUES}"
        )
    return Condition(field, operator, texts)
