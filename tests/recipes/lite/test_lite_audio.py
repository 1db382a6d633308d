from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.lite import audio_dataset as sound_lessons
from recipes.lite.audio_augmentation import disturb, invent, mix, warp
from recipes.lite.audio_dataset import Taught, collect, prepare
from recipes.lite.audio_distillation import ImitationRecipe, Material, begin, difference, imitate
from recipes.lite.audio_eval import (
    evaluate,
    hear_recordings,
    interval,
    measure,
    measure_background,
    unheard,
)
from recipes.lite.audio_features import SoundFeatures, cached_features, hear, read_sound
from recipes.lite.audio_prompts import (
    Phrasings,
    blur,
    class_phrasings,
    learn_audible,
    phrasings,
    sentence_vectors,
)
from recipes.lite.audio_sources import (
    ESC10_CLASSES,
    ROUNDS,
    URBANSOUND8K_CLASSES,
    Recording,
    read_recordings,
    select,
)
from recipes.lite.audio_templates import ALIASES, TEMPLATES, WORDINGS
from recipes.lite.audio_weights import note, rounds_of, save
from recipes.lite.lite_audio import Recipe, SoundModel, main, train_towers
from recipes.lite.sound_effect_names import EFFECT_WORDINGS, PATTERNS, TRAINED, label_of
from recipes.lite.yamnet import Yamnet, read_class_names
from tests.data import data_folder
from tests.tolerances import FLOAT32
from var_plugin.encoders.backbones.minilm import MiniLM
from var_plugin.encoders.base import Vectors, l2_normalize
from var_plugin.encoders.lite.audio import LiteAudioTextEncoder, build
from var_plugin.encoders.lite.networks import AudioCNN, LogMel, log_magnitudes, magnitudes
from var_plugin.encoders.weights import LITE
from var_plugin.errors import InvalidInputError, MediaNotFoundError


@pytest.fixture(scope="module")
def audio() -> Path:
    return data_folder("audio")


@pytest.fixture(scope="module")
def recordings(audio: Path) -> list[Recording]:
    return read_recordings(audio.parent)


@pytest.fixture(scope="module")
def few(recordings: list[Recording]) -> list[Recording]:
    """Two recordings of four classes that sound nothing like each other."""
    return [
        recording
        for label in ("rain", "rooster", "clock tick", "helicopter")
        for recording in [r for r in select(recordings, part="train", collection="esc10") if r.label == label][:2]
    ]


@pytest.fixture(scope="module")
def yamnet(audio: Path) -> Yamnet:
    pytest.importorskip("ai_edge_litert", reason="YAMNet's file is read with ai-edge-litert")
    return Yamnet(audio / "yamnet.tflite")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features") / "few"


@pytest.fixture(scope="module")
def features(few: list[Recording], yamnet: Yamnet, cache: Path) -> SoundFeatures:
    return cached_features(few, yamnet.trunk(), cache)


@pytest.fixture(scope="module")
def windows(few: list[Recording]) -> torch.Tensor:
    """Log-mel of the first window of eight recordings."""
    sounds = [sound for recording in few if (sound := read_sound(recording.path)) is not None]
    assert len(sounds) == 8
    return LogMel()(torch.from_numpy(np.stack([sound[:15_600] for sound in sounds])))


@pytest.mark.parametrize("number", ROUNDS)
def test_parts_never_share_a_source(audio: Path, number: int) -> None:
    recordings = read_recordings(audio.parent, round_number=number)
    for collection in ("esc10", "urbansound8k"):
        sources = [
            {recording.source for recording in select(recordings, part=part, collection=collection)}
            for part in ("train", "validation", "test")
        ]
        assert not sources[0] & sources[1] and not sources[0] & sources[2] and not sources[1] & sources[2]


