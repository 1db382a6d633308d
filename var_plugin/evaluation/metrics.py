"""Retrieval and detection metrics of Video Anomaly Retrieval, with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from var_plugin.errors import InvalidInputError

DEPTHS = (1, 5, 10)

Scores = NDArray[np.floating]
"""(queries, videos): row i is the query of video i; larger is more similar."""


@dataclass(frozen=True)
class Direction:
    """Retrieval in one direction: R@1, R@5 and R@10 in percent, and the median rank (best is 1)."""

    recall: tuple[float, float, float]
    median_rank: float


@dataclass(frozen=True)
class Interval:
    """A confidence interval in the unit of the metric."""

    low: float
    high: float


@dataclass(frozen=True)
class Retrieval:
    """Retrieval in both directions on one test set. The keys of `intervals` are those of `named_values`."""

    query_to_video: Direction
    video_to_query: Direction
    intervals: dict[str, Interval] | None = None

    @property
    def recall_sum(self) -> float:
        """SumR: the sum of the six recalls of both directions, at most 600."""
        return sum(self.query_to_video.recall) + sum(self.video_to_query.recall)

    def named_values(self) -> dict[str, float]:
        """Return the nine values of a table row by name: ``query_to_video/R@1``, …, ``SumR``."""
        values: dict[str, float] = {}
        for name in ("query_to_video", "video_to_query"):
            direction: Direction = getattr(self, name)
            values |= {f"{name}/R@{depth}": recall for depth, recall in zip(DEPTHS, direction.recall, strict=True)}
            values[f"{name}/MdR"] = direction.median_rank
        return values | {"SumR": self.recall_sum}


def ranks(scores: Scores, relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the rank of the best relevant candidate for every query.

    Candidates with equal scores share the mean of their ranks, so that a constant score earns no recall.

    Args:
        scores: (queries, candidates).
        relevant: (queries, candidates) bool, at least one true per query.

    Returns:
        (queries,) float64. 1 is the best; ties may give halves.

    Raises:
        InvalidInputError: A score is not finite, or a query has no relevant candidate.
    """
    if not np.isfinite(scores).all():
        raise InvalidInputError(
            "the similarity matrix contains NaN or infinity", why="it cannot be ranked", fix="check the model weights"
        )
    if not relevant.any(axis=1).all():
        raise InvalidInputError("a query has no relevant candidate", fix="mark at least one candidate per query")
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    better = (~relevant & (scores > best)).sum(axis=1)
    tied = (~relevant & (scores == best)).sum(axis=1)
    result: NDArray[np.float64] = 1.0 + better + tied / 2
    return result


def pair_ranks(
    scores: Scores, *, merge_equal: Sequence[str] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ranks in both directions for a test set of pairs.

    By default, query i is answered by video i alone. With ``merge_equal`` (the captions), captions that are equal
    except for case form one query: each of their videos answers it, and it appears in the gallery of captions only
    once. Every video still counts once in the averages of both directions.

    Args:
        scores: (n, n), queries by videos.
        merge_equal: The n captions. None: the strict protocol.

    Returns:
        (n,) ranks of query to video and (n,) ranks of video to query.

    Raises:
        InvalidInputError: The matrix is not square, or the number of captions differs from n.
    """
    count = len(scores)
    if scores.shape != (count, count) or count == 0:
        raise InvalidInputError(f"the similarity matrix has shape {scores.shape}", why="pairs need a square matrix")
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
    """Return R@1/5/10, median rank and SumR in both directions, as in Tables II and III of the ALAN paper.

    Args:
        scores: (n, n), queries by videos.
        merge_equal: See `pair_ranks`.
        resamples: Bootstrap resamples of the pairs for 95 % percentile intervals. 0: no intervals. The gallery is
            fixed, so the intervals reflect the sampling of queries. A single pair has no intervals.
        seed: Random seed of the bootstrap.
    """
    return from_ranks(*pair_ranks(scores, merge_equal=merge_equal), resamples=resamples, seed=seed)


def from_ranks(
    forward: NDArray[np.float64], backward: NDArray[np.float64], *, resamples: int = 0, seed: int = 0
) -> Retrieval:
    """Return R@1/5/10, median rank and SumR from ranks (queries,) and (videos,) of both directions; see `retrieval`.

    Equal numbers of queries and videos are taken as pairs and resampled together. A single query or video has no
    intervals.
    """
    values = _statistics(forward, backward)
    result = Retrieval(_direction(values[:4]), _direction(values[4:8]))
    if resamples == 0 or min(len(forward), len(backward)) < 2:
        return result
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
    bounds = zip(result.named_values(), interval.low, interval.high, strict=True)
    return Retrieval(
        result.query_to_video,
        result.video_to_query,
        {name: Interval(float(low), float(high)) for name, low, high in bounds},
    )


def _statistics(forward: NDArray[np.float64], backward: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """Return the nine values in the order of `Retrieval.named_values`, over one axis of the ranks."""
    rows = []
    for direction in (forward, backward):
        rows += [100 * (direction <= depth).mean(axis=axis) for depth in DEPTHS]
        rows.append(np.median(direction, axis=axis))
    recalls = [row for index, row in enumerate(rows) if index % 4 != 3]
    return np.stack([*rows, np.sum(recalls, axis=0)])


def _direction(values: NDArray[np.float64]) -> Direction:
    first, fifth, tenth, median = (float(value) for value in values)
    return Direction((first, fifth, tenth), median)


def chance(count: int) -> Retrieval:
    """Return the expected result of random scores on `count` strict pairs. The paper prints one random draw."""
    recall = tuple(100 * min(depth, count) / count for depth in DEPTHS)
    direction = Direction((recall[0], recall[1], recall[2]), (count + 1) / 2)
    return Retrieval(direction, direction)


def chance_among(relevant: NDArray[np.bool_]) -> Retrieval:
    """Return the expected result of random scores if queries may have several relevant videos.

    Args:
        relevant: (queries, videos) bool, at least one true in every row and column.
    """
    return Retrieval(_chance(relevant), _chance(relevant.T))


def _chance(relevant: NDArray[np.bool_]) -> Direction:
    """Return the expected recalls and median rank, from the distribution of the best of r random ranks among n."""
    from scipy.stats import hypergeom

    count = relevant.shape[1]
    numbers, queries = np.unique(relevant.sum(axis=1), return_counts=True)
    depths = np.arange(1, count + 1)
    # Share of queries with a relevant video up to each depth.
    shares = np.average([1 - hypergeom.pmf(0, count, n, depths) for n in numbers], axis=0, weights=queries)
    recall = [100 * float(shares[min(depth, count) - 1]) for depth in DEPTHS]
    low, high = (int(depths[shares >= half][0]) for half in (0.5 - 1e-9, 0.5 + 1e-9))
    return Direction((recall[0], recall[1], recall[2]), (low + high) / 2)


def frame_auc(scores: Sequence[Scores], anomalous: Sequence[NDArray[np.bool_]]) -> float:
    """Return the AUC of the anomaly scores over the frames of all videos together.

    Every clip stands for the same number of frames, so clips are sufficient.

    Args:
        scores: Per video (T,), anomaly scores.
        anomalous: Per video (T,) bool, ground truth.

    Raises:
        InvalidInputError: Only one of the two classes occurs.
    """
    from sklearn.metrics import roc_auc_score

    truth = np.concatenate(anomalous)
    if truth.all() or not truth.any():
        raise InvalidInputError("frame AUC needs anomalous and normal frames", why="only one class occurs")
    return float(roc_auc_score(truth, np.concatenate(scores)))
