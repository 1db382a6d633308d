from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.lite import audio_dataset, audio_prompts
from recipes.lite.audio_augmentation import augment, mix, synthesize, warp
from recipes.lite.audio_dataset import EncodedSet, build_training_data, collect
from recipes.lite.audio_distillation import (
    DistillationRecipe,
    WindowSampler,
    distill,
    distillation_loss,
    init_output_layer,
)
from recipes.lite.audio_eval import (
    bootstrap_estimate,
    encode_recordings,
    evaluate,
    held_out_recordings,
    measure,
    measure_score_statistics,
)
from recipes.lite.audio_features import WindowFeatures, cached_features, encode_windows, read_waveform
from recipes.lite.audio_prompts import (
    Phrasings,
    add_embedding_noise,
    class_phrasings,
    fit_audibility,
    phrasings,
    sentence_vectors,
)
from recipes.lite.audio_sources import (
    ESC10_CLASSES,
    FOLDS,
    URBANSOUND8K_CLASSES,
    Recording,
    read_recordings,
    select,
)
from recipes.lite.audio_templates import ALIASES, TEMPLATES, WORDINGS
from recipes.lite.audio_weights import held_out_folds, save, update_configuration
from recipes.lite.lite_audio import AudioModel, Recipe, main, train_towers
from recipes.lite.sound_effect_names import EFFECT_WORDINGS, PATTERNS, TRAINED, label_from_name
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
    """Return two recordings of each of four dissimilar classes."""
    return [
        recording
        for label in ("rain", "rooster", "clock tick", "helicopter")
        for recording in [r for r in select(recordings, part="train", collection="esc10") if r.label == label][:2]
    ]


