"""The suite of the paper with tiny trained models and full-sized I3D and VGGish networks with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import var_plugin as vp
from tests.encoders.backbones.canonical import differences, paper_vectors, reference, save_paper_models
from tests.encoders.backbones.published import random_weights
from tests.encoders.backbones.tiny import save_alan
from tests.films import Film, textured
from tests.tolerances import FLOAT32
from tests.tones import sine
from var_plugin.config import settings
from var_plugin.encoders.alan import AlanModel, AlanProcessor
from var_plugin.encoders.backbones.i3d import OpticalFlow
from var_plugin.encoders.backbones.i3d_features import I3dFeatures
from var_plugin.encoders.backbones.vggish import log_mel
from var_plugin.encoders.convert import WEIGHTS, load_network
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError, MissingWeightsError, UnsupportedModalityError
from var_plugin.evaluation.features import extract_paper_features
from var_plugin.media.decoded import Frame
from var_plugin.media.sandbox.client import read_audio

TEXTS = ["a man smashes a window", "a dog runs"]
NETWORKS = ("i3d-rgb", "i3d-flow", "vggish")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder of models: the networks of the paper, and `alan-i3d` with both trained models."""
    folder = tmp_path_factory.mktemp("models")
    save_paper_models(folder)
    return folder


@pytest.fixture
def configured(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Use the folder of models, no network access and fast optical flow."""
    monkeypatch.setenv("VAR_PLUGIN_MODEL_DIR", str(models))
    monkeypatch.setenv("VAR_PLUGIN_OPTICAL_FLOW", "dis")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings.cache_clear()
    yield monkeypatch
    settings.cache_clear()


@pytest.fixture(scope="module")
def suite(models: Path) -> Suite:
    """Load the suite once for all tests. Tests that use it need the fixture `configured` as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAR_PLUGIN_MODEL_DIR", str(models))
        patch.setenv("VAR_PLUGIN_OPTICAL_FLOW", "dis")
        settings.cache_clear()
        loaded = load_suite("alan-i3d")
    settings.cache_clear()
    return loaded


@pytest.fixture
def features() -> np.ndarray:
    """Return I3D-like features of 30 clips, (30, 2048), not negative."""
    return np.random.default_rng(0).gamma(1.0, 0.3, (30, 2048)).astype(np.float32)


def loaded(models: Path, name: str) -> tuple[AlanModel, AlanProcessor]:
    folder = models / "alan-i3d" / name
    return AlanModel.from_pretrained(folder).eval(), AlanProcessor.from_pretrained(folder)


def test_networks_and_towers_match_the_reference_vectors(configured: pytest.MonkeyPatch, suite: Suite) -> None:
    vectors = paper_vectors(suite)
    assert vectors.keys() == reference()["vectors"]["paper"].keys()
    assert not differences("paper", vectors)


def test_inner_products_are_the_score_of_the_paper(
    configured: pytest.MonkeyPatch, models: Path, suite: Suite, features: np.ndarray
) -> None:
    model, processor = loaded(models, "alan-text")
    space = suite.encoders["alan-text"]
    videos = [features[:12], features[10:30]]
    with torch.no_grad():
        output = model(**processor(
            text=TEXTS, object_features=[v[:, :1024] for v in videos], motion_features=[v[:, 1024:] for v in videos]
        ))  # fmt: skip
    stored = space.video.embed_spans(features, [slice(0, 12), slice(10, 30)])
    queries = suite.encode("text", TEXTS, space="alan-text")
    assert space.space.dim == queries.shape[1] == 4 * 8 + 1
    scale = 2 * (0.5**2 + 0.5**2) ** 0.5
    np.testing.assert_allclose(stored @ queries.T * scale, output.scores.numpy(), atol=FLOAT32)
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=FLOAT32)
    np.testing.assert_allclose(
        space.video.embed_video(features[:12], np.zeros(12, np.float32)), stored[0], atol=FLOAT32
    )
    np.testing.assert_allclose(
        space.video.score_events(features[:12])[:, 0], output.anomaly_scores[0, :12].numpy(), atol=FLOAT32
    )
    assert "alan-text" in suite.anomaly_scope


