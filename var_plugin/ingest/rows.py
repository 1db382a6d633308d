"""From one video to the rows that represent it: segments with their key frames, anomaly scores and vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import Vectors, unit
from var_plugin.encoders.suite import Suite
from var_plugin.encoders.unusual import unusualness
from var_plugin.encoders.video import Clips, embed_clips, pool
from var_plugin.media.segments import key_frame, static_runs, uniform_segments
from var_plugin.settings import settings
from var_plugin.types import Segment, SegmentKind

Rows = dict[str, tuple[list[Segment], Vectors]]
"""Per space, segments and their vectors (n, dim)."""


def embed(file: Path, suite: Suite, progress: Callable[[float], None] | None = None) -> tuple[Rows, float]:
    """Return the rows of a video in every space that takes pictures, and its duration in seconds.

    Raises:
        As decoding: MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoVideoStreamError,
            TruncatedMediaError.
    """
    rows: Rows = {}
    duration = 0.0
    for name, encoders in suite.encoders.items():
        if encoders.picture is not None:
            clips = embed_clips(file, encoders.picture, rate=settings().clip_rate, progress=progress)
            rows[name] = _represent(clips)
            duration = clips.end
    return rows, duration


def _represent(clips: Clips) -> tuple[list[Segment], Vectors]:
    """Cut the clips into uniform segments, merge the static ones, and add the row for the whole video."""
    cut = uniform_segments(clips.end, settings().segment_seconds)
    runs = static_runs(
        cut, pool(clips, cut), similarity=settings().static_similarity, longest=settings().static_seconds
    )
    spans = [(cut[run.start][0], cut[run.stop - 1][1]) for run in runs]
    anomaly = unusualness(clips.times, clips.vectors)
    segments = [_segment(clips, anomaly, span, "uniform") for span in spans]
    whole = _segment(clips, anomaly, (0.0, clips.end), "video")
    vectors = pool(clips, spans)
    return [*segments, whole], np.concatenate([vectors, unit(vectors.mean(axis=0, keepdims=True))])


def _segment(clips: Clips, anomaly: NDArray[np.float32], span: tuple[float, float], kind: SegmentKind) -> Segment:
    inside = clips.within(*span)
    return Segment(
        start=span[0],
        end=span[1],
        key=key_frame(clips.times[inside].tolist(), clips.vectors[inside], clips.usable[inside].tolist()),
        kind=kind,
        anomaly=float(anomaly[inside].max()),
    )
