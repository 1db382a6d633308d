"""Moment retrieval: sentences against spans of all test videos, measured as R@K at temporal IoU.

The protocol is our own (none is published for UCF-Crime Annotation) and is described in docs/suites.md. A query is one
sentence, the gallery is all test videos, and an answer is a ranked list of spans. A query counts as found at K and θ if
one of the first K spans is in its video and has a temporal IoU of at least θ with the annotated span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import Vectors, VideoEncoder
from var_plugin.encoders.clip_features import ClipFeatures, pool_clips
from var_plugin.evaluation.metrics import DEPTHS, Interval

OVERLAPS = (0.3, 0.5, 0.7)
"""Temporal IoU thresholds θ."""

MIN_SPAN, MAX_SPAN = 4.0, 128.0
"""Span lengths in seconds. They grow by factors of √2; spans of one length start a quarter of their length apart."""

_NMS_IOU = 0.5  # non-maximum suppression: of overlapping spans of one video only the best is an answer
_NMS_CANDIDATES = 400  # best spans per query that enter non-maximum suppression


@dataclass(frozen=True)
class Spans:
    """The gallery: all spans of all videos."""

    videos: NDArray[np.int64]
    """(n,), number of the video."""
    times: NDArray[np.float64]
    """(n, 2), start and end in seconds."""
    vectors: Vectors
    """(n, dim)."""


@dataclass(frozen=True)
class Targets:
    """The annotated spans of the queries."""

    videos: NDArray[np.int64]
    """(queries,), number of the video."""
    times: NDArray[np.float64]
    """(queries, 2), start and end in seconds."""


@dataclass(frozen=True)
class MomentRecall:
    """Recall in percent by "IoU θ R@K". θ = 0 only requires the right video."""

    values: dict[str, float]
    intervals: dict[str, Interval] = field(default_factory=dict)


def make_spans(clips: Mapping[Path, ClipFeatures], encoder: VideoEncoder) -> Spans:
    """Cut every video into overlapping spans of all lengths. A video shorter than the shortest span is one span."""
    videos, times, vectors = [], [], []
    for number, video in enumerate(clips.values()):
        spans = _grid(video.end)
        videos.append(np.full(len(spans), number))
        times.append(spans)
        vectors.append(pool_clips(video, encoder, [(float(start), float(end)) for start, end in spans]))
    return Spans(np.concatenate(videos), np.concatenate(times), np.concatenate(vectors))


def retrieve(texts: Vectors, targets: Targets, spans: Spans) -> NDArray[np.bool_]:
    """Return whether each query is found at each depth and overlap.

    Args:
        texts: (queries, dim).
        targets: the annotated spans.
        spans: the gallery.

    Returns:
        (queries, K, θ) bool, for K in `DEPTHS` and θ in 0 and `OVERLAPS`.
    """
    return np.stack(
        [_hits(text @ spans.vectors.T, *target, spans) for text, target in zip(texts, _each(targets), strict=True)]
    )


def chance(targets: Targets, spans: Spans) -> NDArray[np.float64]:
    """Return the probability (queries, K, θ) that randomly ordered spans find each query, without suppression."""
    from scipy.stats import hypergeom

    relevant = np.stack([[(_overlaps(*one, spans) >= iou).sum() for iou in _MIN_IOUS] for one in _each(targets)])
    depths = np.minimum(DEPTHS, len(spans.times))[None, :, None]
    probability: NDArray[np.float64] = 1 - hypergeom.pmf(0, len(spans.times), relevant[:, None, :], depths)
    return probability


def ceiling(targets: Targets, spans: Spans) -> NDArray[np.bool_]:
    """Return whether any span finds each query, (queries, K, θ) bool: the result of a perfect order."""
    best = np.stack([[_overlaps(*one, spans).max() >= iou for iou in _MIN_IOUS] for one in _each(targets)])
    return np.repeat(best[:, None, :], len(DEPTHS), axis=1)


def summarize(
    hits: NDArray[np.bool_] | NDArray[np.float64], targets: Targets, *, resamples: int = 0, seed: int = 0
) -> MomentRecall:
    """Average hits over the queries, with 95 % bootstrap intervals.

    The bootstrap resamples videos with all their queries, because queries of one video are correlated. A single video
    has no intervals.

    Args:
        hits: (queries, K, θ).
        targets: the annotated spans.
        resamples: bootstrap resamples. 0: no intervals.
        seed: random seed of the bootstrap.
    """
    names = [f"IoU {iou:g} R@{depth}" for depth in DEPTHS for iou in _MIN_IOUS]
    flat = 100 * hits.reshape(len(hits), -1).astype(float)
    values = dict(zip(names, flat.mean(axis=0).tolist(), strict=True))
    _, video = np.unique(targets.videos, return_inverse=True)
    count = np.bincount(video)
    if resamples == 0 or len(count) < 2:
        return MomentRecall(values)
    sums = np.stack([np.bincount(video, weights=column) for column in flat.T], axis=1)
    samples = np.random.default_rng(seed).integers(0, len(count), (resamples, len(count)))
    means = sums[samples].sum(axis=1) / count[samples].sum(axis=1)[:, None]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return MomentRecall(
        values, {name: Interval(float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}
    )


_MIN_IOUS = (0.0, *OVERLAPS)


def _grid(end: float) -> NDArray[np.float64]:
    lengths = [MIN_SPAN * 2 ** (step / 2) for step in range(1 + round(2 * np.log2(MAX_SPAN / MIN_SPAN)))]
    spans = [
        (start, start + length)
        for length in lengths
        if length <= end
        for start in np.arange(0.0, end - length + 1e-6, length / 4)
    ]
    return np.array(spans or [(0.0, end)])


def _each(targets: Targets) -> list[tuple[int, NDArray[np.float64]]]:
    return [(int(video), times) for video, times in zip(targets.videos, targets.times, strict=True)]


def _overlaps(video: int, times: NDArray[np.float64], spans: Spans) -> NDArray[np.float64]:
    """Return (n,), the temporal IoU of every span with the given one; -1 for spans of other videos."""
    overlaps = np.full(len(spans.times), -1.0)
    inside = spans.videos == video
    overlaps[inside] = _iou(spans.times[inside], times)
    return overlaps


def _iou(spans: NDArray[np.float64], span: NDArray[np.float64]) -> NDArray[np.float64]:
    intersection = np.maximum(0.0, np.minimum(spans[:, 1], span[1]) - np.maximum(spans[:, 0], span[0]))
    iou: NDArray[np.float64] = intersection / (spans[:, 1] - spans[:, 0] + span[1] - span[0] - intersection)
    return iou


def _hits(scores: Vectors, video: int, times: NDArray[np.float64], spans: Spans) -> NDArray[np.bool_]:
    """Return whether one query is found, (K, θ) bool."""
    answers = _answers(scores, spans)
    overlaps = np.where(spans.videos[answers] == video, _iou(spans.times[answers], times), -1.0)
    return np.array([[(overlaps[:depth] >= iou).any() for iou in _MIN_IOUS] for depth in DEPTHS])


def _answers(scores: Vectors, spans: Spans) -> list[int]:
    """Return the best spans of a query after non-maximum suppression."""
    count = min(_NMS_CANDIDATES, len(scores))
    best = np.argpartition(-scores, count - 1)[:count]
    answers: list[int] = []
    for row in best[np.argsort(-scores[best], kind="stable")]:
        same_video = [other for other in answers if spans.videos[other] == spans.videos[row]]
        if not same_video or _iou(spans.times[same_video], spans.times[row]).max() <= _NMS_IOU:
            answers.append(int(row))
            if len(answers) == max(DEPTHS):
                break
    return answers


def make_targets(
    videos: Sequence[Path], clips: Mapping[Path, ClipFeatures], times: Sequence[tuple[float, float]]
) -> Targets:
    """Return the annotated spans of queries, with videos numbered in the order of `clips`."""
    numbers = {video: number for number, video in enumerate(clips)}
    return Targets(np.array([numbers[video] for video in videos]), np.array(times, float))