def test_span_vectors_do_not_depend_on_the_batch(
    configured: pytest.MonkeyPatch, suite: Suite, features: np.ndarray
) -> None:
    video = suite.encoders["alan-audio"].video
    spans = [slice(0, 1), slice(0, 30), slice(3, 9)] * 12
    alone = np.concatenate([video.embed_spans(features, [span]) for span in spans[:3]])
    np.testing.assert_allclose(video.embed_spans(features, spans), np.tile(alone, (12, 1)), atol=FLOAT32)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close_to_float32(
    configured: pytest.MonkeyPatch, suite: Suite, features: np.ndarray, dtype: str
) -> None:
    spans = [slice(0, 30)]
    expected = suite.encode("text", TEXTS), suite.encoders["alan-text"].video.embed_spans(features, spans)
    configured.setenv("VAR_PLUGIN_DTYPE", dtype)
    settings.cache_clear()
    half = load_suite("alan-i3d")
    vectors = half.encode("text", TEXTS), half.encoders["alan-text"].video.embed_spans(features, spans)
    assert str(half.encoders["alan-text"].text._alan.model.dtype) == f"torch.{dtype}"
    for one, other in zip(expected, vectors, strict=True):
        np.testing.assert_allclose(one, other, atol=0.03)


def test_audio_query_is_encoded_as_a_whole(configured: pytest.MonkeyPatch, models: Path, suite: Suite) -> None:
    samples = sine(440, 2.0) + sine(1_200, 2.0, amplitude=0.2)
    model, processor = loaded(models, "alan-audio")
    starts = [0, 10_667, len(samples) - 15_600]
    windows = torch.from_numpy(np.stack([samples[start : start + 15_600] for start in starts]))
    with torch.no_grad():
        features = load_network("vggish", settings())(log_mel(windows))
        expected = model.get_audio_features(**processor(audio_features=[features]))[0].numpy()
    (vector,) = suite.encode("audio", [(samples, 16_000)])
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-4)


def test_clip_features_are_those_of_the_centre_crop(configured: pytest.MonkeyPatch, suite: Suite) -> None:
    images = [np.roll(textured(1, 256, 344)[:, :340], 2 * i, axis=1) for i in range(17)]
    extractor = suite.encoders["alan-text"].video.extractor
    assert isinstance(extractor, I3dFeatures)
    features = extractor.encode([Frame(i / 24, image) for i, image in enumerate(images)])
    centre = np.stack(images)[:16, 16:240, 58:282].astype(np.float32)
    flow = OpticalFlow("dis")(images)[:, 16:240, 58:282]
    with torch.no_grad():
        expected = [
            load_network(name, settings())(torch.from_numpy(stack).permute(3, 0, 1, 2)[None])
            for name, stack in (("i3d-rgb", centre / 255 * 2 - 1), ("i3d-flow", flow))
        ]
    np.testing.assert_allclose(features, torch.cat(expected, dim=1).numpy(), rtol=1e-3, atol=1e-4)
    assert features.shape == (1, 2048) and features[0, :1024].std() > 0.01 and features[0, 1024:].std() > 0.01


def test_video_is_indexed_and_found_by_text_and_by_audio(
    configured: pytest.MonkeyPatch, suite: Suite, film: Film, tmp_path: Path
) -> None:
    """Both spaces share one pass over the video. Audio is a query modality only."""

    def paint(time: float) -> np.ndarray:
        return np.roll(textured(5, 96, 128), int(time * 40), axis=1)

    path = film(seconds=1.4, fps=24, paint=paint, tone=440)
    with vp.open_index(tmp_path / "index.db", suite=suite) as index:
        receipt = index.add(path)
        assert receipt.ok and set(receipt.videos[0].stored) == {"alan-text", "alan-audio"}
        (by_text,) = index.search(TEXTS[0], k=1)
        assert set(by_text.matched) == {"alan-text"}
        (by_audio,) = index.search(audio=path, k=1)
        assert set(by_audio.matched) == {"alan-audio"}
        (anomaly, *_) = index.search(TEXTS[0], filter=vp.Filter(segment_kinds=("anomaly",)))
        assert anomaly.anomaly_score >= settings().anomaly_threshold
        assert 0 <= anomaly.start < anomaly.end <= 1.42  # 34 frames
        with pytest.raises(UnsupportedModalityError, match="alan-text: text, video"):
            index.search(image=textured(1))


def test_extracted_features_match_those_of_the_suite(
    configured: pytest.MonkeyPatch, suite: Suite, film: Film, tmp_path: Path
) -> None:
    """Files have the names that `train` and `evaluate` expect. A video without audio has no VGGish file."""
    film("videos/a/loud.mp4", seconds=0.7, fps=24, tone=440)
    film("videos/still.mp4", seconds=0.7, fps=24)
    problems: list[str] = []
    failed = extract_paper_features(
        film.folder / "videos",
        tmp_path,
        flow=None,
        options=settings(),
        report=lambda _, problem: problems.append(problem),
    )
    assert failed == 0 and problems == ["", ""]
    shapes = {str(path.relative_to(tmp_path)): np.load(path).shape for path in tmp_path.rglob("*.npy")}
    assert shapes == {
        "rgb/a/loud__0.npy": (1, 1024),
        "rgb/still__0.npy": (1, 1024),
        "vggish/a/loud__vggish.npy": (1, 128),
    }
    samples = read_audio(film.folder / "videos/a/loud.mp4")
    features = suite.encoders["alan-audio"].audio_query.encode(np.pad(samples, (0, 15_600 - len(samples)))[None])
    np.testing.assert_allclose(np.load(tmp_path / "vggish/a/loud__vggish.npy"), features, rtol=1e-4, atol=FLOAT32)


