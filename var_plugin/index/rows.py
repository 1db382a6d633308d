"""The rows of segments: their keys, checksums, validation and conversion."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, get_args, overload

import numpy as np

from var_plugin.encoders.base import Vectors
from var_plugin.index.catalog import Entry
from var_plugin.index.filters import (
    MAX_CLOCK_MS,
    MAX_VIDEO_SECONDS,
    MIN_CLOCK_MS,
    UNKNOWN_TIME,
    is_event_kind,
    is_text,
    stored_metadata,
)
from var_plugin.index.schema import Row, is_id
from var_plugin.types import Segment, SegmentKind

logger = logging.getLogger(__name__)

_MAX_MS = round(MAX_VIDEO_SECONDS * 1000)
MAX_EVENT_KINDS = 64
"""Maximum number of kinds of events of one segment."""
HIT_FIELDS = (
    "video_id", "camera", "kind", "start_ms", "end_ms", "key_ms", "recorded_at", "anomaly", "novelty", "events",
    "reason",
)  # fmt: skip
CURVE_FIELDS = ("video_id", "start_ms", "end_ms", "key_ms", "anomaly")
ALL_FIELDS = ("id", *HIT_FIELDS, "trained", "metadata", "vector")


@dataclass(frozen=True)
class Hit:
    """A stored segment and its similarity to the query."""

    video_id: str
    camera: str
    kind: SegmentKind
    start: float
    end: float
    key: float
    recorded_at: int
    anomaly: float
    similarity: float
    novelty: float = 0.0
    events: Mapping[str, float] = field(default_factory=dict)
    """Score per kind of event."""
    reason: str = ""


class CurvePoint(NamedTuple):
    """The anomaly score of a uniform segment. Times are in seconds from the start of its video."""

    start: float
    end: float
    key: float
    anomaly: float


def segment_id(entry: Entry, segment: Segment) -> str:
    """Return the key of a segment: a hash of content, span, kind and settings."""
    parts = (entry.content, f"{segment.start:.3f}", f"{segment.end:.3f}", segment.kind, entry.settings)
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def checksum(rows: Iterable[Row]) -> str:
    """Return a checksum over the keys and vectors of rows that does not depend on their order."""
    total = 0
    for row in rows:
        vector = np.asarray(row["vector"], np.float32).tobytes()
        digest = hashlib.blake2b(row["id"].encode() + vector, digest_size=16).digest()
        total += int.from_bytes(digest)
    return f"{total % 2**128:032x}"


NO_ROWS = checksum(())
"""The checksum of no rows."""


def join_checksums(first: str, second: str) -> str:
    """Return the checksum of the union of two disjoint sets of rows."""
    return f"{(int(first, 16) + int(second, 16)) % 2**128:032x}"


class SegmentRows(Sequence[Row]):
    """The rows of a video in one space, created on access to save memory.

    Args:
        entry: catalog row of the video.
        segments: n segments.
        vectors: (n, dim) float32, one vector per segment.
    """

    def __init__(self, entry: Entry, segments: Sequence[Segment], vectors: Vectors) -> None:
        if len(segments) != len(vectors):
            raise ValueError(f"{len(segments)} segments, {len(vectors)} vectors")
        self._entry, self._segments, self._vectors = entry, segments, vectors

    def __len__(self) -> int:
        return len(self._segments)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        segment, entry = self._segments[index], self._entry
        sighting = entry.latest_sighting
        start_ms = round(segment.start * 1000)
        return {
            "id": segment_id(entry, segment),
            "video_id": entry.video_id,
            "camera": sighting.camera,
            "kind": segment.kind,
            "start_ms": start_ms,
            "end_ms": max(start_ms + 1, round(segment.end * 1000)),  # a span has a length
            "key_ms": round(segment.key * 1000),
            "recorded_at": UNKNOWN_TIME if sighting.recorded_at == UNKNOWN_TIME else sighting.recorded_at + start_ms,
            "anomaly": segment.anomaly,
            "novelty": segment.novelty,
            "events": dict(segment.events),
            "trained": dict(segment.trained),
            "reason": segment.reason,
            "metadata": stored_metadata(entry.metadata),
            "vector": self._vectors[index],
        }


def row_error(row: Row) -> str | None:
    """Return why a row is invalid, or None. Rows are untrusted: others may have written to the store."""
    if error := _curve_error(row):
        return error
    recorded_at = row.get("recorded_at")
    if not (isinstance(recorded_at, int) and MIN_CLOCK_MS <= recorded_at <= MAX_CLOCK_MS):
        return f"its clock time is {recorded_at} ms since 1970"
    if not _is_share(row.get("novelty")):
        return f"its novelty is {row.get('novelty')}"
    # Results of a search do not contain `trained`.
    if not all(_are_scores(row[name]) for name in ("events", "trained") if name in row) or "events" not in row:
        return "its kinds of events or the scores of the detector are invalid"
    if not is_text(row.get("reason")):
        return "its reason is invalid"
    if not is_id(row.get("video_id")) or row.get("kind") not in get_args(SegmentKind):
        return "its video id or its kind is invalid"
    return None if is_text(row.get("camera")) else "its camera has control characters"


def _curve_error(row: Row) -> str | None:
    """Return why the fields `CURVE_FIELDS` are invalid, except for the video id, or None."""
    start, end, key, anomaly = row.get("start_ms"), row.get("end_ms"), row.get("key_ms"), row.get("anomaly")
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(key, int)):
        return "a time is not a number"
    if not (0 <= start < end <= _MAX_MS and 0 <= key <= _MAX_MS):
        return f"its span is {start} to {end} ms, its key frame is at {key} ms"
    return None if _is_share(anomaly) else f"its anomaly score is {anomaly}"


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _are_scores(value: object) -> bool:
    """Return whether a value maps kinds of events to scores."""
    return (
        isinstance(value, dict)
        and len(value) <= MAX_EVENT_KINDS
        and all(is_event_kind(kind) and _is_share(score) for kind, score in value.items())
    )


def as_hits(rows: Iterable[tuple[float, Row]]) -> list[Hit]:
    """Convert pairs of similarity and row to hits. Invalid rows are logged and left out."""
    hits, errors = [], []
    for similarity, row in rows:
        if reason := row_error(row):
            errors.append(reason)
        else:
            hits.append(as_hit(row, similarity))
    if errors:
        logger.warning("%d damaged rows are left out (first: %s): run var-plugin verify", len(errors), errors[0])
    return hits


def as_curves(rows: Iterable[Row]) -> dict[str, list[CurvePoint]]:
    """Convert rows with the fields `CURVE_FIELDS` to curves in order of time, by video. Invalid rows are left out."""
    curves: dict[str, list[CurvePoint]] = defaultdict(list)
    for row in rows:
        if _curve_error(row) is None:
            times = row["start_ms"] / 1000, row["end_ms"] / 1000, row["key_ms"] / 1000
            curves[row["video_id"]].append(CurvePoint(*times, row["anomaly"]))
    return {video_id: sorted(points) for video_id, points in curves.items()}


def as_hit(row: Row, similarity: float) -> Hit:
    """Convert a row with the fields `HIT_FIELDS` to a hit."""
    return Hit(
        video_id=row["video_id"],
        camera=row["camera"],
        kind=row["kind"],
        start=row["start_ms"] / 1000,
        end=row["end_ms"] / 1000,
        key=row["key_ms"] / 1000,
        recorded_at=row["recorded_at"],
        anomaly=row["anomaly"],
        similarity=similarity,
        novelty=row["novelty"],
        events=row["events"],
        reason=row["reason"],
    )
