"""How sure a score makes one: a logistic curve on queries with and without a match, over galleries of several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipes.lite.alan_motion import sentence_vectors
from recipes.lite.flickr8k import CAPTIONS, CaptionedImages
from var_plugin.config import settings
from var_plugin.encoders.base import LogisticCalibrator, Vectors

MISSES = 0.2
"""Share of queries with a match that may go unanswered."""
TABLE = f"among | segments | missed | false alarms | false alarms where {MISSES:.0%} are missed | right one first"
"""Head of the rows of `told`."""

UNRELATED = 0.4
"""Sentences less alike than this say different things."""


@dataclass(frozen=True)
class Trials:
    """What each of n queries scores best in galleries of one kind and size, in deviations above the background."""

    among: str
    """The kind of gallery."""
    size: int
    """Candidates."""
    own: NDArray[np.floating]
    """(n,) of the one right answer."""
    others: NDArray[np.floating]
    """(n,) the best of the others."""

    @property
    def with_match(self) -> NDArray[np.floating]:
        """(n,) the best where the right answer is among them."""
        return np.asarray(np.maximum(self.own, self.others))


def trials(
    among: str, own: NDArray[np.floating], scores: NDArray[np.floating], allowed: NDArray[np.bool_], size: int
) -> Trials:
    """Draw for each query so many of the others that it is allowed; queries with fewer are left out.

    Args:
        among: the kind of gallery.
        own: (n,) score of each query's right answer.
        scores: (n, m) of the queries in the whole gallery.
        allowed: (n, m) what has nothing to do with a query, and so is no right answer as well.
        size: of the galleries drawn.
    """
    random = np.random.default_rng(0)
    known = np.flatnonzero(allowed.sum(axis=1) >= size)
    drawn = (random.choice(np.flatnonzero(allowed[query]), size, replace=False) for query in known)
    others = [scores[query, rows].max() for query, rows in zip(known, drawn, strict=True)]
    return Trials(among, size, own[known], np.array(others))


def likenesses(asked: CaptionedImages, data: CaptionedImages) -> Vectors:
    """Return how alike the first caption of each image asked for and the likest caption of each other are, (n, m)."""
    first = sentence_vectors([captions[0] for captions in asked.captions])
    told = [sentence_vectors([captions[number] for captions in data.captions]) for number in range(CAPTIONS)]
    return np.asarray(np.max([first @ sentences.T for sentences in told], axis=0), np.float32)


def fit_confidence(found: Sequence[Trials]) -> LogisticCalibrator:
    """Fit the curve to the best answers with and without the right one; every kind and size counts alike."""
    from sklearn.linear_model import LogisticRegression

    scores = np.concatenate([part for each in found for part in (each.with_match, each.others)])
    right = np.concatenate([part for each in found for part in (each.own >= each.others, np.zeros(len(each.own)))])
    counts = [2 * len(each.own) for each in found]
    sizes = np.repeat(np.log([each.size for each in found]), counts)
    weights = np.repeat(np.mean(counts) / np.array(counts), counts)
    fitted = LogisticRegression().fit(np.stack([scores, sizes], axis=1), right, sample_weight=weights)
    slope, size = fitted.coef_[0]
    return LogisticCalibrator(slope=float(slope), size=float(-size), offset=float(fitted.intercept_[0]))


def sureness(confidence: LogisticCalibrator, scores: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Return the confidence (n,) of scores (n,) among so many candidates."""
    return np.array([confidence(float(score), size) for score in scores])


def threshold_for(found: Sequence[Trials], confidence: LogisticCalibrator, misses: float) -> float:
    """Return the confidence below which, on average over kinds and sizes, the given share of the matches falls."""
    sure = [np.sort(sureness(confidence, each.with_match, each.size)) for each in found]
    places = np.unique(np.concatenate(sure))
    missed = np.mean([np.searchsorted(each, places) / len(each) for each in sure], axis=0)
    return float(places[np.searchsorted(missed, misses)])


def told(found: Trials, confidence: LogisticCalibrator) -> str:
    """Return a row of the table: misses and false alarms at the default threshold, and what else can be had."""
    least = settings().min_confidence
    numbers = (
        (sureness(confidence, found.with_match, found.size) < least).mean(),
        (sureness(confidence, found.others, found.size) >= least).mean(),
        (found.others >= np.quantile(found.with_match, MISSES)).mean(),
        (found.own > found.others).mean(),
    )
    return " | ".join([found.among, f"{found.size:,}", *(f"{100 * number:.0f} %" for number in numbers)])
