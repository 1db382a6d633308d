"""Tables of missed matches and false alarms, and the captions of images that show something else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recipes.lite.flickr8k import CAPTIONS, CaptionedImages
from var_plugin.encoders.backbones.minilm import sentence_vectors
from var_plugin.encoders.base import LogisticCalibrator, Vectors
from var_plugin.evaluation.match_trials import RetrievalTrials, match_probabilities

MISS_RATE = 0.2
"""Share of the queries with a match that may be rejected."""
MIN_CONFIDENCE = 0.15
"""Confidence below which a match counts as rejected."""
TABLE = (
    f"gallery | segments | missed | false alarms | false alarms where {MISS_RATE:.0%} are missed | correct one first"
)
"""Header of the rows of `table_row`."""


def caption_similarities(queries: CaptionedImages, data: CaptionedImages) -> Vectors:
    """Return the similarity (n, m) of each query image's first caption to the closest caption of each other image."""
    first = sentence_vectors([captions[0] for captions in queries.captions])
    by_position = [sentence_vectors([captions[number] for captions in data.captions]) for number in range(CAPTIONS)]
    return np.asarray(np.max([first @ sentences.T for sentences in by_position], axis=0), np.float32)


def threshold_for(trials: Sequence[RetrievalTrials], calibrator: LogisticCalibrator, miss_rate: float) -> float:
    """Return the confidence below which the given share of the matches falls, averaged over galleries and sizes."""
    probabilities = [np.sort(match_probabilities(calibrator, each.best_with_match, each.size)) for each in trials]
    thresholds = np.unique(np.concatenate(probabilities))
    missed = np.mean([np.searchsorted(each, thresholds) / len(each) for each in probabilities], axis=0)
    return float(thresholds[np.searchsorted(missed, miss_rate)])


def table_row(trials: RetrievalTrials, calibrator: LogisticCalibrator) -> str:
    """Return a row of the table: misses and false alarms at `MIN_CONFIDENCE` and at `MISS_RATE`."""
    numbers = (
        (match_probabilities(calibrator, trials.best_with_match, trials.size) < MIN_CONFIDENCE).mean(),
        (match_probabilities(calibrator, trials.others, trials.size) >= MIN_CONFIDENCE).mean(),
        (trials.others >= np.quantile(trials.best_with_match, MISS_RATE)).mean(),
        (trials.own > trials.others).mean(),
    )
    return " | ".join([trials.gallery, f"{trials.size:,}", *(f"{100 * number:.0f} %" for number in numbers)])
