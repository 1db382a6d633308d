from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from recipes.lite.audio_calibration import HELD_OUT, SIZES, asked_by_sound, asked_by_text
from recipes.lite.audio_sources import Recording
from recipes.lite.score_calibration import fit_confidence, told
from var_plugin.encoders.base import ScoreStatistics, Vectors, l2_normalize

LABELS = ("dog", "rain", "siren", "rooster")
TAKES = 120
BACKGROUND = ScoreStatistics(mean=0.0, std=0.1)
DIM = 64
MEANT = l2_normalize(np.random.default_rng(1).normal(size=(len(LABELS), DIM)))


def heard(noise: float) -> tuple[list[Recording], Vectors]:
    """Recordings around what their labels mean, each from a source of its own."""
    found = [
        Recording(Path(f"{label}-{take}"), "esc10", f"{label}-{take}", label, "validation")
        for label in LABELS
        for take in range(TAKES)
    ]
    random = np.random.default_rng(0)
    meant = np.repeat(MEANT, TAKES, axis=0)
    return found, l2_normalize(meant + noise * random.normal(size=meant.shape) / DIM**0.5)


def encode(texts: Sequence[str]) -> Vectors:
    labels = [next(label for label in LABELS if text in HELD_OUT[label]) for text in texts]
    return np.asarray(MEANT[[LABELS.index(label) for label in labels]])


@pytest.mark.parametrize("by_sound", [False, True])
def test_what_is_told_apart_is_sure_and_what_is_not_there_is_not(by_sound: bool) -> None:
    recordings, vectors = heard(0.5)
    found = (
        asked_by_sound(recordings, vectors, BACKGROUND)
        if by_sound
        else asked_by_text(recordings, vectors, encode, HELD_OUT, BACKGROUND)
    )
    assert [each.size for each in found] == list(SIZES)
    assert all(len(each.own) == 30 * len(LABELS) and (each.own > each.others).all() for each in found)
    confidence = fit_confidence(found)
    for each in found:
        assert confidence(float(np.median(each.own)), each.size) > 0.9
        assert confidence(float(np.median(each.others)), each.size) < 0.1
        assert told(each, confidence).endswith("| 0 % | 0 % | 0 % | 100 %")


def test_noise_is_told_from_nothing() -> None:
    recordings, _ = heard(0.0)
    vectors = l2_normalize(np.random.default_rng(0).normal(size=(len(recordings), DIM)))
    for each in asked_by_text(recordings, vectors, encode, HELD_OUT, BACKGROUND):
        assert (each.own > each.others).mean() < 0.2
        assert fit_confidence([each])(float(np.median(each.others)), each.size) < 0.5


def test_a_sound_is_never_asked_for_by_one_of_its_own_source() -> None:
    recordings, vectors = heard(0.5)
    of_one_source = [Recording(r.path, r.collection, str(r.label), r.label, r.part) for r in recordings]
    assert asked_by_sound(of_one_source, vectors, BACKGROUND) == []