@pytest.mark.parametrize("number", ROUNDS)
def test_every_class_is_trained_validated_and_tested(audio: Path, number: int) -> None:
    recordings = read_recordings(audio.parent, round_number=number)
    for collection, classes in (("esc10", ESC10_CLASSES), ("urbansound8k", URBANSOUND8K_CLASSES)):
        for part in ("train", "validation", "test"):
            assert {r.label for r in select(recordings, part=part, collection=collection)} == set(classes)


def test_every_recording_is_in_the_test_part_of_one_round(audio: Path, recordings: list[Recording]) -> None:
    tested = [recording for number in ROUNDS for recording in read_recordings(audio.parent, round_number=number)]
    assert sorted(r.path for r in select(tested, part="test")) == sorted(recording.path for recording in recordings)


def test_the_last_round_leaves_one_fold_out(recordings: list[Recording]) -> None:
    test = select(recordings, part="test")
    assert {recording.path.name[0] for recording in test if recording.collection == "esc10"} == {"5"}
    assert {recording.path.parent.name for recording in test if recording.collection == "urbansound8k"} == {"fold3"}
    assert len(select(test, collection="esc10")) == 80


def test_a_folder_without_collections_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match="sound collections"):
        read_recordings(tmp_path)


def test_held_out_wordings_are_never_trained() -> None:
    trained = {template.format(w).lower() for words in TRAINED.values() for w in words for template in TEMPLATES}
    trained |= {
        template.format(alias).lower() for found in ALIASES.values() for alias in found for template in TEMPLATES
    }
    held_out = [wording.lower() for words in WORDINGS.values() for wording in words.held_out]
    assert not trained & set(held_out)
    assert len(set(held_out)) == len(held_out) == 4 * len(WORDINGS)
    assert set(WORDINGS) == set(ESC10_CLASSES) | set(URBANSOUND8K_CLASSES)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("torcs-data/data_sound_porsche_engine.wav", "engine idling"),
        ("scratch/Media_Sounds_Human_Scream-male1.mp3", "scream"),
        ("scratch/Media_Sounds_Music_Loops_DrumSet1.mp3", "drum"),
        ("minetest-data/default_break_glass.1.ogg", "breaking glass"),
        ("minetest-data/default_glass_footstep.ogg", "footsteps"),
        ("ufoai-sound/sound_ambience_engine_alien_big.ogg", None),
        ("lincity-ng-data/sounds_WindMill1.wav", "machine"),
        ("nexuiz-data/sound_weapons_grenade_fire.ogg", None),
        ("asterisk-core-sounds-en-wav/en_US_f_Allison_door.wav", None),
        ("boswars-data/units_chopper_chopper.ready.wav", None),
    ],
)
def test_a_telling_name_gives_a_label(name: str, label: str | None) -> None:
    assert label_of(Path("effects") / name) == label


def test_every_label_of_an_effect_has_wordings() -> None:
    assert {label for label, _ in PATTERNS} <= set(TRAINED)
    assert set(EFFECT_WORDINGS) <= {label for label, _ in PATTERNS} and not set(EFFECT_WORDINGS) & set(WORDINGS)


