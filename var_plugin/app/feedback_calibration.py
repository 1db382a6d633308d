"""Platt scaling of scores by user feedback (Platt, 1999, with smoothed targets)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from var_plugin.app.feedback import Feedback
from var_plugin.retrievers.grades import grade_of_probability
from var_plugin.types import Moment

MIN_PER_CLASS = 10
"""Right and wrong judgements that calibration needs, each."""

_NEWTON_STEPS = 50
# L2 penalty on the distance of the slope from 1. Without it, separable feedback would give an infinite slope.
_SLOPE_PENALTY = 0.1


@dataclass(frozen=True)
class FeedbackCalibration:
    """Logistic curve from a score to the probability that users judge the moment right."""

    slope: float
    midpoint: float
    """The score with probability 0.5."""

    def confidence(self, score: float) -> float:
        """Return the probability for a score."""
        return float(_sigmoid(np.array(self.slope * (score - self.midpoint))))

    def add_confidence(self, moments: Sequence[Moment]) -> tuple[Moment, ...]:
        """Return the moments with a confidence and a grade each. Those from the suite are kept."""
        return tuple(
            moment
            if moment.confidence is not None
            else moment.model_copy(update={"confidence": confidence, "grade": grade_of_probability(confidence)})
            for moment in moments
            for confidence in [self.confidence(moment.score)]
        )


def calibrate(feedback: Sequence[Feedback], query_fields: Sequence[str], suite: str) -> FeedbackCalibration | None:
    """Fit a logistic curve to the feedback on one kind of query by Newton's method.

    Args:
        feedback: what `FeedbackStore.all` returned.
        query_fields: the query fields of the request. Scores of other kinds of queries are not comparable.
        suite: fingerprint of the suite. Scores of other suites are not comparable.

    Returns:
        The curve. None if there are fewer than `MIN_PER_CLASS` right or wrong judgements, or if the probability does
        not rise with the score.
    """
    used = [entry for entry in feedback if entry.query_fields == tuple(query_fields) and entry.suite == suite]
    right = np.array([entry.is_right for entry in used], bool)
    if min(right.sum(), (~right).sum()) < MIN_PER_CLASS:
        return None
    scores = np.array([entry.score for entry in used])
    targets = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))
    features = np.stack([scores, np.ones_like(scores)], axis=1)
    weights = np.array([1.0, -scores.mean()])
    for _ in range(_NEWTON_STEPS):
        probabilities = _sigmoid(features @ weights)
        gradient = features.T @ (probabilities - targets) + _SLOPE_PENALTY * np.array([weights[0] - 1.0, 0.0])
        hessian = (features * (probabilities * (1 - probabilities))[:, None]).T @ features + _SLOPE_PENALTY * np.eye(2)
        weights = weights - np.linalg.solve(hessian, gradient)
    if not np.isfinite(weights).all() or weights[0] <= 0:
        return None
    return FeedbackCalibration(slope=float(weights[0]), midpoint=float(-weights[1] / weights[0]))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -50, 50))))
