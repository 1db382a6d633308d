"""The rows of segments: how they are made, keyed, checked and read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from var_plugin.encoders.base import Vectors
from var_plugin.index.catalogue import Entry
from var_plugin.index.filters import UNKNOWN_TIME, stored_metadata
from var_plugin.index.schema import Row
from var_plugin.types import Segment, SegmentKind

HIT_FIELDS = ("video_id", "camera", "kind", "start_ms", "end_ms", "key_ms", "recorded_at", "anomaly")
ALL_FIELDS = ("id", *HIT_FIELDS, "metadata", "vector")


@dataclass(frozen=True)
class Hit:
    """A stored segment and how similar it is to what was asked."""

    video_id: str
    camera: str
    kind: SegmentKind
    start: float
    end: float
    key: float
    recorded_at: int
    anomaly: float
    similarity: float


def segment_id(entry: Entry, segment: Segment) -> str:
    """Return the key of a segment: a hash of content, span, kind and the settings that made it."""
    parts = (entry.content, f"{segment.start:.3f}", f"{segment.end:.3f}", segment.kind, entry.settings)
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def checksum(rows: Iterable[Row]) -> str:
    """Return a checksum over the keys and vectors of rows, whatever their order."""
    total = 0
    for row in rows:
        vector = np.asarray(row["vector"], np.float32).tobytes()
        digest = hashlib.blake2b(row["id"].encode() + vector, digest_size=16).digest()
        total += int.from_bytes(digest)
    return f"{total % 2**128:032x}"


NO_ROWS = checksum(())
"""The checksum of nothing."""


def join_checksums(first: str, second: str) -> str:
    """Return the checksum of two sets of rows together."""
    return f"{(int(first, 16) + int(second, 16)) % 2**128:032x}"


class SegmentRows(Sequence[Row]):
    """The rows of a video in one space, each made when it is asked for: all at once would take as much as the vectors.

    Args:
        entry: the video.
        segments: n of them.
        vectors: (n, dim).
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
        seen = entry.sightings[-1]
        start_ms = round(segment.start * 1000)
        return {
            "id": segment_id(entry, segment),
            "video_id": entry.video_id,
            "camera": seen.camera,
            "kind": segment.kind,
            "start_ms": start_ms,
            "end_ms": round(segment.end * 1000),
            "key_ms": round(segment.key * 1000),
            "recorded_at": seen.recorded_at + start_ms if seen.recorded_at != UNKNOWN_TIME else UNKNOWN_TIME,
            "anomaly": segment.anomaly,
            "metadata": stored_metadata(entry.metadata),
            "vector": self._vectors[index],
        }


def as_hit(row: Row, similarity: float) -> Hit:
    """Return a row that was read by `HIT_FIELDS` as users see it."""
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
    )
