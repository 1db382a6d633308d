"""Retrieval and detection metrics of the Video Anomaly Retrieval papers, with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from var_plugin.errors import InvalidInputError

DEPTHS = (1, 5, 10)

Scores = NDArray[np.floating]
"""(queries, videos): row i belongs to the query of video i, larger is more similar."""


@dataclass(frozen=True)
class Direction:
    """One direction of retrieval: recall at 1, 5 and 10 in percent, and the median rank (the best is 1)."""

    recall: tuple[float, float, float]
    median_rank: float


@dataclass(frozen=True)
class Interval:
    """A confidence interval, both ends in the unit of the metric."""

    low: float
    high: float


@dataclass(frozen=True)
class Retrieval:
    """Both directions on one test set; `intervals` is keyed by the names that `named_values` gives."""

    query_to_video: Direction
    video_to_query: Direction
    intervals: dict[str, Interval] | None = None

    @property
    def recall_sum(self) -> float:
        """SumR: the six recalls of both directions, at most 600."""
        return sum(self.query_to_video.recall) + sum(self.video_to_query.recall)

    def named_values(self) -> dict[str, float]:
        """The nine numbers of a table row by name: ``query_to_video/R@1``, …, ``SumR``."""
        values: dict[str, float] = {}
        for name in ("query_to_video", "video_to_query"):
            direction: Direction = getattr(self, name)
            values |= {f"{name}/R@{depth}": recall for depth, recall in zip(DEPTHS, direction.recall, strict=True)}
            values[f"{name}/MdR"] = direction.median_rank
        return values | {"SumR": self.recall_sum}


def ranks(scores: Scores, relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Rank of the best relevant candidate for every query.

    Candidates with the same score share the mean of their ranks, so that a model that gives one score to everything
    does not win.

    Args:
        scores: (queries, candidates).
        relevant: (queries, candidates), at least one per query.

    Returns:
        (queries,) float64; 1 is the best, ties give halves.

    Raises:
        InvalidInputError: If a score is not finite, or a query has nothing relevant.
    """
    if not np.isfinite(scores).all():
        raise InvalidInputError(
            "the similarity matrix holds NaN or infinity", why="it cannot be ranked", fix="check the model's weights"
        )
    if not relevant.any(axis=1).all():
        raise InvalidInputError("a query has no relevant candidate", fix="give every query at least one")
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    rivals = ~relevant
    ahead = (rivals & (scores > best)).sum(axis=1)
    level = (rivals & (scores == best)).sum(axis=1)
    found: NDArray[np.float64] = 1.0 + ahead + level / 2
    return found


