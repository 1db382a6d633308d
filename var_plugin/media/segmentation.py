"""Cut a video into segments, merge static segments, find anomalous ones, and choose keyframes.

The functions compute on times and vectors only. They neither decode nor embed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# On a scale of 0 to 255: darker images are black, and images of less contrast show nothing (fog, a covered lens).
_BLACK_MEAN = 16.0
_FLAT_DEVIATION = 6.0

_PEAK_RATIO = 0.6
_MIN_PEAK_SECONDS, _MAX_PEAK_SECONDS = 2.0, 16.0
_SECONDS_PER_PEAK = 15.0


def uniform_segments(duration: float, length: float) -> list[tuple[float, float]]:
    """Cut 0…duration seconds into consecutive spans of `length` seconds without gaps or overlaps.

    A tail shorter than half a length joins its predecessor. The last span therefore lasts between half and one and a
    half lengths, except for a video shorter than that.
    """
    count = max(1, math.floor(duration / length + 0.5))
    bounds = [i * length for i in range(count)] + [duration]
    return list(pairwise(bounds))


def group_static_spans(
    spans: Sequence[tuple[float, float]], vectors: NDArray[np.floating], *, similarity: float, max_seconds: float
) -> list[range]:
    """Group consecutive spans with similar vectors into runs.

    Every pair of spans in a run has a cosine similarity of at least `similarity`, so the ends of a slow pan are not
    grouped.

    Args:
        spans: (start, end) in seconds. Each span begins where the previous one ends.
        vectors: (len(spans), dim), L2-normalised.
        similarity: minimum cosine similarity within a run.
        max_seconds: maximum duration of a run of more than one span.

    Returns:
        Ranges of span indices that cover all spans in order.
    """
    runs: list[range] = []
    for i, (_, end) in enumerate(spans):
        run = runs[-1] if runs else None
        if (
            run is not None
            and end - spans[run.start][0] <= max_seconds
            and (vectors[run.start : run.stop] @ vectors[i]).min() >= similarity
        ):
            runs[-1] = range(run.start, i + 1)
        else:
            runs.append(range(i, i + 1))
    return runs


def anomaly_spans(
    times: NDArray[np.floating], scores: NDArray[np.floating], end: float, *, min_score: float
) -> list[tuple[float, float]]:
    """Return the spans around the peaks of the anomaly score, in order of time and without overlaps.

    A span grows from its peak to both sides while the score stays above `_PEAK_RATIO` of the peak, up to
    `_MAX_PEAK_SECONDS`. A shorter span is widened evenly to `_MIN_PEAK_SECONDS`. Higher peaks are used first, and on
    average at most one per `_SECONDS_PER_PEAK` of video.

    Args:
        times: (n,) start of each clip in seconds, ascending.
        scores: (n,) anomaly scores from 0 to 1.
        end: end of the last clip in seconds. Each other clip ends where the next one starts.
        min_score: minimum score of a peak.
    """
    ends = np.append(times[1:], end)
    has_higher_neighbor = np.maximum(np.append(scores[1:], -np.inf), np.insert(scores[:-1], 0, -np.inf)) > scores
    is_free = np.ones(len(times), bool)
    spans: list[tuple[float, float]] = []
    for peak in np.argsort(-scores, kind="stable"):
        if scores[peak] < min_score or len(spans) > end / _SECONDS_PER_PEAK:
            break
        if is_free[peak] and not has_higher_neighbor[peak]:
            first, last = _grow(int(peak), times, ends, np.where(is_free, scores, -1.0))
            spans.append(_widen(float(times[first]), float(ends[last]), end, spans))
            is_free[(times < spans[-1][1]) & (ends > spans[-1][0])] = False
    return sorted(spans)


def _grow(
    peak: int, times: NDArray[np.floating], ends: NDArray[np.floating], scores: NDArray[np.floating]
) -> tuple[int, int]:
    """Return the first and the last clip of the span around a peak. Add the higher neighbour first."""
    first = last = peak
    while True:
        neighbors = [
            (scores[clip], clip)
            for clip in (first - 1, last + 1)
            if 0 <= clip < len(times)
            and scores[clip] >= _PEAK_RATIO * scores[peak]
            and max(ends[last], ends[clip]) - min(times[first], times[clip]) <= _MAX_PEAK_SECONDS
        ]
        if not neighbors:
            return first, last
        clip = max(neighbors)[1]
        first, last = min(first, clip), max(last, clip)


def _widen(start: float, stop: float, end: float, others: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Widen a span to the minimum length within 0…end, without overlapping other spans."""
    margin = max(0.0, _MIN_PEAK_SECONDS - (stop - start)) / 2
    previous_end = max((other for _, other in others if other <= start), default=0.0)
    next_start = min((other for other, _ in others if other >= stop), default=end)
    return max(previous_end, start - margin), min(next_start, stop + margin)


def has_content(image: NDArray[np.uint8]) -> bool:
    """Return whether an image (height, width, 3) is neither black nor of a single colour."""
    step = max(1, min(image.shape[:2]) // 32)
    sample = image[::step, ::step].astype(np.float32)
    return bool(sample.mean() > _BLACK_MEAN and sample.std(axis=(0, 1)).max() > _FLAT_DEVIATION)


def choose_keyframe(times: Sequence[float], vectors: NDArray[np.floating], usable: Sequence[bool]) -> float:
    """Return the time of the most representative frame: the usable one nearest to the mean of the normalised vectors.

    The first frame of a video (time 0) is often black or broken. It is returned only if there is no other.

    Args:
        times: time of each frame in seconds. At least one.
        vectors: (len(times), dim), not necessarily normalised.
        usable: whether each frame has content.
    """
    # Scaling by the inverse norms avoids a normalised copy of the vectors, which are large for hours of video.
    inverse_norms = 1 / np.maximum(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), np.finfo(np.float32).tiny)
    similarities = vectors @ (inverse_norms @ vectors) * inverse_norms
    candidates = [i for i, time in enumerate(times) if usable[i] and time > 0]
    candidates = candidates or [i for i, time in enumerate(times) if time > 0] or list(range(len(times)))
    return times[max(candidates, key=lambda i: (similarities[i], -i))]
