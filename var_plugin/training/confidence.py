"""How sure a score makes one: a logistic curve on queries with and without a match, over several sizes of gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import Background, Confidence, Vectors
from var_plugin.training.alan_motion import sentence_vectors
from var_plugin.training.flickr8k import CAPTIONS, CaptionedPictures

SIZES = (100, 300, 900)
"""Of the galleries."""

UNRELATED = 0.4
"""Sentences less alike than this say different things."""

_RELATED = 0.6


@dataclass(frozen=True)
class Trials:
    """For each query and size of gallery: the best calibrated score, once with the match in it and once without."""

    with_match: NDArray[np.float64]
    """(trials,) scores."""
    found: NDArray[np.bool_]
    """(trials,) whether the best with the match was the match, or something that the query describes as well."""
    without: NDArray[np.float64]
    """(trials,) scores."""
    sizes: NDArray[np.float64]
    """(trials,) candidates."""

    def halves(self) -> tuple[Trials, Trials]:
        """Return those of the first and of the second half of the queries."""
        middle = len(self.sizes) // 2
        return tuple(  # type: ignore[return-value]
            Trials(self.with_match[rows], self.found[rows], self.without[rows], self.sizes[rows])
            for rows in (slice(None, middle), slice(middle, None))
        )


def likenesses(asked: CaptionedPictures, data: CaptionedPictures) -> Vectors:
    """Return how alike the first caption of each picture asked for and the likest caption of each other are, (n, m)."""
    first = sentence_vectors([captions[0] for captions in asked.captions])
    told = [sentence_vectors([captions[number] for captions in data.captions]) for number in range(CAPTIONS)]
    return np.asarray(np.max([first @ sentences.T for sentences in told], axis=0), np.float32)


def trials(queries: Vectors, gallery: Vectors, likeness: Vectors, background: Background, seed: int = 0) -> Trials:
    """Search galleries of unrelated content, with and without each query's own.

    Args:
        queries: (n, dim).
        gallery: (n, dim), the i-th belongs to the i-th query.
        likeness: (n, n) how much the i-th query says the same as what describes the j-th content, from -1 to 1.
        background: of the queries.
        seed: of the galleries.
    """
    random = np.random.default_rng(seed)
    scores = (queries @ gallery.T - background.mean) / background.std
    rows: list[tuple[float, bool, float, int]] = []
    for query in range(len(queries)):
        others = np.flatnonzero(likeness[query] < UNRELATED)
        for size in SIZES:
            if len(others) < size / 2:
                continue
            drawn = random.choice(others, min(size, len(others)), replace=False)
            without, own = scores[query, drawn].max(), scores[query, query]
            best = query if own >= without else int(drawn[scores[query, drawn].argmax()])
            rows.append((max(own, without), bool(likeness[query, best] >= _RELATED), without, len(drawn)))
    with_match, found, without, sizes = (np.array(column) for column in zip(*rows, strict=True))
    return Trials(with_match, found, without, sizes)


def fit_confidence(found: Trials) -> Confidence:
    """Fit the curve to both kinds of trials."""
    from sklearn.linear_model import LogisticRegression

    scores = np.concatenate([found.with_match, found.without])
    sizes = np.log(np.concatenate([found.sizes, found.sizes]))
    right = np.concatenate([found.found, np.zeros(len(found.without), bool)])
    fitted = LogisticRegression().fit(np.stack([scores, sizes], axis=1), right)
    slope, size = fitted.coef_[0]
    return Confidence(slope=float(slope), size=float(-size), offset=float(fitted.intercept_[0]))


def errors(found: Trials, confidence: Confidence, threshold: float) -> dict[int, dict[str, float]]:
    """Return misses and false alarms, in percent, per size of gallery, at a threshold of the confidence."""

    def sure(scores: NDArray[np.float64], rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.array([confidence(s, int(n)) for s, n in zip(scores[rows], found.sizes[rows], strict=True)])

    answer = {}
    for size in SIZES:
        rows = np.abs(np.log(found.sizes / size)) < np.log(1.5)
        if rows.any():
            answer[size] = {
                "misses": round(100 * float((sure(found.with_match, rows) < threshold).mean()), 1),
                "false alarms": round(100 * float((sure(found.without, rows) >= threshold).mean()), 1),
            }
    return answer


def threshold_for(found: Trials, confidence: Confidence, misses: float) -> float:
    """Return the confidence below which the given share of the queries with a match falls."""
    sure: Sequence[float] = [confidence(s, int(n)) for s, n in zip(found.with_match, found.sizes, strict=True)]
    return float(np.quantile(sure, misses))