def pair_ranks(
    scores: Scores, *, merge_equal: Sequence[str] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ranks in both directions for a test set of pairs.

    Strictly, query i is answered by video i alone. With ``merge_equal`` (the captions), captions that say the same but
    for case are one query: any of their videos answers it, and it stands in the other gallery only once. Every video
    still counts once in the averages of both directions.

    Args:
        scores: (n, n), queries by videos.
        merge_equal: The n captions, or None for the strict protocol.

    Returns:
        (n,) ranks of query to video and (n,) ranks of video to query.

    Raises:
        InvalidInputError: If the matrix is not square or the number of captions differs from it.
    """
    count = len(scores)
    if scores.shape != (count, count) or count == 0:
        raise InvalidInputError(f"the similarity matrix has shape {scores.shape}", why="pairs need a square one")
    if merge_equal is None:
        same = np.eye(count, dtype=bool)
        first = np.arange(count)
    elif len(merge_equal) != count:
        raise InvalidInputError(f"{len(merge_equal)} captions were given for {count} queries")
    else:
        _, first, group = np.unique(
            [caption.strip().casefold() for caption in merge_equal], return_index=True, return_inverse=True
        )
        same = group[:, None] == group[None, :]
    return ranks(scores, same), ranks(scores.T[:, first], same[:, first])


def retrieval(
    scores: Scores, *, merge_equal: Sequence[str] | None = None, resamples: int = 0, seed: int = 0
) -> Retrieval:
    """R@1/5/10, median rank and SumR in both directions, as in Tables II and III of the ALAN paper.

    Args:
        scores: (n, n), queries by videos.
        merge_equal: See `pair_ranks`.
        resamples: Bootstrap resamples of the pairs for 95 % percentile intervals; 0 for none. The gallery stays
            whole: the intervals say how much another draw of queries would move the numbers. A single pair has none.
        seed: Of the bootstrap.
    """
    return from_ranks(*pair_ranks(scores, merge_equal=merge_equal), resamples=resamples, seed=seed)


def from_ranks(
    forward: NDArray[np.float64], backward: NDArray[np.float64], *, resamples: int = 0, seed: int = 0
) -> Retrieval:
    """R@1/5/10, median rank and SumR from the ranks (queries,) and (videos,) of both directions; see `retrieval`.

    Where there are as many queries as videos they are taken to be pairs, and are drawn together. There are no
    intervals for a single query or a single video.
    """
    values = _statistics(forward, backward)
    measured = Retrieval(_direction(values[:4]), _direction(values[4:8]))
    if resamples == 0 or min(len(forward), len(backward)) < 2:
        return measured
    from scipy.stats import bootstrap

    interval = bootstrap(
        (forward, backward),
        _statistics,
        paired=len(forward) == len(backward),
        vectorized=True,
        n_resamples=resamples,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    ends = zip(measured.named_values(), interval.low, interval.high, strict=True)
    return Retrieval(
        measured.query_to_video,
        measured.video_to_query,
        {name: Interval(float(low), float(high)) for name, low, high in ends},
    )


def _statistics(forward: NDArray[np.float64], backward: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """The nine numbers in the order of `Retrieval.named_values`, over the last axis of the ranks."""
    rows = []
    for found in (forward, backward):
        rows += [100 * (found <= depth).mean(axis=axis) for depth in DEPTHS]
        rows.append(np.median(found, axis=axis))
    recalls = [row for place, row in enumerate(rows) if place % 4 != 3]
    return np.stack([*rows, np.sum(recalls, axis=0)])


def _direction(values: NDArray[np.float64]) -> Direction:
    first, fifth, tenth, median = (float(value) for value in values)
    return Direction((first, fifth, tenth), median)


def chance(count: int) -> Retrieval:
    """What random scores give on average on `count` pairs, strictly matched (the paper prints one draw)."""
    recall = tuple(100 * min(depth, count) / count for depth in DEPTHS)
    direction = Direction((recall[0], recall[1], recall[2]), (count + 1) / 2)
    return Retrieval(direction, direction)


def chance_among(relevant: NDArray[np.bool_]) -> Retrieval:
    """What random scores give on average where a query may have several right answers.

    Args:
        relevant: (queries, videos), at least one in every row and column.
    """
    return Retrieval(_chance(relevant), _chance(relevant.T))


def _chance(relevant: NDArray[np.bool_]) -> Direction:
    """The distribution of the best of r places drawn out of n is known exactly; so is its mean over the queries."""
    from scipy.stats import hypergeom

    count = relevant.shape[1]
    numbers, queries = np.unique(relevant.sum(axis=1), return_counts=True)
    depths = np.arange(1, count + 1)
    # At each depth: the share of queries with a right answer up to there.
    found = np.average([1 - hypergeom.pmf(0, count, n, depths) for n in numbers], axis=0, weights=queries)
    recall = [100 * float(found[min(depth, count) - 1]) for depth in DEPTHS]
    low, high = (int(depths[found >= half][0]) for half in (0.5 - 1e-9, 0.5 + 1e-9))
    return Direction((recall[0], recall[1], recall[2]), (low + high) / 2)


def frame_auc(scores: Sequence[Scores], anomalous: Sequence[NDArray[np.bool_]]) -> float:
    """Area under the ROC curve of the anomaly scores over the frames of all videos together.

    Every clip stands for the same number of frames, so that clips are enough.

    Args:
        scores: Per video (T,) anomaly scores.
        anomalous: Per video (T,) ground truth.

    Raises:
        InvalidInputError: If only one of the two classes occurs.
    """
    from sklearn.metrics import roc_auc_score

    truth = np.concatenate(anomalous)
    if truth.all() or not truth.any():
        raise InvalidInputError("frame AUC needs anomalous and normal frames", why="only one kind occurs")
    return float(roc_auc_score(truth, np.concatenate(scores)))
