"""Grades of moments: how clearly a moment stands above the others of its index.

A grade compares a moment with the ten that follow it in the ranking. A similarity or a probability depends on the
footage: busy streets are similar to every sentence about traffic, and poor images to none. The lead over the other
moments of the same footage does not. `benchmarks/grades.py` measures both and chooses the limits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from var_plugin.retrievers.moments import Peak
from var_plugin.types import Grade

COMPARED = 10
"""Moments that a moment is compared with."""
MIN_COMPARED = 5
"""With fewer other moments there is no grade."""
STRONG_LEAD = 1.5
"""A first moment with this lead, in z-scores, is right at least 8 times out of 10."""
POSSIBLE_LEAD = 0.8
"""A first moment below this lead is wrong 9 times out of 10."""

_STRONG_PROBABILITY, _POSSIBLE_PROBABILITY = 0.8, 0.1


def lead(score: float, following: Sequence[float]) -> float | None:
    """Return how far a z-score lies above the mean of those that follow in the ranking; None if there are too few."""
    return score - sum(following) / len(following) if len(following) >= MIN_COMPARED else None


def with_leads(peaks: Iterator[Peak]) -> Iterator[Peak]:
    """Yield peaks, best first, with their leads. Reads no further ahead than it has to: joining segments takes time."""
    following = deque(islice(peaks, COMPARED + 1))
    while following:
        peak = following.popleft()
        yield replace(peak, lead=lead(peak.best.score, [other.best.score for other in following]))
        following.extend(islice(peaks, 1))


def grade_of_lead(value: float | None) -> Grade | None:
    """Return the grade of a lead."""
    if value is None:
        return None
    return "strong" if value >= STRONG_LEAD else "possible" if value >= POSSIBLE_LEAD else "weak"


def grade_of_probability(value: float) -> Grade:
    """Return the grade of the probability that a moment is right, as measured by feedback."""
    return "strong" if value >= _STRONG_PROBABILITY else "possible" if value >= _POSSIBLE_PROBABILITY else "weak"
