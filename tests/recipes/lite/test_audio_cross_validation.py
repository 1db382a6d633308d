from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.lite import audio_cross_validation, audio_dataset, audio_prompts
from recipes.lite.audio_cross_validation import cross_validate, folds
from recipes.lite.audio_dataset import EncodedSet
from recipes.lite.audio_features import WindowFeatures
from recipes.lite.audio_prompts import Phrasings
from recipes.lite.audio_sources import Recording
from recipes.lite.lite_audio import Recipe
from var_plugin.encoders.base import l2_normalize

LABELS = ("rooster", "rain", "siren")
OTHERS = ("bell", "gun shot", "door")
CLASSES = 5
SOURCES = 8
WINDOWS = 2


def make_recordings() -> list[Recording]:
    """Return two recordings per source of three labels, effects of one label from eight packages, and one without."""
    recordings = [
        Recording(Path(f"{label}-{source}-{take}"), "urbansound8k", f"{label}-{source}", label, "train")
        for label in LABELS
        for source in range(SOURCES)
        for take in range(2)
    ]
    recordings += [Recording(Path(f"bell-{n}"), "named", f"package-{n}", "bell", "train") for n in range(SOURCES)]
    return [*recordings, Recording(Path("noise"), "effects", "noise", None, "train")]


def encode(recordings: list[Recording], *, separable: bool) -> EncodedSet:
    """Return windows whose embeddings depend on their label, or are all noise."""
    random = np.random.default_rng(0)
    centres = {label: random.random(1024) for label in {str(recording.label) for recording in recordings}}
    own = np.repeat(np.arange(len(recordings)), WINDOWS)
    windows = np.stack([centres[str(recordings[row].label)] if separable else random.random(1024) for row in own])
    views = np.stack([windows + 0.1 * random.random(windows.shape) for _ in range(3)]).astype(np.float16)
    itself = np.tile(np.arange(len(own)), (3, 1))
    features = WindowFeatures(
        recording=own, loudness=np.ones(len(own), np.float32), log_mel=np.zeros((3, len(own), 0, 0), np.float16),
        features=np.square(views[0]), mixup_index=itself, mixup_weight=np.ones(itself.shape, np.float32),
    )  # fmt: skip
    return EncodedSet(recordings, features, views)


def test_a_source_is_in_one_fold_and_a_label_in_all() -> None:
    recordings = make_recordings()
    fold_ids = folds(recordings)
    assert fold_ids[-1] == -1
    for label in (*LABELS, "bell"):
        of_label = {r.source: f for r, f in zip(recordings, fold_ids, strict=True) if r.label == label}
        assert sorted(np.bincount(list(of_label.values()))) == [2, 2, 2, 2]
    one_of_each = {(r.source, f) for r, f in zip(recordings, fold_ids, strict=True)}
    assert len(one_of_each) == len({r.source for r in recordings})


@pytest.mark.parametrize(("separable", "low", "high"), [(True, 0.8, 1.0), (False, 0.0, 0.6)])
def test_separable_labels_are_recognized_in_held_out_sources(
    separable: bool, low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A few labels, teacher classes and phrasings are enough here.
    trained = {label: words for label, words in audio_cross_validation.TRAINED.items() if label in (*LABELS, *OTHERS)}
    monkeypatch.setattr(audio_cross_validation, "TRAINED", trained)
    monkeypatch.setattr(audio_dataset, "_LABELS", tuple(trained))
    monkeypatch.setattr(audio_prompts, "TEMPLATES", ("{}",))
    recipe = Recipe(
        steps=60, batch_size=32, warmup_steps=5, dim=16, sound_hidden=16, sentence_hidden=16, sentence_dropout=0.0,
        embedding_noise=0.0,
        dropout=0.0, shares=(("urbansound8k", 0.5), ("named", 0.3), ("effects", 0.2)), names_weight=0.0,
    )  # fmt: skip
    parts = encode(make_recordings(), separable=separable)
    classifier = torch.zeros(CLASSES, 1024), torch.zeros(CLASSES)
    names = Phrasings(torch.from_numpy(l2_normalize(np.ones((CLASSES, 384)))), torch.ones(CLASSES, dtype=torch.int64))
    results = cross_validate([parts], classifier, names, recipe)
    assert set(results) == {"urbansound8k", "named"}
    assert set(results["urbansound8k"]) == {"all", *LABELS} and set(results["named"]) == {"all", "bell"}
    assert low <= results["urbansound8k"]["all"] <= high
    assert results["urbansound8k"]["all"] == pytest.approx(
        np.mean([results["urbansound8k"][each] for each in LABELS]), abs=1e-3
    )
