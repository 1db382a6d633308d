"""From scores to confidences, by what people marked right and wrong (Platt, 1999, with his smoothed targets)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from var_plugin.app.feedback import Mark
from var_plugin.types import Moment

FEWEST_OF_EACH = 10
"""Marks of either kind from which on a confidence is told at all."""

_STEPS = 50
# A weak pull towards a slope of 1 keeps marks that separate perfectly from claiming certainty.
_PRIOR = 0.1


@dataclass(frozen=True)
class Calibration:
    """The probability that a moment is marked right: a logistic curve over its score."""

    slope: float
    middle: float
    """The score at which right and wrong are as likely."""

    def confidence(self, score: float) -> float:
        """Return the probability for a score."""
        return float(_sigmoid(np.array(self.slope * (score - self.middle))))

    def told(self, moments: Sequence[Moment]) -> tuple[Moment, ...]:
        """Return the moments with a confidence each; one that the suite gave stays."""
        return tuple(
            moment
            if moment.confidence is not None
            else moment.model_copy(update={"confidence": self.confidence(moment.score)})
            for moment in moments
        )


def calibrate(marks: Sequence[Mark], asked: Sequence[str], suite: str) -> Calibration | None:
    """Return the curve that fits the marks on questions of one kind; None while they are too few, or say nothing.

    Args:
        marks: what counts.
        asked: the modalities of the questions; scores of others do not compare.
        suite: fingerprint of the suite; scores of others do not compare either.
    """
    used = [mark for mark in marks if mark.asked == tuple(asked) and mark.suite == suite]
    right = np.array([mark.right for mark in used], bool)
    if min(right.sum(), (~right).sum()) < FEWEST_OF_EACH:
        return None
    scores = np.array([mark.score for mark in used])
    targets = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))
    features = np.stack([scores, np.ones_like(scores)], axis=1)
    weights = np.array([1.0, -scores.mean()])
    for _ in range(_STEPS):
        likely = _sigmoid(features @ weights)
        gradient = features.T @ (likely - targets) + _PRIOR * np.array([weights[0] - 1.0, 0.0])
        curvature = (features * (likely * (1 - likely))[:, None]).T @ features + _PRIOR * np.eye(2)
        weights = weights - np.linalg.solve(curvature, gradient)
    if not np.isfinite(weights).all() or weights[0] <= 0:
        return None
    return Calibration(slope=float(weights[0]), middle=float(-weights[1] / weights[0]))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -50, 50))))
