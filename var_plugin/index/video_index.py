"""An index: the segments of videos, one collection per space, behind a catalogue that says which of them count."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from var_plugin.encoders.base import Vectors, check_vectors
from var_plugin.encoders.suite import Suite
from var_plugin.errors import StoreError, VarPluginError
from var_plugin.index.catalogue import Catalogue, Entry
from var_plugin.index.filters import UNKNOWN_TIME, compile_filter, literal
from var_plugin.index.schema import segment_schema
from var_plugin.index.store import Row, Store
from var_plugin.media.thumbnails import save_thumbnail
from var_plugin.settings import settings
from var_plugin.types import Filter, Segment, SegmentKind, Video

logger = logging.getLogger(__name__)

_HIT_FIELDS = ("video_id", "camera", "kind", "start_ms", "end_ms", "key_ms", "recorded_at", "anomaly")


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


class VideoIndex:
    """Videos, their segments and their vectors, at one location under one name.

    Args:
        location: a path (Milvus Lite) or the URI of a Milvus server.
        suite: what embeds footage and queries.
        token: what the server asks for.
        name: tells several indexes of one server apart.

    Raises:
        IndexUnavailableError: the location cannot be opened.
        FingerprintMismatchError: another suite made the index.
    """

    def __init__(self, location: str | Path, suite: Suite, *, token: str = "", name: str = "footage") -> None:
        self.suite = suite
        self._name = name
        self._store = Store(location, token=token)
        try:
            self._catalogue = Catalogue(self._store, name)
            self._catalogue.open({"suite": suite.name, "fingerprint": suite.fingerprint})
            for space in suite.spaces.values():
                collection = self._collection(space.name)
                if not self._store.has(collection):
                    self._store.create(collection, segment_schema(space.dim), vector="vector", metric=space.metric)
                self._store.load(collection)
        except BaseException:
            self._store.close()
            raise

    def close(self) -> None:
        """Give the index free for other processes."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def uri(self) -> str:
        """Where the index lies."""
        return self._store.uri

    def videos(self) -> list[Video]:
        """Return all videos in order of addition; `state` tells the ones that an interrupted run left behind."""
        return [entry.video() for entry in self._catalogue.entries()]

    def entry(self, video_id: str) -> Entry | None:
        """Return the catalogue row of a video, whatever its state."""
        return self._catalogue.find(video_id)

    def entries(self, video_ids: Sequence[str]) -> dict[str, Entry]:
        """Return the catalogue rows of the committed ones among these videos."""
        return self._catalogue.committed(video_ids)

    def seen_at(self, path: str) -> list[Entry]:
        """Return the catalogue rows of the videos that were seen last at this path."""
        return self._catalogue.seen_at(path)

    def write(self, entry: Entry, rows: Mapping[str, tuple[Sequence[Segment], Vectors]]) -> dict[str, int]:
        """Store a video: its row as pending, its segments, a count in the store, its row as committed.

        Args:
            entry: the video's row.
            rows: per space, the segments and their vectors (n, dim).

        Returns:
            Rows counted in the store per space.

        Raises:
            InvalidVectorError: a vector must not be stored; nothing was written.
            StoreError: the store failed, or holds another number of rows than were sent; nothing stays visible.
        """
        for name, (_, vectors) in rows.items():
            check_vectors(vectors, self.suite.spaces[name])
        self._catalogue.put(entry.model_copy(update={"state": "pending"}))
        try:
            counted = self._write_segments(entry, rows)
        except BaseException:
            # Should this fail as well, the pending row still hides what was written.
            with suppress(StoreError):
                self.delete(entry.video_id)
            raise
        self._catalogue.put(entry.model_copy(update={"state": "committed", "rows": counted}))
        return counted

    def _write_segments(self, entry: Entry, rows: Mapping[str, tuple[Sequence[Segment], Vectors]]) -> dict[str, int]:
        self._delete_segments(entry.video_id)
        for name, (segments, vectors) in rows.items():
            self._store.write(self._collection(name), _segment_rows(entry, segments, vectors))
            self._store.flush(self._collection(name))
        counted = self.count(entry.video_id)
        wanted = {name: len(rows[name][0]) if name in rows else 0 for name in self.suite.spaces}
        if counted != wanted:
            raise StoreError(
                f"the store holds {counted} rows of {entry.sightings[-1].path} after {wanted} were written",
                why="rows were lost on the way",
                fix="check the disk and run the same command again",
            )
        return counted

    def update(self, entry: Entry) -> None:
        """Write the row of a video whose segments stay as they are."""
        self._catalogue.put(entry)

    def count(self, video_id: str) -> dict[str, int]:
        """Count a video's rows per space, as the store sees them now."""
        expression = f"video_id == {literal(video_id)}"
        return {name: self._store.count(self._collection(name), expression) for name in self.suite.spaces}

    def size(self) -> dict[str, int]:
        """Count all rows per space, as the store sees them now."""
        return {name: self._store.count(self._collection(name)) for name in self.suite.spaces}

    def delete(self, video_id: str) -> None:
        """Delete a video: its vectors, its thumbnails and its row.

        Raises:
            UnknownVideoError: there is no such video.
        """
        entry = self._catalogue.find(video_id) or self._catalogue.get(video_id)
        self._catalogue.put(entry.model_copy(update={"state": "deleting"}))
        self._delete_segments(video_id)
        shutil.rmtree(self._thumbnails(video_id), ignore_errors=True)
        self._catalogue.remove(video_id)

    def hits(
        self, space: str, vector: np.ndarray, *, limit: int, wanted: Filter, excluded: Sequence[str] = ()
    ) -> list[Hit]:
        """Return the most similar segments of committed videos in one space, best first.

        Args:
            space: name of the space.
            vector: (dim,) the query.
            limit: at most so many.
            wanted: what the segments must satisfy.
            excluded: videos to leave out.
        """
        expression = compile_filter(wanted, excluded_videos=[*self._catalogue.hidden(), *excluded])
        found = self._store.search(
            self._collection(space), vector, limit=limit, expression=expression, fields=_HIT_FIELDS
        )
        return [_hit(row, similarity) for similarity, row in found]

    def segments(self, video_id: str) -> list[Hit]:
        """Return the uniform segments of a committed video in order of time (similarity 0): its anomaly curve.

        Raises:
            UnknownVideoError: there is no such video.
        """
        self._catalogue.get(video_id)
        space = self.suite.encoders_for("video").space.name
        expression = compile_filter(Filter(video_ids=(video_id,), kinds=("uniform",)))
        rows = self._store.rows(self._collection(space), expression, _HIT_FIELDS)
        return sorted((_hit(row, 0.0) for row in rows), key=lambda hit: hit.start)

    def thumbnail(self, entry: Entry, time: float) -> Path | None:
        """Return a picture of the video at `time` seconds, made now if need be; None when no file of it can be read."""
        for sighting in reversed(entry.sightings):
            target = self._thumbnails(entry.video_id) / f"{round(time * 1000)}.jpg"
            try:
                return save_thumbnail(Path(sighting.path), time, target)
            except VarPluginError as error:  # an answer without a picture is better than none
                logger.warning("no thumbnail: %s", error)
        return None

    def _thumbnails(self, video_id: str) -> Path:
        return settings().cache / "thumbnails" / video_id

    def _collection(self, space: str) -> str:
        return f"{self._name}__{space}"

    def _delete_segments(self, video_id: str) -> None:
        for name in self.suite.spaces:
            self._store.delete(self._collection(name), f"video_id == {literal(video_id)}")


def segment_id(entry: Entry, segment: Segment) -> str:
    """Return the key of a segment: a hash of content, span, kind and the settings that made it."""
    parts = (entry.content, f"{segment.start:.3f}", f"{segment.end:.3f}", segment.kind, entry.settings)
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def _segment_rows(entry: Entry, segments: Sequence[Segment], vectors: Vectors) -> list[Row]:
    seen = entry.sightings[-1]
    rows: list[dict[str, Any]] = []
    for segment, vector in zip(segments, vectors, strict=True):
        start_ms = round(segment.start * 1000)
        rows.append(
            {
                "id": segment_id(entry, segment),
                "video_id": entry.video_id,
                "camera": seen.camera,
                "kind": segment.kind,
                "start_ms": start_ms,
                "end_ms": round(segment.end * 1000),
                "key_ms": round(segment.key * 1000),
                "recorded_at": seen.recorded_at + start_ms if seen.recorded_at != UNKNOWN_TIME else UNKNOWN_TIME,
                "anomaly": segment.anomaly,
                "metadata": entry.metadata,
                "vector": vector.tolist(),
            }
        )
    return rows


def _hit(row: Row, similarity: float) -> Hit:
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
