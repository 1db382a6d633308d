"""Cutting a video into uniform segments, merging those in which nothing changes, choosing their key frames.

Everything here is plain arithmetic on times and vectors; decoding and embedding happen elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# Below these, on a scale of 0 to 255, an image is black, or shows nothing (fog, a covered lens, a blue screen).
_BLACK_MEAN = 16.0
_FLAT_DEVIATION = 6.0

_PEAK_SHARE = 0.6
_SHORTEST_PEAK, _LONGEST_PEAK = 2.0, 16.0
_SECONDS_PER_PEAK = 15.0


def uniform_segments(duration: float, length: float) -> list[tuple[float, float]]:
    """Cut 0…duration seconds into neighbouring spans of `length`; together they cover it without gap or overlap.

    A tail shorter than half a length joins its predecessor, so every span but that of a short video lasts between half
    and one and a half lengths.
    """
    count = max(1, math.floor(duration / length + 0.5))
    bounds = [i * length for i in range(count)] + [duration]
    return list(pairwise(bounds))


def group_static_spans(
    spans: Sequence[tuple[float, float]], vectors: NDArray[np.floating], *, similarity: float, max_seconds: float
) -> list[range]:
    """Group neighbouring spans that say the same, as ranges of their indices that cover all of them in order.

    Every two members of a run have a cosine of at least `similarity`, so that a slow pan does not join its ends, and no
    run of several lasts more than `max_seconds` seconds.

    Args:
        spans: (start, end) in seconds, each beginning where the one before ends.
        vectors: (len(spans), dim) of unit length.
        similarity: the cosine from which two spans count as the same.
        max_seconds: seconds.
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
    """Return the spans around the peaks of the anomaly score, in order of time, none overlapping another.

    From a peak the span grows to both sides while the score stays above `_PEAK_SHARE` of the peak's, up to
    `_LONGEST_PEAK` seconds; a shorter one is widened evenly to `_SHORTEST_PEAK`. Higher peaks go first; there are at
    most one per 15 s of video on average.

    Args:
        times: (n,) seconds, ascending.
        scores: (n,) from 0 to 1.
        end: seconds; a clip lasts until the next, the last one until here.
        min_score: the lowest score that makes a peak.
    """
    ends = np.append(times[1:], end)
    higher = np.maximum(np.append(scores[1:], -np.inf), np.insert(scores[:-1], 0, -np.inf)) > scores
    free = np.ones(len(times), bool)
    spans: list[tuple[float, float]] = []
    for peak in np.argsort(-scores, kind="stable"):
        if scores[peak] < min_score or len(spans) > end / _SECONDS_PER_PEAK:
            break
        if free[peak] and not higher[peak]:
            first, last = _grown(int(peak), times, ends, np.where(free, scores, -1.0))
            spans.append(_widened(float(times[first]), float(ends[last]), end, spans))
            free[(times < spans[-1][1]) & (ends > spans[-1][0])] = False
    return sorted(spans)


def _grown(
    peak: int, times: NDArray[np.floating], ends: NDArray[np.floating], scores: NDArray[np.floating]
) -> tuple[int, int]:
    """Return the first and last clip around a peak, the higher neighbour first, while it is high and the span short."""
    first = last = peak
    while True:
        reachable = [
            (scores[clip], clip)
            for clip in (first - 1, last + 1)
            if 0 <= clip < len(times)
            and scores[clip] >= _PEAK_SHARE * scores[peak]
            and max(ends[last], ends[clip]) - min(times[first], times[clip]) <= _LONGEST_PEAK
        ]
        if not reachable:
            return first, last
        clip = max(reachable)[1]
        first, last = min(first, clip), max(last, clip)


def _widened(start: float, stop: float, end: float, others: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Widen a span to the shortest length, inside of 0…end and without touching others."""
    missing = max(0.0, _SHORTEST_PEAK - (stop - start)) / 2
    before = max((other for _, other in others if other <= start), default=0.0)
    behind = min((other for other, _ in others if other >= stop), default=end)
    return max(before, start - missing), min(behind, stop + missing)


def has_content(image: NDArray[np.uint8]) -> bool:
    """Tell whether an image (height, width, 3) is neither black nor all of one colour."""
    step = max(1, min(image.shape[:2]) // 32)
    thinned = image[::step, ::step].astype(np.float32)
    return bool(thinned.mean() > _BLACK_MEAN and thinned.std(axis=(0, 1)).max() > _FLAT_DEVIATION)


def choose_keyframe(times: Sequence[float], vectors: NDArray[np.floating], usable: Sequence[bool]) -> float:
    """Return the time of the frame that stands best for all of them: the usable one nearest to their mean direction.

    The first frame of a video (time 0) is often black or broken, so it is taken only where there is no other.

    Args:
        times: seconds, one per frame, at least one.
        vectors: (len(times), dim) of any length.
        usable: whether a frame shows something.
    """
    # Not divided by their lengths one by one: hours of them are large.
    shares = 1 / np.maximum(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), np.finfo(np.float32).tiny)
    closeness = vectors @ (shares @ vectors) * shares
    candidates = [i for i, time in enumerate(times) if usable[i] and time > 0]
    candidates = candidates or [i for i, time in enumerate(times) if time > 0] or list(range(len(times)))
    return times[max(candidates, key=lambda i: (closeness[i], -i))]
