"""Bootstrap tests that decide whether the gain of a training on held-out videos is significant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from var_plugin.evaluation.metrics import DEPTHS

RESAMPLES = 500
_SIGNIFICANCE = 5.0  # percent


def recall_points(forward: NDArray[np.float64], backward: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the contribution of each pair to SumR, (n,). Its mean is SumR.

    Args:
        forward: (n,), ranks of query to video.
        backward: (n,), ranks of video to query.
    """
    return np.asarray(100 * sum((ranks <= depth).astype(float) for ranks in (forward, backward) for depth in DEPTHS))


def is_significant_gain(before: NDArray[np.float64], after: NDArray[np.float64], groups: NDArray[np.int64]) -> bool:
    """Return whether the mean grew, by a one-sided bootstrap test at 5 %.

    Args:
        before: (n,), values before training.
        after: (n,), values after training.
        groups: (n,), group of each value. Groups are resampled as a whole, because their values are correlated.
    """
    members = np.unique(groups, return_inverse=True)[1]
    sums, counts = np.bincount(members, weights=after - before), np.bincount(members)
    return _lower_bound(len(counts), lambda sample: float(sums[sample].sum() / counts[sample].sum())) > 0


def is_better_than_chance(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> bool:
    """Return whether the scores rank the true items above the others better than chance, by a bootstrap test at 5 %.

    Args:
        truth: (n,) bool.
        scores: (n,).
    """
    difference = scores[truth][:, None] - scores[~truth]
    wins = (difference > 0) + (difference == 0) / 2

    def auc(sample: NDArray[np.int64]) -> float:
        counts = np.bincount(sample, minlength=len(truth)).astype(float)
        positive, negative = counts[truth], counts[~truth]
        if not positive.any() or not negative.any():
            return 0.5
        # The AUC is the share of pairs in which the true item scores higher.
        return float(positive @ wins @ negative / (positive.sum() * negative.sum()))

    return _lower_bound(len(truth), auc) > 0.5


def _lower_bound(count: int, statistic: Callable[[NDArray[np.int64]], float]) -> float:
    """Return the lower end of a one-sided 95 % bootstrap interval."""
    random = np.random.default_rng(0)
    values = [statistic(random.integers(0, count, count)) for _ in range(RESAMPLES)]
    return float(np.percentile(values, _SIGNIFICANCE))
