from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.lite import audio_prompts as sound_texts
from recipes.lite.audio_cross_validation import cross_validate, folds
from recipes.lite.audio_dataset import Taught
from recipes.lite.audio_features import SoundFeatures
from recipes.lite.audio_prompts import Phrasings
from recipes.lite.audio_sources import Recording
from recipes.lite.lite_audio import Recipe
from var_plugin.encoders.base import l2_normalize

LABELS = ("rooster", "rain", "siren")
SOURCES = 8
WINDOWS = 2


def recorded() -> list[Recording]:
    """Two recordings of every source, three labels, and effects: one label from eight packages, and one without."""
    found = [
        Recording(Path(f"{label}-{source}-{take}"), "urbansound8k", f"{label}-{source}", label, "train")
        for label in LABELS
        for source in range(SOURCES)
        for take in range(2)
    ]
    found += [Recording(Path(f"bell-{n}"), "named", f"package-{n}", "bell", "train") for n in range(SOURCES)]
    return [*found, Recording(Path("noise"), "effects", "noise", None, "train")]


def taught(recordings: list[Recording], *, told_apart: bool) -> Taught:
    """Windows that sound like their label, or all of them like noise."""
    random = np.random.default_rng(0)
    meant = {label: random.random(1024) for label in {str(recording.label) for recording in recordings}}
    own = np.repeat(np.arange(len(recordings)), WINDOWS)
    heard = np.stack([meant[str(recordings[place].label)] if told_apart else random.random(1024) for place in own])
    heard = np.stack([heard + 0.1 * random.random(heard.shape) for _ in range(3)]).astype(np.float16)
    itself = np.tile(np.arange(len(own)), (3, 1))
    features = SoundFeatures(
        recording=own, loudness=np.ones(len(own), np.float32), log_mel=np.zeros((3, len(own), 0, 0), np.float16),
        features=np.square(heard[0]), behind=itself, share=np.ones(itself.shape, np.float32),
    )  # fmt: skip
    return Taught(recordings, features, heard)


def test_a_source_has_one_fold_and_a_label_has_all() -> None:
    recordings = recorded()
    found = folds(recordings)
    assert found[-1] == -1
    for label in (*LABELS, "bell"):
        of_label = {r.source: f for r, f in zip(recordings, found, strict=True) if r.label == label}
        assert sorted(np.bincount(list(of_label.values()))) == [2, 2, 2, 2]
    one_of_each = {(r.source, f) for r, f in zip(recordings, found, strict=True)}
    assert len(one_of_each) == len({r.source for r in recordings})


@pytest.mark.parametrize(("told_apart", "low", "high"), [(True, 0.8, 1.0), (False, 0.0, 0.6)])
def test_what_can_be_told_apart_is_found_in_sources_left_out(
    told_apart: bool, low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound_texts, "TEMPLATES", ("{}",))  # a ninth of the sentences
    recipe = Recipe(
        steps=60, batch=32, warm_up=5, dim=16, sound_hidden=16, sentence_hidden=16, sentence_dropout=0.0, blur=0.0,
        dropout=0.0, shares=(("urbansound8k", 0.5), ("named", 0.3), ("effects", 0.2)), names_weight=0.0,
    )  # fmt: skip
    parts = taught(recorded(), told_apart=told_apart)
    classifier = torch.zeros(521, 1024), torch.zeros(521)
    names = Phrasings(
        torch.from_numpy(l2_normalize(np.ones((521, 384), np.float32))), torch.ones(521, dtype=torch.int64)
    )
    found = cross_validate([parts], classifier, names, recipe)
    assert set(found) == {"urbansound8k", "named"}
    assert set(found["urbansound8k"]) == {"all", *LABELS} and set(found["named"]) == {"all", "bell"}
    assert low <= found["urbansound8k"]["all"] <= high
    assert found["urbansound8k"]["all"] == pytest.approx(
        np.mean([found["urbansound8k"][each] for each in LABELS]), abs=1e-3
    )
