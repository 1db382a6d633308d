from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from recipes.lite.audio_calibration import HELD_OUT, SIZES, audio_trials, text_trials
from recipes.lite.audio_sources import Recording
from recipes.lite.score_calibration import table_row
from var_plugin.encoders.base import ScoreStatistics, Vectors, l2_normalize
from var_plugin.evaluation.match_trials import fit_calibrator

LABELS = ("dog", "rain", "siren", "rooster")
TAKES = 120
STATISTICS = ScoreStatistics(mean=0.0, std=0.1)
DIM = 64
CENTRES = l2_normalize(np.random.default_rng(1).normal(size=(len(LABELS), DIM)))


def encode_recordings(noise: float) -> tuple[list[Recording], Vectors]:
    """Return recordings around the centres of their labels, each from its own source."""
    recordings = [
        Recording(Path(f"{label}-{take}"), "esc10", f"{label}-{take}", label, "validation")
        for label in LABELS
        for take in range(TAKES)
    ]
    random = np.random.default_rng(0)
    centres = np.repeat(CENTRES, TAKES, axis=0)
    return recordings, l2_normalize(centres + noise * random.normal(size=centres.shape) / DIM**0.5)


def encode(texts: Sequence[str]) -> Vectors:
    labels = [next(label for label in LABELS if text in HELD_OUT[label]) for text in texts]
    return np.asarray(CENTRES[[LABELS.index(label) for label in labels]])


@pytest.mark.parametrize("by_audio", [False, True])
def test_matches_are_likely_and_unrelated_recordings_are_not(by_audio: bool) -> None:
    recordings, vectors = encode_recordings(0.5)
    trials = (
        audio_trials(recordings, vectors, STATISTICS)
        if by_audio
        else text_trials(recordings, vectors, encode, HELD_OUT, STATISTICS)
    )
    assert [each.size for each in trials] == list(SIZES)
    assert all(len(each.own) == 30 * len(LABELS) and (each.own > each.others).all() for each in trials)
    calibrator = fit_calibrator(trials)
    for each in trials:
        assert calibrator(float(np.median(each.own)), each.size) > 0.9
        assert calibrator(float(np.median(each.others)), each.size) < 0.1
        assert table_row(each, calibrator).endswith("| 0 % | 0 % | 0 % | 100 %")


def test_random_vectors_get_low_match_probabilities() -> None:
    recordings, _ = encode_recordings(0.0)
    vectors = l2_normalize(np.random.default_rng(0).normal(size=(len(recordings), DIM)))
    for each in text_trials(recordings, vectors, encode, HELD_OUT, STATISTICS):
        assert (each.own > each.others).mean() < 0.2
        assert fit_calibrator([each])(float(np.median(each.others)), each.size) < 0.5


def test_audio_query_never_has_the_source_of_its_match() -> None:
    recordings, vectors = encode_recordings(0.5)
    of_one_source = [Recording(r.path, r.collection, str(r.label), r.label, r.part) for r in recordings]
    assert audio_trials(of_one_source, vectors, STATISTICS) == []
