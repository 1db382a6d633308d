r"""From a typed `Filter` to a Milvus expression. Values are escaped, keys are checked: nothing is injected.

Milvus Lite has no expression templates, so literals are written out. Its strings follow JSON's escapes except \uXXXX;
control characters, which JSON would write like that, are refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from var_plugin.errors import InvalidInputError
from var_plugin.types import Filter, Scalar

UNKNOWN_TIME = -1
"""`recorded_at` of a segment whose clock time is not known."""

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LONGEST_STRING = 1_000
_LONGEST_LIST = 10_000
_LONGEST_VIDEO_SECONDS = 1e9


def compile_filter(wanted: Filter, *, excluded_videos: Iterable[str] = ()) -> str:
    """Return the Milvus expression for a filter; an empty string filters nothing.

    Args:
        wanted: the filter.
        excluded_videos: ids of videos that must not be found.

    Raises:
        InvalidInputError: a value or a metadata key that cannot be part of an expression.
    """
    terms: list[str] = []
    for field, values in (("camera", wanted.cameras), ("video_id", wanted.video_ids), ("kind", wanted.kinds)):
        if values is not None:
            terms.append(_one_of(field, values))
    if excluded := list(excluded_videos):
        terms.append(f"not ({_one_of('video_id', excluded)})")
    if wanted.after is not None or wanted.before is not None:
        terms.append(f"recorded_at != {UNKNOWN_TIME}")
    if wanted.after is not None:
        terms.append(f"recorded_at >= {milliseconds(wanted.after)}")
    if wanted.before is not None:
        terms.append(f"recorded_at < {milliseconds(wanted.before)}")
    if wanted.after_second is not None:
        terms.append(f"end_ms > {_milliseconds_of(wanted.after_second)}")
    if wanted.before_second is not None:
        terms.append(f"start_ms < {_milliseconds_of(wanted.before_second)}")
    if wanted.min_anomaly is not None:
        terms.append(f"anomaly >= {wanted.min_anomaly!r}")
    if wanted.max_anomaly is not None:
        terms.append(f"anomaly <= {wanted.max_anomaly!r}")
    terms.extend(f'metadata["{key}"] == {literal(value)}' for key, value in stored_metadata(wanted.metadata).items())
    return " and ".join(f"({term})" for term in terms)


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


def milliseconds(moment: datetime) -> int:
    """Return milliseconds since 1970 UTC; `InvalidInputError` without a time zone."""
    if moment.tzinfo is None:
        raise InvalidInputError(
            f"{moment.isoformat()} has no time zone",
            why="clock times are never guessed",
            fix=f"add one, for example {moment.isoformat()}+00:00",
        )
    return round(moment.timestamp() * 1000)


def _milliseconds_of(seconds: float) -> int:
    if abs(seconds) > _LONGEST_VIDEO_SECONDS:
        raise InvalidInputError(f"no video is {seconds:g} s long", fix="count in seconds from its start")
    return round(seconds * 1000)


def clock_time(since_1970_ms: int) -> datetime | None:
    """Return the time in UTC, or None for `UNKNOWN_TIME`."""
    return None if since_1970_ms == UNKNOWN_TIME else datetime.fromtimestamp(since_1970_ms / 1000, UTC)


def _one_of(field: str, values: Iterable[str]) -> str:
    listed = [literal(value) for value in values]
    if not listed:
        raise InvalidInputError(f"an empty list for {field} matches nothing", fix="leave it out to match everything")
    if len(listed) > _LONGEST_LIST:
        raise InvalidInputError(f"{len(listed)} values for {field}", why=f"at most {_LONGEST_LIST} fit in one query")
    return f"{field} in [{', '.join(listed)}]"
