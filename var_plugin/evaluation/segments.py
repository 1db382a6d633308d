"""Finding the moment: sentences against spans of all test videos together, R@K at temporal IoU.

The protocol, which is ours (for UCF-Crime Annotation nobody has published one), stands in docs/suites.md. A query is
one sentence; the gallery is every test video at once; an answer is a list of spans, best first. The query counts as
found at K and θ if one of the first K spans lies in its video and has a temporal IoU of at least θ with the annotated
span.
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
"""θ."""

SHORTEST, LONGEST = 4.0, 128.0
"""Seconds; spans grow from one to the other by factors of √2, and begin a quarter of their length apart."""

_SAME_SPAN = 0.5  # of the spans of one video that overlap by more, the best alone is an answer
_LOOKED_AT = 400  # best spans of a query, among which those are left out


@dataclass(frozen=True)
class Spans:
    """All spans that can be an answer."""

    videos: NDArray[np.int64]
    """(n,) number of the video."""
    times: NDArray[np.float64]
    """(n, 2) start and end in seconds."""
    vectors: Vectors
    """(n, dim)."""


@dataclass(frozen=True)
class Wanted:
    """What queries are to find."""

    videos: NDArray[np.int64]
    """(queries,) number of the video."""
    times: NDArray[np.float64]
    """(queries, 2) start and end in seconds."""


@dataclass(frozen=True)
class Moments:
    """Shares of queries found, in percent, by "IoU θ R@K"; the least θ, 0, asks for the right video alone."""

    values: dict[str, float]
    intervals: dict[str, Interval] = field(default_factory=dict)


def cut(clips: Mapping[Path, ClipFeatures], encoder: VideoEncoder) -> Spans:
    """Cut every video into overlapping spans of all lengths; one shorter than the shortest is one span."""
    videos, times, vectors = [], [], []
    for number, one in enumerate(clips.values()):
        spans = _grid(one.end)
        videos.append(np.full(len(spans), number))
        times.append(spans)
        vectors.append(pool_clips(one, encoder, [(float(start), float(end)) for start, end in spans]))
    return Spans(np.concatenate(videos), np.concatenate(times), np.concatenate(vectors))


def found(texts: Vectors, wanted: Wanted, spans: Spans) -> NDArray[np.bool_]:
    """Return (queries, K, θ) whether each query (queries, dim) is found, for `DEPTHS` and 0 and `OVERLAPS`."""
    return np.stack(
        [_found(text @ spans.vectors.T, *one, spans) for text, one in zip(texts, _each(wanted), strict=True)]
    )


def chance(wanted: Wanted, spans: Spans) -> NDArray[np.float64]:
    """Return (queries, K, θ) how probable it is that spans in random order find each query; neighbours not left out."""
    from scipy.stats import hypergeom

    right = np.stack([[(_overlaps(*one, spans) >= least).sum() for least in _LEAST] for one in _each(wanted)])
    depths = np.minimum(DEPTHS, len(spans.times))[None, :, None]
    probability: NDArray[np.float64] = 1 - hypergeom.pmf(0, len(spans.times), right[:, None, :], depths)
    return probability


def ceiling(wanted: Wanted, spans: Spans) -> NDArray[np.bool_]:
    """Return (queries, K, θ) whether any span at all is right: what a perfect order would find."""
    best = np.stack([[_overlaps(*one, spans).max() >= least for least in _LEAST] for one in _each(wanted)])
    return np.repeat(best[:, None, :], len(DEPTHS), axis=1)


def summary(
    hits: NDArray[np.bool_] | NDArray[np.float64], wanted: Wanted, *, resamples: int = 0, seed: int = 0
) -> Moments:
    """Average over the queries (queries, K, θ), with 95 % intervals.

    Videos are drawn, with all their queries: sentences of one video resemble each other. A single video has no
    intervals.
    """
    names = [f"IoU {least:g} R@{depth}" for depth in DEPTHS for least in _LEAST]
    flat = 100 * hits.reshape(len(hits), -1).astype(float)
    values = dict(zip(names, flat.mean(axis=0).tolist(), strict=True))
    _, video = np.unique(wanted.videos, return_inverse=True)
    count = np.bincount(video)
    if resamples == 0 or len(count) < 2:
        return Moments(values)
    sums = np.stack([np.bincount(video, weights=column) for column in flat.T], axis=1)
    drawn = np.random.default_rng(seed).integers(0, len(count), (resamples, len(count)))
    means = sums[drawn].sum(axis=1) / count[drawn].sum(axis=1)[:, None]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return Moments(values, {name: Interval(float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)})


_LEAST = (0.0, *OVERLAPS)


def _grid(end: float) -> NDArray[np.float64]:
    lengths = [SHORTEST * 2 ** (step / 2) for step in range(1 + round(2 * np.log2(LONGEST / SHORTEST)))]
    spans = [
        (start, start + length)
        for length in lengths
        if length <= end
        for start in np.arange(0.0, end - length + 1e-6, length / 4)
    ]
    return np.array(spans or [(0.0, end)])


def _each(wanted: Wanted) -> list[tuple[int, NDArray[np.float64]]]:
    return [(int(video), times) for video, times in zip(wanted.videos, wanted.times, strict=True)]


def _overlaps(video: int, times: NDArray[np.float64], spans: Spans) -> NDArray[np.float64]:
    """Return (n,) the temporal IoU of every span with one in a video; -1 in other videos."""
    overlaps = np.full(len(spans.times), -1.0)
    inside = spans.videos == video
    overlaps[inside] = _iou(spans.times[inside], times)
    return overlaps


def _iou(spans: NDArray[np.float64], one: NDArray[np.float64]) -> NDArray[np.float64]:
    both = np.maximum(0.0, np.minimum(spans[:, 1], one[1]) - np.maximum(spans[:, 0], one[0]))
    iou: NDArray[np.float64] = both / (spans[:, 1] - spans[:, 0] + one[1] - one[0] - both)
    return iou


def _found(scores: Vectors, video: int, times: NDArray[np.float64], spans: Spans) -> NDArray[np.bool_]:
    """Return (K, θ)."""
    answers = _answers(scores, spans)
    overlaps = np.where(spans.videos[answers] == video, _iou(spans.times[answers], times), -1.0)
    return np.array([[(overlaps[:depth] >= least).any() for least in _LEAST] for depth in DEPTHS])


def _answers(scores: Vectors, spans: Spans) -> list[int]:
    """Return the best spans, without those that repeat a better one of the same video."""
    looked_at = min(_LOOKED_AT, len(scores))
    best = np.argpartition(-scores, looked_at - 1)[:looked_at]
    answers: list[int] = []
    for place in best[np.argsort(-scores[best], kind="stable")]:
        same = [other for other in answers if spans.videos[other] == spans.videos[place]]
        if not same or _iou(spans.times[same], spans.times[place]).max() <= _SAME_SPAN:
            answers.append(int(place))
            if len(answers) == max(DEPTHS):
                break
    return answers


def numbered(
    videos: Sequence[Path], clips: Mapping[Path, ClipFeatures], times: Sequence[tuple[float, float]]
) -> Wanted:
    """Return what queries are to find, their videos numbered in the order of `clips`."""
    numbers = {video: number for number, video in enumerate(clips)}
    return Wanted(np.array([numbers[video] for video in videos]), np.array(times, float))
