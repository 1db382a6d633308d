"""Fit a logistic curve that maps a score and the gallery size to a match probability.

The curve is fitted to queries with and without a match, over galleries of several sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import require
from var_plugin.encoders.base import LogisticCalibrator

MAX_UNRELATED_SIMILARITY = 0.4
"""Sentences with a lower cosine similarity are taken to describe different things."""


@dataclass(frozen=True)
class RetrievalTrials:
    """The best scores of n queries in galleries of one kind and size, as z-scores.

    Attributes:
        gallery: the kind of gallery.
        size: number of candidates.
        own: (n,) score of the correct candidate.
        others: (n,) best score of the other candidates.
    """

    gallery: str
    size: int
    own: NDArray[np.floating]
    others: NDArray[np.floating]

    @property
    def best_with_match(self) -> NDArray[np.floating]:
        """(n,) the best score when the correct candidate is in the gallery."""
        return np.asarray(np.maximum(self.own, self.others))


def draw_trials(
    gallery: str, own: NDArray[np.floating], scores: NDArray[np.floating], allowed: NDArray[np.bool_], size: int
) -> RetrievalTrials:
    """Draw `size` unrelated candidates for each query; queries with fewer are left out.

    Args:
        gallery: the kind of gallery.
        own: (n,) score of each query's correct candidate.
        scores: (n, m) scores of the queries in the whole gallery.
        allowed: (n, m), true for candidates that are unrelated to the query.
        size: number of candidates to draw.
    """
    random = np.random.default_rng(0)
    rows = np.flatnonzero(allowed.sum(axis=1) >= size)
    draws = (random.choice(np.flatnonzero(allowed[query]), size, replace=False) for query in rows)
    others = [scores[query, candidates].max() for query, candidates in zip(rows, draws, strict=True)]
    return RetrievalTrials(gallery, size, own[rows], np.array(others))


def fit_calibrator(trials: Sequence[RetrievalTrials]) -> LogisticCalibrator:
    """Fit the curve to the best scores with and without a match; every gallery and size has equal weight.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    require("train", "sklearn")
    from sklearn.linear_model import LogisticRegression

    scores = np.concatenate([part for each in trials for part in (each.best_with_match, each.others)])
    correct = np.concatenate([part for each in trials for part in (each.own >= each.others, np.zeros(len(each.own)))])
    counts = [2 * len(each.own) for each in trials]
    sizes = np.repeat(np.log([each.size for each in trials]), counts)
    weights = np.repeat(np.mean(counts) / np.array(counts), counts)
    fitted = LogisticRegression().fit(np.stack([scores, sizes], axis=1), correct, sample_weight=weights)
    slope, size = fitted.coef_[0]
    return LogisticCalibrator(slope=float(slope), size=float(-size), offset=float(fitted.intercept_[0]))


def match_probabilities(calibrator: LogisticCalibrator, scores: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Return the match probability (n,) of scores (n,) in a gallery of `size` candidates."""
    return np.array([calibrator(float(score), size) for score in scores])