def test_effects_are_read_with_their_packages_as_sources(audio: Path, tmp_path: Path) -> None:
    for name in ("torcs-data/engine.wav", "scratch/Dog1.mp3", "scratch/Pop.mp3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [r for r in read_recordings(audio.parent, tmp_path) if r.path.is_relative_to(tmp_path)]
    assert {(r.path.name, r.collection, r.source, r.label, r.part) for r in found} == {
        ("engine.wav", "named", "torcs-data", "engine idling", "train"),
        ("Dog1.mp3", "named", "scratch", "dog", "train"),
        ("Pop.mp3", "effects", "Pop.mp3", None, "train"),
    }


def test_aliases_belong_to_classes_and_no_held_out_wording_is_a_class_name(audio: Path) -> None:
    names = read_class_names(audio / "yamnet_class_map.csv")
    assert len(names) == 521
    assert set(ALIASES) <= set(names)
    assert not {name.lower() for name in names} & {w.lower() for words in WORDINGS.values() for w in words.held_out}


def test_sentences_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sentence_vectors(["rain", "a dog"], tmp_path)
    monkeypatch.setattr(MiniLM, "trunk", lambda *_: pytest.fail("computed again"))
    assert torch.equal(sentence_vectors(["rain", "a dog"], tmp_path), found)
    with pytest.raises(pytest.fail.Exception):
        sentence_vectors(["a dog", "rain"], tmp_path)


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


def test_a_mixture_keeps_both_and_says_how_much(windows: torch.Tensor) -> None:
    torch.manual_seed(0)
    mixture, share = mix(windows, windows.flip(0))
    assert ((share >= 0.5) & (share <= 0.991)).all()
    assert (magnitudes(mixture) >= magnitudes(windows) - 1e-3).all()
    energy = magnitudes(windows).square().sum((1, 2)) / magnitudes(mixture).square().sum((1, 2))
    assert torch.allclose(energy, share, atol=0.02)


def test_disturbed_windows_stay_sound(windows: torch.Tensor) -> None:
    torch.manual_seed(0)
    disturbed = torch.stack([disturb(windows) for _ in range(20)])
    assert torch.isfinite(disturbed).all()
    assert (disturbed >= np.log(1e-3) - 1e-4).all()
    assert (disturbed != windows).flatten(1).any(1).all()
    assert torch.isfinite(disturb(torch.full((4, 96, 64), float(np.log(1e-3))))).all()  # digital silence


def test_warped_windows_keep_what_does_not_change() -> None:
    torch.manual_seed(0)
    steady = torch.linspace(-4, 0, 64).expand(8, 96, 64)
    warped = warp(steady)
    assert torch.allclose(warped.std(1), torch.zeros(8, 64), atol=1e-4)  # what is steady stays so, in time
    assert (warped != steady).any(2).all()  # but its pitch is another
    assert torch.allclose(warp(torch.full((2, 96, 64), -3.0)), torch.full((2, 96, 64), -3.0), atol=1e-4)


def test_invented_windows_are_sounds_and_no_two_alike() -> None:
    torch.manual_seed(0)
    invented = invent(16)
    assert invented.shape == (16, 96, 64)
    assert torch.isfinite(invented).all() and invented.min() >= -6.9 and invented.max() <= 4
    assert (torch.cdist(invented.flatten(1), invented.flatten(1)) + torch.eye(16) * 100 > 10).all()


def test_material_is_cut_anywhere_in_a_recording(features: SoundFeatures, few: list[Recording]) -> None:
    plain = ImitationRecipe(warped=0.0, invented=0.0, mixed=0.0, disturbed=0.0, shares=(("esc10", 1.0),))
    windows = Material(few, features, plain)(64).numpy()
    kept = features.log_mel[0].astype(np.float32)
    begins = {
        begin
        for window in windows
        for begin in range(48)
        if (window[:48] == kept[:, begin : begin + 48]).all((1, 2)).any()
    }
    assert len(begins) > 10
    changed = Material(few, features, ImitationRecipe(shares=(("esc10", 1.0),)))(64)
    assert changed.shape == (64, 96, 64) and torch.isfinite(changed).all()


def test_features_belong_to_their_recordings(features: SoundFeatures, few: list[Recording]) -> None:
    assert features.recording.tolist() == sorted(features.recording.tolist())
    assert set(features.recording) == set(range(len(few)))
    count = len(features.recording)
    assert features.features.shape == (count, 1024)
    assert features.log_mel.shape == (3, count, 96, 64)
    assert (features.behind[0] == np.arange(count)).all() and (features.share[0] == 1).all()
    mixed = features.behind[1:] != np.arange(count)
    assert 0.2 < mixed.mean() < 0.8
    assert (features.share[1:][~mixed] == 1).all() and (features.share[1:][mixed] < 1).all()
    assert (features.log_mel[1] != features.log_mel[2]).any((1, 2)).mean() > 0.9  # each time in another way, or silent


def test_features_are_the_teachers_of_the_very_windows(features: SoundFeatures, yamnet: Yamnet) -> None:
    windows = torch.from_numpy(features.log_mel[:, 5].astype(np.float32))
    with torch.inference_mode():
        heard = yamnet.trunk()(windows).numpy()
    assert np.allclose(heard[0], features.features[5], atol=0.05)
    assert (np.abs(heard[0] - heard[1:]).max(1) > 0.1).all()  # each view is another


def test_what_was_computed_is_opened_again(
    features: SoundFeatures, few: list[Recording], yamnet: Yamnet, cache: Path
) -> None:
    before = (cache / "features.npy").stat().st_mtime_ns
    assert (cached_features(few, yamnet.trunk(), cache).features == features.features).all()
    assert (cache / "features.npy").stat().st_mtime_ns == before


def test_the_network_begins_with_the_mean_of_what_it_is_to_learn(features: SoundFeatures, yamnet: Yamnet) -> None:
    wanted = torch.from_numpy(features.features.astype(np.float32))
    network = AudioCNN((4, 8), residuals=1, features=1024).eval()
    begin(network, features)
    with torch.inference_mode():
        heard = network(torch.from_numpy(features.log_mel[0].astype(np.float32)))
    assert torch.allclose(heard, wanted.sqrt().mean(0).expand_as(heard), atol=FLOAT32)
    classifier = yamnet.classifier()
    scores = torch.nn.functional.linear(wanted, *classifier).sigmoid()
    nothing_missing = torch.nn.functional.binary_cross_entropy(scores, scores, reduction="none").sum(1).mean()
    found = difference(wanted.sqrt(), wanted, classifier, 1.0)
    assert float(found) == pytest.approx(float(nothing_missing), abs=1e-3)
    assert difference(heard, wanted, classifier, 1.0) > found + 1


def test_the_teacher_hears_what_the_label_says(
    features: SoundFeatures, few: list[Recording], yamnet: Yamnet, audio: Path
) -> None:
    crows = read_class_names(audio / "yamnet_class_map.csv").index("Chicken, rooster")
    weight, bias = yamnet.classifier()
    scores = features.features.astype(np.float32) @ weight[crows].numpy() + float(bias[crows])
    by_recording = [scores[features.recording == place].max() for place in range(len(few))]
    assert {few[place].label for place in np.argsort(by_recording)[-2:]} == {"rooster"}


def apart(network: AudioCNN, features: SoundFeatures, yamnet: Yamnet) -> float:
    with torch.inference_mode():
        heard = network.eval()(torch.from_numpy(features.log_mel[0].astype(np.float32)))
        wanted = torch.from_numpy(features.features.astype(np.float32))
        return float(difference(heard, wanted, yamnet.classifier(), 0.1))


def test_training_learns_and_its_weights_work(
    features: SoundFeatures, few: list[Recording], yamnet: Yamnet, tmp_path: Path
) -> None:
    imitation = ImitationRecipe(
        steps=50, rate=3e-3, batch=16, warm_up=5, shares=(("esc10", 1.0),), memory=256, beginning=4, turn=10
    )
    recipe = Recipe(
        widths=(8, 16, 24, 32), residuals=1, imitation=(imitation,), steps=200, batch=16, warm_up=5, dim=16,
        sentence_hidden=16, sound_hidden=16, shares=(("esc10", 1.0),), sentence_dropout=0.1, blur=0.0,
    )  # fmt: skip
    names = Phrasings(torch.zeros(521, 384), torch.ones(521, dtype=torch.int64))
    texts = phrasings([[label] for label in TRAINED]), names
    torch.manual_seed(0)
    model = SoundModel(recipe)
    begin(model.network, features)
    before = apart(model.network, features, yamnet)
    imitate(model.network, Material(few, features, imitation), yamnet.trunk(), yamnet.classifier(), imitation)
    assert apart(model.network, features, yamnet) < 0.95 * before
    heard = model.network.last.weight.clone()
    taught = Taught(few, features, hear(model.network, features))
    lessons = prepare([taught], yamnet.classifier(), texts, dict(recipe.shares))
    train_towers(model, lessons, recipe)
    assert torch.equal(model.network.last.weight, heard)
    torch.nn.init.constant_(model.audible.linear.bias, 10.0)
    save(model, tmp_path, recipe, {"network": 3, "towers": 3})
    heard_now, encode = hear_recordings(few, tmp_path), LiteAudioTextEncoder(tmp_path).encode
    note(tmp_path, background=measure_background(*heard_now, encode))
    assert json.loads((tmp_path / "sound.json").read_text())["recipe"]["steps"] == 200
    measured = evaluate([(few, tmp_path)])
    assert measured["text to audio, trained wordings"]["value"] >= 0.5  # chance is 0.25
    assert evaluate([(few, tmp_path)] * 2)["audio to audio"]["value"] == measured["audio to audio"]["value"]
    made = build(MiniLM, tmp_path)
    assert made.space.dim == 17 and made.score_statistics["text"].std > 0
    assert LiteAudioTextEncoder(tmp_path).encode(["rain"]).shape == (1, 17)


def test_parts_are_taught_as_one(features: SoundFeatures, few: list[Recording], yamnet: Yamnet) -> None:
    count = len(features.recording)
    heard = np.random.default_rng(0).random((3, count, 1024)).astype(np.float16)
    part, texts = Taught(few, features, heard), phrasings([[label] for label in TRAINED])
    one, two = (prepare(parts, yamnet.classifier(), (texts, texts), {"esc10": 1.0}) for parts in ([part], [part, part]))
    assert np.allclose(np.bincount(features.recording, one.chances), 1 / len(few))  # two sources of four classes
    assert np.allclose(two.chances, np.tile(one.chances, 2) / 2)
    assert (two.heard[:3, count:] == heard).all() and (two.behind[:, count:] == one.behind + count).all()
    assert np.allclose(one.heard[3], np.sqrt(features.features.astype(np.float32)), atol=1e-2)  # the teacher's own
    assert (one.behind[3] == np.arange(count)).all() and (one.share[3] == 1).all()
    assert torch.equal(two.labels, one.labels.repeat(2, 1))


def test_names_tell_what_stands_out(features: SoundFeatures, few: list[Recording], yamnet: Yamnet) -> None:
    """What the teacher hears in every window alike is no lesson, however sure it is of it."""
    texts = phrasings([[label] for label in TRAINED])
    taught = [Taught(few, features, np.zeros((3, len(features.recording), 1024), np.float16))]
    weight, bias = yamnet.classifier()
    louder = bias.clone()
    louder[7] += 5
    usual, sure = (prepare(taught, (weight, each), (texts, texts), {"esc10": 1.0}).names for each in (bias, louder))
    assert torch.allclose(usual.sum(1), torch.ones(len(usual)))
    assert torch.allclose(usual, sure, atol=FLOAT32)


def test_blurred_sentences_lie_around_the_sentence() -> None:
    torch.manual_seed(0)
    rain = sentence_vectors(["rain"])
    blurred = blur(rain.expand(200, -1), 1.0)
    assert torch.allclose(blurred.norm(dim=1), torch.ones(200))
    assert 0.6 < float((blurred @ rain.T).mean()) < 0.8  # noise as long as the vector, at right angles: 0.71
    assert torch.allclose(blur(rain, 0.0), rain, atol=FLOAT32)


def test_what_can_be_heard_is_learned_from_both_sides() -> None:
    recipe = Recipe(dim=16, sentence_hidden=16, sound_hidden=16)
    model = SoundModel(recipe)
    heard, seen = ["a dog barks", "the sound of rain", "loud music"], ["a red coat", "a blue house", "a tall man"]
    learn_audible(model.audible, sentence_vectors(heard), sentence_vectors(seen), recipe.audible_decay)
    with torch.inference_mode():
        found = model.audible.linear(sentence_vectors(["the noise of an engine", "a green hat"])).sigmoid()
    assert found[0] > 0.5 > found[1]


def test_measures_on_vectors_whose_answer_is_known() -> None:
    labels = ["dog", "dog", "rain", "rain"]
    recordings = [
        Recording(Path(str(place)), "esc10", source, label, "test")
        for place, (label, source) in enumerate(zip(labels, ["a", "a", "b", "c"], strict=True))
    ]
    vectors = l2_normalize(np.array([[1, 0], [1, 0.1], [0, 1], [1, 0.9]]))  # the last rain sounds more like dogs

    def encode(texts: Sequence[str]) -> Vectors:
        dogs = {*WORDINGS["dog"].held_out, *WORDINGS["dog"].trained}
        return np.array([[1, 0] if text in dogs else [0, 1] for text in texts], np.float32)

    sources = np.array([recording.source for recording in recordings])
    found = {name: interval(values, sources) for name, values in measure(recordings, vectors, encode).items()}
    assert found["text to audio"].value == 0.75
    assert found["audio to audio"].value == 0.75  # only the last one's nearest is of another class
    assert found["audio to audio, other sources"].value == 0.5  # of the rains only: the dogs are of one source
    assert found["text to audio"].low <= 0.75 <= found["text to audio"].high


def saved(folder: Path, network: int | None, towers: int | None) -> Path:
    recipe = Recipe(widths=(4, 8), residuals=1, dim=4, sound_hidden=4, sentence_hidden=4)
    save(SoundModel(recipe), folder, recipe, {"network": network, "towers": towers})
    return folder


def test_weights_are_measured_on_sources_they_have_not_learned_from(audio: Path, tmp_path: Path) -> None:
    found = unheard(audio.parent, saved(tmp_path / "b", 2, 2))
    assert {r.path.parent.name for r in select(found, collection="urbansound8k")} == {"fold2"}
    others = [r for r in read_recordings(audio.parent, round_number=2) if r.part != "test"]
    assert not {r.source for r in found} & {r.source for r in others}
    for network, towers in ((3, None), (None, None), (1, 2)):
        with pytest.raises(InvalidInputError, match="learned from"):
            unheard(audio.parent, saved(tmp_path / "a", network, towers))


def test_shipped_weights_have_learned_from_all_folds() -> None:
    assert rounds_of(LITE) == {"network": 3, "towers": None}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr("sys.argv", ["lite_sound", "--data", "x", *map(str, arguments)])
    main()


def test_a_network_that_has_heard_the_folds_learns_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for final in ([], ["--final"]):
        with pytest.raises(SystemExit):
            run(monkeypatch, "--cache", "y", "--out", "z", "--learned", saved(tmp_path, 2, 2), "--round", "1", *final)
        assert "has not heard the folds of this round" in capsys.readouterr().err


def test_no_fold_counts_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [saved(tmp_path / name, 2, 2) for name in "ab"]
    with pytest.raises(InvalidInputError, match="count twice"):
        run(monkeypatch, "--evaluate", *folders)


def test_parts_do_not_compete_with_each_other(few: list[Recording]) -> None:
    """Each part alone has one class, so each answer is right; together they would have two."""
    parts = [([recording for recording in few if recording.label == label], LITE) for label in ("rain", "rooster")]
    found = evaluate(parts)
    assert found["text to audio"] == {"value": 1.0, "low": 1.0, "high": 1.0, "recordings": 4}


def test_other_recordings_have_other_features(
    few: list[Recording], yamnet: Yamnet, audio: Path, tmp_path: Path
) -> None:
    found = []
    for number in (2, 3):
        chosen = [r for r in read_recordings(audio.parent, round_number=number) if r.path in {f.path for f in few}]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sound_lessons, "read_recordings", lambda *_, read=chosen, **__: read)
            found.append(collect(audio.parent, tmp_path, yamnet, ["train"], round_number=number)["train"].features)
    assert len(list(tmp_path.iterdir())) == len({len(each.recording) for each in found}) == 2