@pytest.fixture(scope="module")
def label_texts() -> Phrasings:
    """Return one wording of every label in two phrasings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio_prompts, "TEMPLATES", TEMPLATES[:2])
        return phrasings([[label] for label in TRAINED])


@pytest.fixture(scope="module")
def yamnet(audio: Path) -> Yamnet:
    pytest.importorskip("ai_edge_litert", reason="YAMNet's file is read with ai-edge-litert")
    return Yamnet(audio / "yamnet.tflite")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features") / "few"


@pytest.fixture(scope="module")
def features(few: list[Recording], yamnet: Yamnet, cache: Path) -> WindowFeatures:
    return cached_features(few, yamnet.trunk(), cache)


@pytest.fixture(scope="module")
def windows(few: list[Recording]) -> torch.Tensor:
    """Return the log-mel of the first window of eight recordings."""
    waveforms = [waveform for recording in few if (waveform := read_waveform(recording.path)) is not None]
    assert len(waveforms) == 8
    return LogMel()(torch.from_numpy(np.stack([waveform[:15_600] for waveform in waveforms])))


@pytest.mark.parametrize("number", FOLDS)
def test_parts_never_share_a_source(audio: Path, number: int) -> None:
    recordings = read_recordings(audio.parent, fold_id=number)
    for collection in ("esc10", "urbansound8k"):
        sources = [
            {recording.source for recording in select(recordings, part=part, collection=collection)}
            for part in ("train", "validation", "test")
        ]
        assert not sources[0] & sources[1] and not sources[0] & sources[2] and not sources[1] & sources[2]


@pytest.mark.parametrize("number", FOLDS)
def test_every_class_is_trained_validated_and_tested(audio: Path, number: int) -> None:
    recordings = read_recordings(audio.parent, fold_id=number)
    for collection, classes in (("esc10", ESC10_CLASSES), ("urbansound8k", URBANSOUND8K_CLASSES)):
        for part in ("train", "validation", "test"):
            assert {r.label for r in select(recordings, part=part, collection=collection)} == set(classes)


def test_every_recording_is_in_the_test_part_of_one_fold(audio: Path, recordings: list[Recording]) -> None:
    tested = [recording for number in FOLDS for recording in read_recordings(audio.parent, fold_id=number)]
    assert sorted(r.path for r in select(tested, part="test")) == sorted(recording.path for recording in recordings)


def test_last_fold_holds_out_one_fold_of_each_collection(recordings: list[Recording]) -> None:
    test = select(recordings, part="test")
    assert {recording.path.name[0] for recording in test if recording.collection == "esc10"} == {"5"}
    assert {recording.path.parent.name for recording in test if recording.collection == "urbansound8k"} == {"fold3"}
    assert len(select(test, collection="esc10")) == 80


def test_folder_without_collections_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match="audio collections"):
        read_recordings(tmp_path)


def test_held_out_wordings_are_not_trained() -> None:
    trained = {template.format(w).lower() for words in TRAINED.values() for w in words for template in TEMPLATES}
    trained |= {
        template.format(alias).lower() for aliases in ALIASES.values() for alias in aliases for template in TEMPLATES
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
def test_file_names_are_mapped_to_labels(name: str, label: str | None) -> None:
    assert label_from_name(Path("effects") / name) == label


def test_every_effect_label_has_wordings() -> None:
    assert {label for label, _ in PATTERNS} <= set(TRAINED)
    assert set(EFFECT_WORDINGS) <= {label for label, _ in PATTERNS} and not set(EFFECT_WORDINGS) & set(WORDINGS)


def test_labelled_effects_have_their_packages_as_sources(audio: Path, tmp_path: Path) -> None:
    for name in ("torcs-data/engine.wav", "scratch/Dog1.mp3", "scratch/Pop.mp3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    effects = [r for r in read_recordings(audio.parent, tmp_path) if r.path.is_relative_to(tmp_path)]
    assert {(r.path.name, r.collection, r.source, r.label, r.part) for r in effects} == {
        ("engine.wav", "named", "torcs-data", "engine idling", "train"),
        ("Dog1.mp3", "named", "scratch", "dog", "train"),
        ("Pop.mp3", "effects", "Pop.mp3", None, "train"),
    }


def test_aliases_belong_to_classes_and_no_held_out_wording_is_a_class_name(audio: Path) -> None:
    names = read_class_names(audio / "yamnet_class_map.csv")
    assert len(names) == 521
    assert set(ALIASES) <= set(names)
    assert not {name.lower() for name in names} & {w.lower() for words in WORDINGS.values() for w in words.held_out}


def test_sentence_vectors_are_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = sentence_vectors(["rain", "a dog"], tmp_path)
    monkeypatch.setattr(MiniLM, "trunk", lambda *_: pytest.fail("computed again"))
    assert torch.equal(sentence_vectors(["rain", "a dog"], tmp_path), vectors)
    with pytest.raises(pytest.fail.Exception):
        sentence_vectors(["a dog", "rain"], tmp_path)


def test_phrasings_are_drawn_from_their_own_class() -> None:
    texts = class_phrasings(["Shatter", "Siren"])
    assert texts.counts.tolist() == [len(TEMPLATES) * 6, len(TEMPLATES)]
    shatter, siren = texts.sentences.split(texts.counts.tolist())
    for _ in range(20):
        drawn = texts.draw()
        assert (drawn[0] == shatter).all(1).any() and (drawn[1] == siren).all(1).any()


def test_log_mel_agrees_with_a_direct_computation() -> None:
    samples = torch.randn(2, 2_000, generator=torch.Generator().manual_seed(0)) * 0.1
    layer = LogMel()
    log_mel = layer(samples)
    assert log_mel.shape == (2, 11, 64)
    frame = samples[1, 3 * 160 : 3 * 160 + 400] * torch.hann_window(400)
    expected = (torch.fft.rfft(frame, n=512).abs() @ layer.bank + 1e-3).log()
    assert torch.allclose(log_mel[1, 3], expected, atol=1e-4)
    assert torch.allclose(log_magnitudes(magnitudes(log_mel)), log_mel, atol=1e-4)


def test_mix_adds_energies_and_returns_the_share_of_the_first(windows: torch.Tensor) -> None:
    torch.manual_seed(0)
    mixture, share = mix(windows, windows.flip(0))
    assert ((share >= 0.5) & (share <= 0.991)).all()
    assert (magnitudes(mixture) >= magnitudes(windows) - 1e-3).all()
    energy = magnitudes(windows).square().sum((1, 2)) / magnitudes(mixture).square().sum((1, 2))
    assert torch.allclose(energy, share, atol=0.02)


def test_augmented_windows_stay_valid(windows: torch.Tensor) -> None:
    torch.manual_seed(0)
    augmented = torch.stack([augment(windows) for _ in range(20)])
    assert torch.isfinite(augmented).all()
    assert (augmented >= np.log(1e-3) - 1e-4).all()
    assert (augmented != windows).flatten(1).any(1).all()
    assert torch.isfinite(augment(torch.full((4, 96, 64), float(np.log(1e-3))))).all()  # digital silence


def test_warping_keeps_constant_windows_constant() -> None:
    torch.manual_seed(0)
    steady = torch.linspace(-4, 0, 64).expand(8, 96, 64)
    warped = warp(steady)
    assert torch.allclose(warped.std(1), torch.zeros(8, 64), atol=1e-4)  # constant in time
    assert (warped != steady).any(2).all()  # but shifted in pitch
    assert torch.allclose(warp(torch.full((2, 96, 64), -3.0)), torch.full((2, 96, 64), -3.0), atol=1e-4)


def test_synthesized_windows_are_valid_and_differ() -> None:
    torch.manual_seed(0)
    synthetic = synthesize(16)
    assert synthetic.shape == (16, 96, 64)
    assert torch.isfinite(synthetic).all() and synthetic.min() >= -6.9 and synthetic.max() <= 4
    assert (torch.cdist(synthetic.flatten(1), synthetic.flatten(1)) + torch.eye(16) * 100 > 10).all()


def test_sampled_windows_start_anywhere_in_a_recording(features: WindowFeatures, few: list[Recording]) -> None:
    unmodified = DistillationRecipe(
        warp_probability=0.0, synthetic_probability=0.0, mix_probability=0.0, augment_probability=0.0,
        shares=(("esc10", 1.0),),
    )  # fmt: skip
    windows = WindowSampler(few, features, unmodified)(64).numpy()
    originals = features.log_mel[0].astype(np.float32)
    starts = {
        start
        for window in windows
        for start in range(48)
        if (window[:48] == originals[:, start : start + 48]).all((1, 2)).any()
    }
    assert len(starts) > 10
    modified = WindowSampler(few, features, DistillationRecipe(shares=(("esc10", 1.0),)))(64)
    assert modified.shape == (64, 96, 64) and torch.isfinite(modified).all()


def test_features_belong_to_their_recordings(features: WindowFeatures, few: list[Recording]) -> None:
    assert features.recording.tolist() == sorted(features.recording.tolist())
    assert set(features.recording) == set(range(len(few)))
    count = len(features.recording)
    assert features.features.shape == (count, 1024)
    assert features.log_mel.shape == (3, count, 96, 64)
    assert (features.mixup_index[0] == np.arange(count)).all() and (features.mixup_weight[0] == 1).all()
    mixed = features.mixup_index[1:] != np.arange(count)
    assert 0.2 < mixed.mean() < 0.8
    assert (features.mixup_weight[1:][~mixed] == 1).all() and (features.mixup_weight[1:][mixed] < 1).all()
    assert (features.log_mel[1] != features.log_mel[2]).any(
        (1, 2)
    ).mean() > 0.9  # views differ, except for digital silence


def test_features_are_the_teachers_outputs_for_the_windows(features: WindowFeatures, yamnet: Yamnet) -> None:
    windows = torch.from_numpy(features.log_mel[:, 5].astype(np.float32))
    with torch.inference_mode():
        outputs = yamnet.trunk()(windows).numpy()
    assert np.allclose(outputs[0], features.features[5], atol=0.05)
    assert (np.abs(outputs[0] - outputs[1:]).max(1) > 0.1).all()  # the views differ


def test_cached_features_are_not_computed_again(
    features: WindowFeatures, few: list[Recording], yamnet: Yamnet, cache: Path
) -> None:
    before = (cache / "features.npy").stat().st_mtime_ns
    assert (cached_features(few, yamnet.trunk(), cache).features == features.features).all()
    assert (cache / "features.npy").stat().st_mtime_ns == before


def test_network_is_initialized_to_the_mean_of_its_targets(features: WindowFeatures, yamnet: Yamnet) -> None:
    targets = torch.from_numpy(features.features.astype(np.float32))
    network = AudioCNN((4, 8), residuals=1, features=1024).eval()
    init_output_layer(network, features)
    with torch.inference_mode():
        outputs = network(torch.from_numpy(features.log_mel[0].astype(np.float32)))
    assert torch.allclose(outputs, targets.sqrt().mean(0).expand_as(outputs), atol=FLOAT32)
    classifier = yamnet.classifier()
    scores = torch.nn.functional.linear(targets, *classifier).sigmoid()
    entropy = torch.nn.functional.binary_cross_entropy(scores, scores, reduction="none").sum(1).mean()
    minimum = distillation_loss(targets.sqrt(), targets, classifier, 1.0)
    assert float(minimum) == pytest.approx(float(entropy), abs=1e-3)
    assert distillation_loss(outputs, targets, classifier, 1.0) > minimum + 1


def test_teacher_scores_agree_with_the_labels(
    features: WindowFeatures, few: list[Recording], yamnet: Yamnet, audio: Path
) -> None:
    crows = read_class_names(audio / "yamnet_class_map.csv").index("Chicken, rooster")
    weight, bias = yamnet.classifier()
    scores = features.features.astype(np.float32) @ weight[crows].numpy() + float(bias[crows])
    by_recording = [scores[features.recording == row].max() for row in range(len(few))]
    assert {few[row].label for row in np.argsort(by_recording)[-2:]} == {"rooster"}


def loss_of(network: AudioCNN, features: WindowFeatures, yamnet: Yamnet) -> float:
    with torch.inference_mode():
        outputs = network.eval()(torch.from_numpy(features.log_mel[0].astype(np.float32)))
        targets = torch.from_numpy(features.features.astype(np.float32))
        return float(distillation_loss(outputs, targets, yamnet.classifier(), 0.1))


def test_training_lowers_the_loss_and_saves_usable_weights(
    features: WindowFeatures, few: list[Recording], yamnet: Yamnet, label_texts: Phrasings, tmp_path: Path
) -> None:
    distillation = DistillationRecipe(
        steps=50, lr=3e-3, batch_size=16, warmup_steps=3, shares=(("esc10", 1.0),), buffer_size=256,
        initial_batches=4, refresh_steps=10,
    )  # fmt: skip
    recipe = Recipe(
        widths=(8, 16, 24, 32), residuals=1, distillation=(distillation,), steps=100, batch_size=16, warmup_steps=5,
        dim=16, sentence_hidden=16, sound_hidden=16, shares=(("esc10", 1.0),), sentence_dropout=0.1,
        embedding_noise=0.0,
    )  # fmt: skip
    names = Phrasings(torch.zeros(521, 384), torch.ones(521, dtype=torch.int64))
    texts = label_texts, names
    torch.manual_seed(0)
    model = AudioModel(recipe)
    init_output_layer(model.network, features)
    before = loss_of(model.network, features, yamnet)
    distill(
        model.network, WindowSampler(few, features, distillation), yamnet.trunk(), yamnet.classifier(), distillation
    )
    assert loss_of(model.network, features, yamnet) < 0.95 * before
    weight = model.network.last.weight.clone()
    encoded = EncodedSet(few, features, encode_windows(model.network, features))
    data = build_training_data([encoded], yamnet.classifier(), texts, dict(recipe.shares))
    train_towers(model, data, recipe)
    assert torch.equal(model.network.last.weight, weight)
    torch.nn.init.constant_(model.audible.linear.bias, 10.0)
    save(model, tmp_path, recipe, {"network": 3, "towers": 3})
    vectors, encode = encode_recordings(few, tmp_path), LiteAudioTextEncoder(tmp_path).encode
    update_configuration(tmp_path, score_statistics=measure_score_statistics(*vectors, encode))
    assert json.loads((tmp_path / "sound.json").read_text())["recipe"]["steps"] == 100
    measured = evaluate([(few, tmp_path)])
    assert measured["text to audio, trained wordings"]["value"] >= 0.5  # chance is 0.25
    assert evaluate([(few, tmp_path)] * 2)["audio to audio"]["value"] == measured["audio to audio"]["value"]
    space = build(MiniLM, tmp_path)
    assert space.space.dim == 17 and space.score_statistics["text"].std > 0
    assert LiteAudioTextEncoder(tmp_path).encode(["rain"]).shape == (1, 17)


def test_training_data_joins_parts(
    features: WindowFeatures, few: list[Recording], yamnet: Yamnet, label_texts: Phrasings
) -> None:
    count = len(features.recording)
    embeddings = np.random.default_rng(0).random((3, count, 1024)).astype(np.float16)
    part, texts = EncodedSet(few, features, embeddings), (label_texts, label_texts)
    one, two = (
        build_training_data(parts, yamnet.classifier(), texts, {"esc10": 1.0}) for parts in ([part], [part, part])
    )
    assert np.allclose(
        np.bincount(features.recording, one.sampling_weights), 1 / len(few)
    )  # two sources of four classes
    assert np.allclose(two.sampling_weights, np.tile(one.sampling_weights, 2) / 2)
    assert (two.embeddings[:3, count:] == embeddings).all()
    assert (two.mixup_index[:, count:] == one.mixup_index + count).all()
    assert np.allclose(one.embeddings[3], np.sqrt(features.features.astype(np.float32)), atol=1e-2)  # the teacher's
    assert (one.mixup_index[3] == np.arange(count)).all() and (one.mixup_weight[3] == 1).all()
    assert torch.equal(two.labels, one.labels.repeat(2, 1))


def test_teacher_targets_do_not_depend_on_a_constant_offset_of_a_class(
    features: WindowFeatures, few: list[Recording], yamnet: Yamnet, label_texts: Phrasings
) -> None:
    texts = (label_texts, label_texts)
    parts = [EncodedSet(few, features, np.zeros((3, len(features.recording), 1024), np.float16))]
    weight, bias = yamnet.classifier()
    shifted_bias = bias.clone()
    shifted_bias[7] += 5
    original, shifted = (
        build_training_data(parts, (weight, each), texts, {"esc10": 1.0}).teacher_targets
        for each in (bias, shifted_bias)
    )
    assert torch.allclose(original.sum(1), torch.ones(len(original)))
    assert torch.allclose(original, shifted, atol=FLOAT32)


def test_noisy_sentence_vectors_lie_around_the_original() -> None:
    torch.manual_seed(0)
    rain = sentence_vectors(["rain"])
    noisy = add_embedding_noise(rain.expand(200, -1), 1.0)
    assert torch.allclose(noisy.norm(dim=1), torch.ones(200))
    assert 0.6 < float((noisy @ rain.T).mean()) < 0.8  # orthogonal noise of the same norm: 0.71
    assert torch.allclose(add_embedding_noise(rain, 0.0), rain, atol=FLOAT32)


def test_audibility_head_separates_sounds_from_looks() -> None:
    recipe = Recipe(dim=16, sentence_hidden=16, sound_hidden=16)
    model = AudioModel(recipe)
    audible, visual = ["a dog barks", "the sound of rain", "loud music"], ["a red coat", "a blue house", "a tall man"]
    fit_audibility(model.audible, sentence_vectors(audible), sentence_vectors(visual), recipe.audible_decay)
    with torch.inference_mode():
        scores = model.audible.linear(sentence_vectors(["the noise of an engine", "a green hat"])).sigmoid()
    assert scores[0] > 0.5 > scores[1]


def test_metrics_on_known_vectors() -> None:
    labels = ["dog", "dog", "rain", "rain"]
    recordings = [
        Recording(Path(str(row)), "esc10", source, label, "test")
        for row, (label, source) in enumerate(zip(labels, ["a", "a", "b", "c"], strict=True))
    ]
    vectors = l2_normalize(np.array([[1, 0], [1, 0.1], [0, 1], [1, 0.9]]))  # the last one is close to the dogs

    def encode(texts: Sequence[str]) -> Vectors:
        dogs = {*WORDINGS["dog"].held_out, *WORDINGS["dog"].trained}
        return np.array([[1, 0] if text in dogs else [0, 1] for text in texts], np.float32)

    sources = np.array([recording.source for recording in recordings])
    results = {
        name: bootstrap_estimate(values, sources) for name, values in measure(recordings, vectors, encode).items()
    }
    assert results["text to audio"].value == 0.75
    assert results["audio to audio"].value == 0.75  # only the last one's nearest is of another class
    assert results["audio to audio, other sources"].value == 0.5  # rain only: the dogs have one source
    assert results["text to audio"].low <= 0.75 <= results["text to audio"].high


def save_weights(folder: Path, network: int | None, towers: int | None) -> Path:
    recipe = Recipe(widths=(4, 8), residuals=1, dim=4, sound_hidden=4, sentence_hidden=4)
    save(AudioModel(recipe), folder, recipe, {"network": network, "towers": towers})
    return folder


def test_weights_are_measured_on_held_out_sources(audio: Path, tmp_path: Path) -> None:
    recordings = held_out_recordings(audio.parent, save_weights(tmp_path / "b", 2, 2))
    assert {r.path.parent.name for r in select(recordings, collection="urbansound8k")} == {"fold2"}
    others = [r for r in read_recordings(audio.parent, fold_id=2) if r.part != "test"]
    assert not {r.source for r in recordings} & {r.source for r in others}
    for network, towers in ((3, None), (None, None), (1, 2)):
        with pytest.raises(InvalidInputError, match="cannot be measured"):
            held_out_recordings(audio.parent, save_weights(tmp_path / "a", network, towers))


def test_shipped_towers_were_trained_on_all_folds() -> None:
    assert held_out_folds(LITE) == {"network": 3, "towers": None}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr("sys.argv", ["lite_audio", "--data", "x", *map(str, arguments)])
    main()


def test_network_trained_on_the_held_out_folds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for final in ([], ["--final"]):
        with pytest.raises(SystemExit):
            run(
                monkeypatch,
                "--cache",
                "y",
                "--out",
                "z",
                "--network",
                save_weights(tmp_path, 2, 2),
                "--fold",
                "1",
                *final,
            )
        assert "was trained on the folds that --fold holds out" in capsys.readouterr().err


def test_weights_with_the_same_held_out_folds_are_not_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [save_weights(tmp_path / name, 2, 2) for name in "ab"]
    with pytest.raises(InvalidInputError, match="count twice"):
        run(monkeypatch, "--evaluate", *folders)


def test_parts_are_separate_galleries(few: list[Recording]) -> None:
    """Each part has a single class, so every result is correct; together they would have two."""
    parts = [([recording for recording in few if recording.label == label], LITE) for label in ("rain", "rooster")]
    results = evaluate(parts)
    assert results["text to audio"] == {"value": 1.0, "low": 1.0, "high": 1.0, "recordings": 4}


def test_features_are_cached_by_list_of_recordings(
    few: list[Recording], yamnet: Yamnet, audio: Path, tmp_path: Path
) -> None:
    features = []
    for number in (2, 3):
        selected = [r for r in read_recordings(audio.parent, fold_id=number) if r.path in {f.path for f in few}]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(audio_dataset, "read_recordings", lambda *_, read=selected, **__: read)
            features.append(collect(audio.parent, tmp_path, yamnet, ["train"], fold_id=number)["train"].features)
    assert len(list(tmp_path.iterdir())) == len({len(each.recording) for each in features}) == 2
