"""The histories of an index's cameras, loaded from the committed uniform segments of the space that embeds video."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import Vectors
from var_plugin.encoders.novelty import MAX_VECTORS, CameraHistory, Scores
from var_plugin.index.catalog import Entry
from var_plugin.index.filters import UNKNOWN_TIME
from var_plugin.index.generation import VideoGeneration
from var_plugin.index.rows import row_error, segment_id
from var_plugin.index.schema import Row
from var_plugin.types import Segment

logger = logging.getLogger(__name__)

_MAX_CACHED_BYTES = 128 * 1024 * 1024
# Minimum number of rows that a history is sampled from, unless the camera has fewer.
_MIN_LOADED = 4 * MAX_VECTORS


@dataclass(frozen=True)
class CameraNovelty:
    """The novelty of n segments against the history of their camera."""

    scores: Scores
    """(n,)"""
    learned: float
    """How well the camera is known, 0…1."""


class CameraHistories:
    """The histories of the cameras of an index. Safe for several threads.

    A history is loaded on first use and then updated by `add`. What other processes add or delete later is not
    noticed; `discard` loads it again.

    Args:
        index: the index.
    """

    def __init__(self, index: VideoGeneration) -> None:
        self._index = index
        self._generation = index.generation.number
        self._histories: OrderedDict[str, CameraHistory] = OrderedDict()
        self._lock = threading.RLock()

    def of(self, camera: str) -> CameraHistory:
        """Return the history of a camera. It is empty if the camera has no committed segments.

        Raises:
            StoreError: the store failed.
        """
        with self._lock:
            self._index.refresh_generation()
            if self._generation != self._index.generation.number:
                self._generation = self._index.generation.number
                self._histories.clear()
            if camera not in self._histories:
                self._histories[camera] = self._load(camera)
            self._histories.move_to_end(camera)
            while len(self._histories) > max(1, _MAX_CACHED_BYTES // (4 * MAX_VECTORS * self._dim)):
                self._histories.popitem(last=False)
            return self._histories[camera]

    def novelty(self, entry: Entry, segments: Sequence[Segment], vectors: Vectors) -> CameraNovelty:
        """Return the novelty of segments of one video. Rows of the same video are left out of the history.

        Args:
            entry: catalog row of the video.
            segments: n segments.
            vectors: (n, dim) their vectors in the space that embeds video.
        """
        with self._lock:
            history = self.of(entry.latest_sighting.camera)
            scores = history.novelty(vectors, _recorded_ms(entry, segments), entry.video_id)
            return CameraNovelty(scores, history.learned)

    def add(self, entry: Entry, segments: Sequence[Segment], vectors: Vectors) -> None:
        """Add the uniform segments of a committed video to the history of its camera. Arguments as `novelty`."""
        uniform = [number for number, segment in enumerate(segments) if segment.kind == "uniform"]
        segments = [segments[number] for number in uniform]
        with self._lock:
            self.of(entry.latest_sighting.camera).add(
                [segment_id(entry, segment) for segment in segments],
                vectors[uniform],
                _recorded_ms(entry, segments),
                entry.video_id,
                np.array([segment.end - segment.start for segment in segments]),
            )

    def discard(self, camera: str) -> None:
        """Load the history of a camera again on its next use, for example after a video was deleted."""
        with self._lock:
            self._histories.pop(camera, None)

    @property
    def space(self) -> str | None:
        """The space that embeds video, or None if the suite embeds none."""
        encoders = self._index.suite.encoders.items()
        return next((name for name, space in encoders if space.video_encoder is not None), None)

    @property
    def _space(self) -> str:
        return self._index.suite.encoders_for("video").space.name

    @property
    def _dim(self) -> int:
        return self._index.suite.spaces[self._space].dim

    def _load(self, camera: str) -> CameraHistory:
        share = min(1.0, 2 * _MIN_LOADED / max(1, self._index.size()[self._space]))
        while True:
            rows = self._index.sample_camera(self._space, camera, share)
            if share == 1 or len(rows) >= _MIN_LOADED:
                break
            share = min(1.0, share * 1.5 * _MIN_LOADED / max(1, len(rows)))
        valid = [row for row in rows if row_error(row) is None and np.isfinite(row["vector"]).all()]
        if len(valid) < len(rows):
            logger.warning("%d damaged rows are left out: run var-plugin verify", len(rows) - len(valid))
        history = CameraHistory()
        if valid:
            history.add(
                [row["id"] for row in valid],
                np.array([row["vector"] for row in valid], np.float32),
                np.array([row["recorded_at"] for row in valid], np.int64),
                [row["video_id"] for row in valid],
                # Each row stands for the rows that were not sampled.
                np.array([_seconds(row) for row in valid]) / share,
            )
        return history


def _seconds(row: Row) -> float:
    return float(row["end_ms"] - row["start_ms"]) / 1000


def _recorded_ms(entry: Entry, segments: Sequence[Segment]) -> NDArray[np.int64]:
    """Return the clock times (n,) at which segments start, as their rows store them."""
    start = entry.latest_sighting.recorded_at
    starts = np.array([round(segment.start * 1000) for segment in segments], np.int64)
    return np.full(len(segments), UNKNOWN_TIME, np.int64) if start == UNKNOWN_TIME else start + starts
