"""Compare EmbeddingGemma 2 with the forward pass and the processors of the libraries, on a tiny random checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

pytest.importorskip("transformers.models.embedding_gemma2", reason="transformers has no EmbeddingGemma 2")

from transformers import AutoModel, AutoTokenizer, Gemma4AudioFeatureExtractor
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

import var_plugin as vp
from tests.encoders.backbones.recordings import WINDOW, noise, padded, with_audio
from tests.encoders.backbones.test_silent_weights import renamed
from tests.encoders.backbones.tiny import save_clip, save_gemma2
from tests.films import Film, textured
from tests.tolerances import ATOL, FLOAT32
from var_plugin.config import settings
from var_plugin.encoders.backbones.gemma2 import QUERY_PROMPT, spaces
from var_plugin.encoders.base import Vectors, l2_normalize
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError, InvalidSettingError, MissingWeightsError, UnknownSuiteError
from var_plugin.media.decoded import SAMPLE_RATE, Frame

pytestmark = pytest.mark.usefixtures("configured")

TEXTS = ["a red car", "a blue dog barks", "car"]
SECOND = SAMPLE_RATE


def image(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    return textured(seed, 96, 128)[:height, :width].copy()


IMAGES = [image(seed, 84, 120) for seed in range(3)]
FRAMES = [Frame(float(second), image(second, 42, 60)) for second in range(20)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_gemma2(folder / "google/embeddinggemma-2")
    return folder


@pytest.fixture
def folder(models: Path) -> Path:
    return models / "google/embeddinggemma-2"


@pytest.fixture
def suite() -> Suite:
    return load_suite("gemma2")


def pooled(model: Any, text: str, **media: Any) -> Vectors:
    """Return the mean of the tokens of one input, (1, dim), by the forward pass of the library."""
    tokenizer = AutoTokenizer.from_pretrained(model.name_or_path)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|video|>"]})  # as the processor does
    tokens = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    if "input_features" in media:
        media["input_features"] = media["input_features"].to(model.dtype)
    with torch.no_grad():
        hidden = model(**tokens, **media).last_hidden_state
    return l2_normalize(hidden.float().mean(1).numpy())


@pytest.fixture
def library(folder: Path) -> Callable[[str], Any]:
    return lambda dtype: AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()


def library_video(model: Any, frames: Sequence[Frame]) -> Vectors:
    processor = Gemma4ImageProcessorPil(patch_size=2, max_soft_tokens=70)
    inputs = processor([Image.fromarray(frame.image) for frame in frames], return_tensors="pt")
    return pooled(
        model,
        ("<|image>" + "<|video|>" * 70 + "<image|>") * len(frames),
        pixel_values_videos=inputs["pixel_values"],
        video_position_ids=inputs["image_position_ids"],
        num_frames_per_video=torch.tensor([len(frames)]),
    )


def library_audio(model: Any, audio: NDArray[np.float32]) -> Vectors:
    inputs = Gemma4AudioFeatureExtractor()([audio], return_tensors="pt")
    count = int(inputs["input_features_mask"][0, ::4].sum())
    return pooled(model, "<|audio>" + "<|audio|>" * count + "<audio|>", **inputs)


def test_texts_match_the_library(suite: Suite, library: Callable[[str], Any], dtype: str) -> None:
    model = library(dtype)
    expected = np.concatenate([pooled(model, QUERY_PROMPT + text) for text in TEXTS])
    for space in ("scene", "sound"):
        np.testing.assert_allclose(suite.encode("text", TEXTS, space=space), expected, atol=ATOL[dtype])


def test_images_match_the_library(suite: Suite, library: Callable[[str], Any], dtype: str) -> None:
    model, processor = library(dtype), Gemma4ImageProcessorPil(patch_size=2)
    text = "<|image>" + "<|image|>" * 280 + "<image|>"
    expected = [
        pooled(model, text, **_arrays(processor(Image.fromarray(item), return_tensors="pt"))) for item in IMAGES
    ]
    np.testing.assert_allclose(suite.encode("image", IMAGES), np.concatenate(expected), atol=ATOL[dtype])


def _arrays(inputs: Any) -> dict[str, torch.Tensor]:
    return {name: inputs[name] for name in ("pixel_values", "image_position_ids")}


@pytest.mark.parametrize("count", [1, 3, 8])
def test_frames_of_a_window_match_the_library(
    suite: Suite, library: Callable[[str], Any], dtype: str, count: int
) -> None:
    """An incomplete window is filled with its last frame. These repetitions are not part of the input."""
    window = FRAMES[:count] + [FRAMES[count - 1]] * (8 - count)
    vectors = suite.encoders["scene"].video.encode(window)
    np.testing.assert_allclose(vectors, library_video(library(dtype), FRAMES[:count]), atol=ATOL[dtype])


def test_long_video_is_the_mean_of_its_windows(suite: Suite, library: Callable[[str], Any]) -> None:
    model, video = library("float32"), suite.encoders["scene"].video
    windows = [FRAMES[:8], FRAMES[8:16], FRAMES[16:]]
    expected = np.concatenate([library_video(model, window) for window in windows])
    vectors = video.encode([*FRAMES, *[FRAMES[-1]] * 4])
    np.testing.assert_allclose(vectors, expected, atol=FLOAT32)
    whole = video.embed_spans(vectors, [slice(None)])
    np.testing.assert_allclose(whole, l2_normalize(expected.mean(0, keepdims=True)), atol=FLOAT32)


@pytest.mark.parametrize("seconds", [0.6, 3.3, 8.0])
def test_audio_matches_the_library(suite: Suite, library: Callable[[str], Any], dtype: str, seconds: float) -> None:
    """The silence that fills a short window is not part of the input."""
    vectors = suite.encode("audio", [(noise(seconds), SAMPLE_RATE)], space="sound")
    np.testing.assert_allclose(vectors, library_audio(library(dtype), noise(seconds)), atol=ATOL[dtype])


def test_windows_of_different_lengths_do_not_affect_each_other(suite: Suite) -> None:
    audio = suite.encoders["sound"].audio
    windows = np.concatenate([padded(noise(seconds)) for seconds in (1.0, 8.0, 2.5)])
    alone = np.concatenate([audio.encode(window[None]) for window in windows])
    np.testing.assert_allclose(audio.encode(windows), alone, atol=FLOAT32)


def test_long_audio_is_the_mean_of_its_windows(suite: Suite, library: Callable[[str], Any]) -> None:
    audio, model = noise(40), library("float32")
    windows = [library_audio(model, audio[start : start + WINDOW]) for start in range(0, len(audio), WINDOW)]
    loudness = np.sqrt([np.square(audio[start : start + WINDOW]).mean() for start in range(0, len(audio), WINDOW)])
    expected = l2_normalize(loudness @ np.concatenate(windows))
    for space in ("scene", "sound"):
        vector = suite.encode("audio", [(audio, SAMPLE_RATE)], space=space)[0]
        np.testing.assert_allclose(vector, expected, atol=FLOAT32)


def test_silent_audio_has_a_vector(suite: Suite) -> None:
    vectors = suite.encode("audio", [(np.zeros(WINDOW, np.float32), SAMPLE_RATE)], space="sound")
    assert np.isfinite(vectors).all()


def test_all_modalities_match_the_processor_and_sentence_transformers(suite: Suite, folder: Path) -> None:
    pytest.importorskip("torchvision", reason="the processors of transformers need it")
    from sentence_transformers import SentenceTransformer
    from transformers import EmbeddingGemma2Processor

    processor = EmbeddingGemma2Processor.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    def expected(**media: Any) -> Vectors:
        inputs = processor(**media, return_tensors="pt")
        names = set(inputs) - {"video_metadata", *processor.unused_input_names}
        with torch.no_grad():
            hidden = model(**{name: inputs[name] for name in names}).last_hidden_state
        return l2_normalize(hidden.mean(1).numpy())

    scene, sound = suite.encoders["scene"], suite.encoders["sound"]
    stack = np.stack([frame.image for frame in FRAMES[:8]])
    pairs = [
        (scene.image.encode(IMAGES[:1]), expected(images=[[Image.fromarray(IMAGES[0])]])),
        (scene.video.encode(FRAMES[:8]), expected(videos=[stack])),
        (sound.audio.encode(padded(noise(3.3))), expected(audio=[noise(3.3)])),
        (scene.text.encode(TEXTS), SentenceTransformer(str(folder), device="cpu").encode_query(TEXTS)),
    ]
    for vectors, library in pairs:
        np.testing.assert_allclose(vectors, library, atol=FLOAT32)


def test_towers_load_with_their_modality(suite: Suite) -> None:
    suite.encode("text", TEXTS, space="scene")
    network = suite.encoders["scene"].text._network
    assert network.model().vision_tower is network.model().audio_tower is None
    text = network.model().language_model
    suite.encode("image", IMAGES)
    assert network.model().vision_tower is not None
    assert network.model().audio_tower is None
    suite.encode("audio", [(noise(1), SAMPLE_RATE)])
    assert network.model().audio_tower is not None
    assert network.model().language_model is text, "loaded once"


def test_first_dimensions_are_kept_and_normalised(suite: Suite) -> None:
    short = load_suite("gemma2@256")
    assert (short.name, short.spaces["scene"].dim, suite.spaces["scene"].dim) == ("gemma2@256", 256, 768)
    full = suite.encode("image", IMAGES)
    np.testing.assert_allclose(short.encode("image", IMAGES), l2_normalize(full[:, :256]), atol=FLOAT32)
    fingerprints = {load_suite(name).fingerprint for name in ("gemma2", "gemma2@512", "gemma2@256", "gemma2@128")}
    assert len(fingerprints) == 4


def test_dimension_of_a_named_model_is_part_of_its_name(folder: Path) -> None:
    assert load_suite(f"gemma2@128:{folder}").name == f"gemma2@128:{folder}"


@pytest.mark.parametrize("name", ["gemma2@300", "gemma2@", "lite@256", "clip@256"])
def test_other_dimensions_are_rejected(name: str) -> None:
    with pytest.raises(UnknownSuiteError, match=r"512, 256, 128 dimensions|cannot be chosen"):
        load_suite(name)


def test_bfloat16_is_close_to_float32(suite: Suite, configured: pytest.MonkeyPatch) -> None:
    def vectors(source: Suite) -> Vectors:
        audio = [(noise(3), SAMPLE_RATE)]
        return np.concatenate(
            [source.encode("image", IMAGES), source.encode("audio", audio), source.encode("text", TEXTS)]
        )

    exact = vectors(suite)
    configured.setenv("VAR_PLUGIN_DTYPE", "bfloat16")
    settings.cache_clear()
    assert (vectors(load_suite("gemma2")) * exact).sum(axis=1).min() > 0.99


def test_float16_is_refused(configured: pytest.MonkeyPatch) -> None:
    configured.setenv("VAR_PLUGIN_DTYPE", "float16")
    settings.cache_clear()
    with pytest.raises(InvalidSettingError, match=r"cannot run in float16: .*range.*; set VAR_PLUGIN_DTYPE"):
        load_suite("gemma2")


@pytest.mark.parametrize(
    "layer", ["embedding_projection", "vision_tower.encoder", "audio_tower.output_proj", "layer_scalar", "embed_audio"]
)
def test_misnamed_weights_are_rejected(tmp_path: Path, layer: str) -> None:
    misnamed = renamed(save_gemma2(tmp_path / "model"), layer, f"wrapped.{layer}")
    network = spaces(Checkpoint(str(misnamed)))["scene"].text._network
    with pytest.raises(MissingWeightsError, match="would be random numbers"):
        network.model("vision"), network.model("audio")


def test_unused_weights_are_rejected(tmp_path: Path) -> None:
    file = save_gemma2(tmp_path / "model") / "model.safetensors"
    save_file(load_file(file) | {"score.weight": torch.ones(2)}, file, {"format": "pt"})
    with pytest.raises(MissingWeightsError, match=r"holds 1 weights that the network does not use.*score"):
        load_suite(f"gemma2:{file.parent}").encode("text", TEXTS)


def test_prompt_of_the_model_is_used(tmp_path: Path, suite: Suite) -> None:
    other = save_gemma2(tmp_path / "model")
    (other / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "a dog "}}))
    vectors = load_suite(f"gemma2:{other}").encode("text", TEXTS)
    assert np.abs(vectors - suite.encode("text", TEXTS)).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "cls"}),
        ("modules.json", [{"type": "sentence_transformers.sentence_transformer.modules.dense.Dense"}]),
    ],
)
def test_other_pooling_is_rejected(tmp_path: Path, name: str, content: object) -> None:
    (save_gemma2(tmp_path / "model") / name).write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match=r"is not pooled like EmbeddingGemma 2"):
        load_suite(f"gemma2:{tmp_path / 'model'}")


def test_model_of_another_type_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UnknownSuiteError, match="of type 'clip'"):
        load_suite(f"gemma2:{save_clip(tmp_path / 'clip')}")


def test_film_is_indexed_and_found_by_every_modality(film: Film, tmp_path: Path) -> None:
    """An audio query finds the segment whose audio it is; the index moves from `lite` and back."""
    scenes = [3, 11, 7]
    silent = film("silent.mp4", seconds=24, fps=4, paint=lambda time: image(scenes[min(2, int(time) // 8)], 48, 64))
    time = np.arange(8 * SECOND) / SAMPLE_RATE
    tones = [0.3 * np.sin(2 * np.pi * 200 * time), noise(8), 0.3 * np.sign(np.sin(2 * np.pi * 900 * time))]
    path = with_audio(silent, tmp_path / "film.mkv", np.concatenate(tones).astype(np.float32))
    with vp.open_index(tmp_path / "index.db", suite="lite") as index:
        assert index.add([path, silent]).ok
        assert index.reindex("gemma2").ok
        assert index.suite.name == "gemma2"
        for number in range(3):
            span = vp.Span(path, 8.0 * number, 8.0 * number + 8)
            (moment, *_) = index.search(audio=span, k=1)
            assert moment.uri == str(path)
            assert span.start <= moment.peak < span.end
            assert moment.matched["sound"] > 0.999
            (moment, *_) = index.search(video=span, k=1)
            assert moment.start <= span.start + 0.3 < moment.end
            assert moment.matched["scene"] > 0.99
        assert index.search("a red car", k=1)
        assert index.search(image=image(11, 48, 64), k=1)
        scores = index.suite.anomaly(path)
        assert [score.start for score in scores] == pytest.approx([0, 8, 16], abs=0.01)
        assert index.verify().ok
        assert index.reindex("lite").ok
        assert index.search("a red car", k=1)
