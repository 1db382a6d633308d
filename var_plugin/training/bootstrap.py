"""Whether a gain on held-out videos is more than chance: what may be kept of a training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from var_plugin.evaluation.metrics import DEPTHS

DRAWS = 500
_SURE = 5.0  # percent: the share of draws that may say otherwise


def points(forward: NDArray[np.float64], backward: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) what each pair adds to SumR, from its ranks (n,) in both directions; their mean is SumR."""
    return np.asarray(100 * sum((ranks <= depth).astype(float) for ranks in (forward, backward) for depth in DEPTHS))


def surely_more(before: NDArray[np.float64], after: NDArray[np.float64], groups: NDArray[np.int64]) -> bool:
    """Tell whether the mean of (n,) grew in 95 % of draws; groups (n,) that resemble each other are drawn together."""
    members = np.unique(groups, return_inverse=True)[1]
    sums, counts = np.bincount(members, weights=after - before), np.bincount(members)
    return _low(len(counts), lambda drawn: float(sums[drawn].sum() / counts[drawn].sum())) > 0


def surely_told_apart(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> bool:
    """Tell whether scores (n,) rank the true ones above the others better than chance in 95 % of draws."""
    difference = scores[truth][:, None] - scores[~truth]
    won = (difference > 0) + (difference == 0) / 2

    def area(drawn: NDArray[np.int64]) -> float:
        times = np.bincount(drawn, minlength=len(truth)).astype(float)
        true, others = times[truth], times[~truth]
        # The area under the ROC curve is the share of pairs in which the true one scores higher.
        return float(true @ won @ others / (true.sum() * others.sum())) if true.any() and others.any() else 0.5

    return _low(len(truth), area) > 0.5


def _low(count: int, statistic: Callable[[NDArray[np.int64]], float]) -> float:
    """Return the lower end of a one-sided bootstrap interval."""
    random = np.random.default_rng(0)
    return float(np.percentile([statistic(random.integers(0, count, count)) for _ in range(DRAWS)], _SURE))