def test_single_trained_model_gives_one_space(configured: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model without motion needs neither Flow weights nor OpenCV."""
    save_alan(tmp_path / "mine/alan-text", "text", motion_dim=None)
    configured.setenv("VAR_PLUGIN_MODEL_DIR", str(tmp_path / "models"))
    settings.cache_clear()
    (tmp_path / "models/i3d-rgb").mkdir(parents=True)
    save_file(random_weights("i3d-rgb"), tmp_path / "models/i3d-rgb" / WEIGHTS)
    suite = load_suite(f"alan-i3d:{tmp_path / 'mine'}")
    assert list(suite.spaces) == ["alan-text"]
    extractor = suite.encoders["alan-text"].video.extractor
    assert (extractor.frames_per_clip, extractor.stride, extractor.fps, extractor.size) == (16, 16, 24.0, (256, 340))
    clips = np.random.default_rng(0).random((5, 1024), np.float32)
    assert suite.encoders["alan-text"].video.embed_spans(clips, [slice(None)]).shape == (1, 2 * 8 + 1)


def test_fingerprint_depends_on_optical_flow_but_not_on_checkpoints(
    configured: pytest.MonkeyPatch, models: Path, tmp_path: Path
) -> None:
    before = load_suite("alan-i3d").spaces
    assert len({space.fingerprint for space in before.values()}) == 2
    save_alan(models / "alan-i3d/alan-text/checkpoint-7", "text")
    assert load_suite("alan-i3d").spaces == before
    configured.setenv("VAR_PLUGIN_OPTICAL_FLOW", "tvl1")
    settings.cache_clear()
    after = load_suite("alan-i3d").spaces
    assert all(after[name].fingerprint != before[name].fingerprint for name in before)


def test_missing_trained_model_error_names_the_train_command(configured: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configured.setenv("VAR_PLUGIN_MODEL_DIR", str(tmp_path))
    settings.cache_clear()
    with pytest.raises(
        MissingWeightsError, match=rf"run: var-plugin train ucfcrime-ar .*--out {tmp_path}/alan-i3d/alan-text"
    ):
        load_suite("alan-i3d")
    save_alan(tmp_path / "alan-i3d/elsewhere", "text")
    with pytest.raises(MissingWeightsError, match=r"none of the folders alan-text, alan-audio; run: var-plugin train"):
        load_suite("alan-i3d")


@pytest.mark.parametrize("name", NETWORKS)
def test_missing_network_error_names_the_convert_command(
    configured: pytest.MonkeyPatch, models: Path, tmp_path: Path, name: str
) -> None:
    for other in set(NETWORKS) - {name} | {"alan-i3d"}:
        (tmp_path / other).symlink_to(models / other, target_is_directory=True)
    configured.setenv("VAR_PLUGIN_MODEL_DIR", str(tmp_path))
    settings.cache_clear()
    with pytest.raises(MissingWeightsError, match=f"the model '{name}' is missing.*run: var-plugin convert {name} "):
        load_suite("alan-i3d")


@pytest.mark.parametrize(
    ("folder", "fields", "problem"),
    [
        ("alan-text", {"query": "audio"}, "query_modality='audio'"),
        ("alan-text", {"query": "text", "object_dim": 2048}, "object_dim=2048"),
        ("alan-text", {"query": "text", "motion_dim": 512}, "motion_dim=512"),
        ("alan-audio", {"query": "audio", "audio_dim": 64}, "audio_dim=64"),
    ],
)
def test_model_for_other_features_is_rejected(
    configured: pytest.MonkeyPatch, tmp_path: Path, folder: str, fields: dict[str, object], problem: str
) -> None:
    save_alan(tmp_path / folder, **fields)
    with pytest.raises(InvalidInputError, match=problem):
        load_suite(f"alan-i3d:{tmp_path}")


def test_trained_model_with_missing_weights_is_rejected(configured: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mismatch of keys must not leave weights at random values."""
    file = save_alan(tmp_path / "alan-text", "text") / "model.safetensors"
    weights = load_file(file)
    renamed = {name.replace("video_encoder.cross", "module.cross"): value for name, value in weights.items()}
    assert renamed.keys() != weights.keys()
    save_file(renamed, file, {"format": "pt"})
    suite = load_suite(f"alan-i3d:{tmp_path}")
    with pytest.raises(MissingWeightsError, match="would be random numbers"):
        suite.encode("text", TEXTS)
