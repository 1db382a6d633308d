from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from var_plugin.encoders.base import Vectors, unit
from var_plugin.encoders.lite_sound import LiteSoundEncoder, LiteSoundTextEncoder, background
from var_plugin.encoders.lite_sound_towers import LogMel, log_magnitudes, magnitudes
from var_plugin.errors import MediaNotFoundError
from var_plugin.media.audio import SAMPLE_RATE
from var_plugin.training.lite_sound import Recipe, measure_background, prepare, save, train
from var_plugin.training.sound_augmentation import disturb, mix
from var_plugin.training.sound_features import SoundFeatures, cached_features
from var_plugin.training.sound_measures import evaluate, measure
from var_plugin.training.sound_texts import Phrasings, class_phrasings, phrasings
from var_plugin.training.sound_wordings import ALIASES, TEMPLATES, WORDINGS
from var_plugin.training.sounds import ESC10_CLASSES, URBANSOUND8K_CLASSES, Recording, read_recordings, select
from var_plugin.training.yamnet import read_class_names

DATA = Path(os.environ.get("VAR_PLUGIN_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
AUDIO = DATA / "audio"
needs_data = pytest.mark.skipif(not AUDIO.is_dir(), reason="the sound collections are not here")


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    if not AUDIO.is_dir():
        pytest.skip("the sound collections are not here")
    return read_recordings(DATA)


@pytest.fixture(scope="module")
def few(recordings: list[Recording]) -> list[Recording]:
    """Two recordings of four classes that sound nothing like each other."""
    return [
        recording
        for label in ("rain", "rooster", "clock tick", "helicopter")
        for recording in [r for r in select(recordings, part="train", collection="esc10") if r.label == label][:2]
    ]


@pytest.fixture(scope="module")
def features(few: list[Recording], tmp_path_factory: pytest.TempPathFactory) -> SoundFeatures:
    pytest.importorskip("ai_edge_litert", reason="the teacher runs with ai-edge-litert")
    return cached_features(few, AUDIO / "yamnet.tflite", tmp_path_factory.mktemp("cache") / "few.npz")


def test_parts_never_share_a_source(recordings: list[Recording]) -> None:
    for collection in ("esc10", "urbansound8k"):
        sources = [
            {recording.source for recording in select(recordings, part=part, collection=collection)}
            for part in ("train", "validation", "test")
        ]
        assert not sources[0] & sources[1] and not sources[0] & sources[2] and not sources[1] & sources[2]


def test_every_class_is_trained_validated_and_tested(recordings: list[Recording]) -> None:
    for collection, classes in (("esc10", ESC10_CLASSES), ("urbansound8k", URBANSOUND8K_CLASSES)):
        for part in ("train", "validation", "test"):
            assert {r.label for r in select(recordings, part=part, collection=collection)} == set(classes)


def test_the_test_part_is_a_fold(recordings: list[Recording]) -> None:
    test = select(recordings, part="test")
    assert {recording.path.name[0] for recording in test if recording.collection == "esc10"} == {"5"}
    assert {recording.path.parent.name for recording in test if recording.collection == "urbansound8k"} == {"fold3"}
    assert len(select(test, collection="esc10")) == 80


def test_a_folder_without_collections_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match="sound collections"):
        read_recordings(tmp_path)


def test_held_out_wordings_are_never_trained() -> None:
    trained = {
        template.format(w).lower() for words in WORDINGS.values() for w in words.trained for template in TEMPLATES
    }
    trained |= {
        template.format(alias).lower() for found in ALIASES.values() for alias in found for template in TEMPLATES
    }
    held_out = [wording.lower() for words in WORDINGS.values() for wording in words.held_out]
    assert not trained & set(held_out)
    assert len(set(held_out)) == len(held_out) == 4 * len(WORDINGS)
    assert set(WORDINGS) == set(ESC10_CLASSES) | set(URBANSOUND8K_CLASSES)


@needs_data
def test_aliases_belong_to_classes_and_no_held_out_wording_is_a_class_name() -> None:
    names = read_class_names(AUDIO / "yamnet_class_map.csv")
    assert len(names) == 521
    assert set(ALIASES) <= set(names)
    assert not {name.lower() for name in names} & {w.lower() for words in WORDINGS.values() for w in words.held_out}


def test_phrasings_are_drawn_from_their_own_class() -> None:
    found = class_phrasings(["Shatter", "Siren"])
    assert found.counts.tolist() == [len(TEMPLATES) * 6, len(TEMPLATES)]
    shatter, siren = found.sentences.split(found.counts.tolist())
    for _ in range(20):
        drawn = found.draw()
        assert (drawn[0] == shatter).all(1).any() and (drawn[1] == siren).all(1).any()


def test_log_mel_agrees_with_a_plain_computation() -> None:
    samples = torch.randn(2, 2_000, generator=torch.Generator().manual_seed(0)) * 0.1
    layer = LogMel()
    found = layer(samples)
    assert found.shape == (2, 11, 64)
    frame = samples[1, 3 * 160 : 3 * 160 + 400] * torch.hann_window(400)
    expected = (torch.fft.rfft(frame, n=512).abs() @ layer.bank + 1e-3).log()
    assert torch.allclose(found[1, 3], expected, atol=1e-4)
    assert torch.allclose(log_magnitudes(magnitudes(found)), found, atol=1e-4)


def test_a_mixture_keeps_both_and_says_how_much(features: SoundFeatures) -> None:
    windows = torch.from_numpy(features.windows(np.arange(8), np.zeros(8, np.int64)))
    torch.manual_seed(0)
    mixture, share = mix(windows, windows.flip(0))
    assert ((share >= 0.5) & (share <= 0.991)).all()
    assert (magnitudes(mixture) >= magnitudes(windows) - 1e-3).all()
    energy = magnitudes(windows).square().sum((1, 2)) / magnitudes(mixture).square().sum((1, 2))
    assert torch.allclose(energy, share, atol=0.02)


def test_disturbed_windows_stay_sound(features: SoundFeatures) -> None:
    windows = torch.from_numpy(features.windows(np.arange(8), np.zeros(8, np.int64)))
    torch.manual_seed(0)
    disturbed = torch.stack([disturb(windows) for _ in range(20)])
    assert torch.isfinite(disturbed).all()
    assert (disturbed >= np.log(1e-3) - 1e-4).all()
    assert (disturbed != windows).flatten(1).any(1).all()
    assert torch.isfinite(disturb(torch.full((4, 96, 64), float(np.log(1e-3))))).all()  # digital silence


def test_features_belong_to_their_recordings(features: SoundFeatures, few: list[Recording]) -> None:
    assert features.recording.tolist() == sorted(features.recording.tolist())
    assert set(features.recording) == set(range(len(few)))
    moved = features.windows(np.arange(len(features.start)), np.full(len(features.start), 10_000))
    last = features.windows(np.flatnonzero(features.start == features.last), np.zeros(len(few), np.int64))
    assert (np.unique(moved, axis=0) == np.unique(last, axis=0)).all()  # never beyond the own recording


def test_the_teacher_hears_what_the_label_says(features: SoundFeatures, few: list[Recording]) -> None:
    names = read_class_names(AUDIO / "yamnet_class_map.csv")
    crows = names.index("Chicken, rooster")
    by_recording = [features.scores[features.recording == place, crows].max() for place in range(len(few))]
    assert {few[place].label for place in np.argsort(by_recording)[-2:]} == {"rooster"}


def test_training_learns_and_its_weights_work(
    features: SoundFeatures, few: list[Recording], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe(steps=40, batch=16, warm_up=5, width=8, dim=16, hidden=16, shares=(("esc10", 1.0),), mixed=0.2)
    names = Phrasings(torch.zeros(521, 384), torch.ones(521, dtype=torch.int64))
    lessons = prepare(few, features, phrasings([[label] for label in WORDINGS]), names, dict(recipe.shares))
    assert lessons.chances.sum() == pytest.approx(1)
    per_recording = np.bincount(features.recording, lessons.chances)
    assert np.allclose(per_recording, 1 / len(few))  # two sources of four classes, all alike
    save(train(lessons, recipe), tmp_path, recipe)
    measure_background(tmp_path, few)
    assert json.loads((tmp_path / "sound.json").read_text())["recipe"]["steps"] == 40
    measured = evaluate(few, tmp_path)
    assert measured["text to audio, trained wordings"]["value"] >= 0.5  # chance is 0.25
    assert background(tmp_path)["text"].std > 0
    assert LiteSoundEncoder(tmp_path).encode([np.zeros(SAMPLE_RATE, np.float32)]).shape == (1, 16)
    assert LiteSoundTextEncoder(tmp_path).encode(["rain"]).shape == (1, 16)


def test_measures_on_vectors_whose_answer_is_known() -> None:
    labels = ["dog", "dog", "rain", "rain"]
    recordings = [
        Recording(Path(str(place)), "esc10", source, label, "test")
        for place, (label, source) in enumerate(zip(labels, ["a", "a", "b", "c"], strict=True))
    ]
    vectors = unit(np.array([[1, 0], [1, 0.1], [0, 1], [1, 0.9]]))  # the last rain sounds more like dogs

    def encode(texts: Sequence[str]) -> Vectors:
        dogs = {*WORDINGS["dog"].held_out, *WORDINGS["dog"].trained}
        return np.array([[1, 0] if text in dogs else [0, 1] for text in texts], np.float32)

    found = measure(recordings, vectors, encode)
    assert found["text to audio"].value == 0.75
    assert found["audio to audio"].value == 0.75  # only the last one's nearest is of another class
    assert found["audio to audio, other sources"].value == 0.5  # of the rains only: the dogs are of one source
    assert found["text to audio"].low <= 0.75 <= found["text to audio"].high
