"""Compare Qwen3-VL-Embedding with the libraries and the published prompt, on a tiny random checkpoint."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import var_plugin as vp
from tests.encoders.backbones.test_sentence_transformers import (
    as_video,
    filled,
    frames,
    library,
    native_video,
)
from tests.encoders.backbones.test_silent_weights import renamed
from tests.encoders.backbones.tiny import save_clip, save_qwen3_vl
from tests.films import Film, textured
from tests.tolerances import ATOL, FLOAT32
from var_plugin.encoders.backbones.qwen3_vl import DOCUMENT_PROMPT, QUERY_PROMPT
from var_plugin.encoders.base import Vectors, l2_normalize
from var_plugin.encoders.registry import load_suite
from var_plugin.errors import InvalidInputError, MissingDependencyError, MissingWeightsError, UnknownSuiteError
from var_plugin.media.decoded import Frame

pytestmark = pytest.mark.usefixtures("configured")

TEXTS = ["a red car", "a blue dog barks", "car"]
SIZE = (448, 640)
IMAGES = [textured(seed, *SIZE) for seed in range(3)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_qwen3_vl(folder / "Qwen/Qwen3-VL-Embedding-2B")
    return folder


@pytest.fixture
def folder(models: Path) -> Path:
    return models / "Qwen/Qwen3-VL-Embedding-2B"


def published(folder: Path, dtype: str, content: str, instruction: str, **media: Any) -> Vectors:
    """Return the vector (1, dim) of the published code: the prompt as a string, the last token, L2-normalised."""
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    prompt = (
        f"<|im_start|>system\n{instruction}<|im_end|>\n<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"
    )
    inputs = AutoProcessor.from_pretrained(folder)(
        text=[prompt], return_tensors="pt", do_resize=False, do_sample_frames=False, **media
    )
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
    return l2_normalize(hidden[:, -1].float().numpy())


def published_video(folder: Path, dtype: str, window: Sequence[Frame]) -> Vectors:
    video = as_video(window)
    # The version of transformers that the model was published with replaces the string around the video token as well.
    return published(
        folder,
        dtype,
        "<|video_pad|>",
        DOCUMENT_PROMPT,
        videos=[video["array"]],
        video_metadata=[video["video_metadata"]],
    )


@native_video
def test_texts_and_images_match_the_library_and_the_published_code(folder: Path, dtype: str) -> None:
    suite, model = load_suite("qwen3-vl"), library(folder, dtype)
    texts = suite.encode("text", TEXTS)
    np.testing.assert_allclose(texts, l2_normalize(model.encode(TEXTS, prompt=QUERY_PROMPT)), atol=ATOL[dtype])
    np.testing.assert_allclose(texts[:1], published(folder, dtype, TEXTS[0], QUERY_PROMPT), atol=ATOL[dtype])
    images = suite.encode("image", IMAGES)
    loaded = [Image.fromarray(image) for image in IMAGES]
    np.testing.assert_allclose(images, l2_normalize(model.encode(loaded, prompt=DOCUMENT_PROMPT)), atol=ATOL[dtype])
    content = "<|vision_start|><|image_pad|><|vision_end|>"
    expected = published(folder, dtype, content, DOCUMENT_PROMPT, images=loaded[:1])
    np.testing.assert_allclose(images[:1], expected, atol=ATOL[dtype])


@native_video
@pytest.mark.parametrize("count", [2, 3, 8])
def test_frames_of_a_window_match_the_published_code(folder: Path, dtype: str, count: int) -> None:
    window = frames(count, *SIZE)
    vectors = load_suite("qwen3-vl").encoders["scene"].video.encode(filled(window, 8))
    np.testing.assert_allclose(vectors, published_video(folder, dtype, window), atol=ATOL[dtype])


@native_video
def test_single_frame_is_repeated(folder: Path) -> None:
    """The network joins frames in pairs, and its processor refuses a video of one frame."""
    (frame,) = frames(1, *SIZE)
    vectors = load_suite("qwen3-vl").encoders["scene"].video.encode(filled([frame], 8))
    pair = [frame, Frame(1.0, frame.image)]
    np.testing.assert_allclose(vectors, published_video(folder, "float32", pair), atol=FLOAT32)


@native_video
def test_long_video_is_the_mean_of_its_windows(folder: Path) -> None:
    film = frames(12, *SIZE)
    expected = np.concatenate([published_video(folder, "float32", window) for window in (film[:8], film[8:])])
    video = load_suite("qwen3-vl").encoders["scene"].video
    windows = video.encode(filled(film, 16))
    np.testing.assert_allclose(windows, expected, atol=FLOAT32)
    whole = video.embed_spans(windows, [slice(None)])
    np.testing.assert_allclose(whole, l2_normalize(expected.mean(0, keepdims=True)), atol=FLOAT32)


@native_video
def test_order_and_rate_of_the_frames_affect_the_vector(folder: Path) -> None:
    video, film = load_suite("qwen3-vl").encoders["scene"].video, frames(8, *SIZE)
    reverse = [Frame(frame.time, other.image) for frame, other in zip(film, film[::-1], strict=True)]
    forwards, backwards = video.encode(film), video.encode(reverse)
    assert np.abs(forwards - backwards).max() > 1e-3
    halved = {**as_video(film), "video_metadata": {**as_video(film)["video_metadata"], "fps": 2.0}}
    slow = video._network.encode([as_video(film)], batch=1)
    assert np.abs(video._network.encode([halved], batch=1) - slow).max() > 1e-4


@native_video
def test_weights_load_on_first_use(models: Path) -> None:
    suite = load_suite("qwen3-vl")
    network = suite.encoders["scene"].text._network
    assert network._model is None
    assert (suite.spaces["scene"].dim, suite.spaces["scene"].modalities) == (288, {"text", "image", "video"})
    suite.encode("text", TEXTS)
    assert network._model is not None


@native_video
def test_first_dimensions_are_kept_and_normalised() -> None:
    full, short = load_suite("qwen3-vl"), load_suite("qwen3-vl@256")
    assert (short.name, short.spaces["scene"].dim) == ("qwen3-vl@256", 256)
    expected = l2_normalize(full.encode("text", TEXTS)[:, :256])
    np.testing.assert_allclose(short.encode("text", TEXTS), expected, atol=FLOAT32)
    assert len({load_suite(f"qwen3-vl{dim}").fingerprint for dim in ("", "@256", "@512", "@1024")}) == 4


@native_video
def test_modules_of_sentence_transformers_are_not_needed(tmp_path: Path) -> None:
    """Revisions without them are loaded by sentence-transformers with mean pooling."""
    other = save_qwen3_vl(tmp_path / "model")
    for name in ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json"):
        (other / name).unlink()
    vectors = load_suite(f"qwen3-vl:{other}").encode("text", TEXTS)
    np.testing.assert_allclose(vectors, load_suite("qwen3-vl").encode("text", TEXTS), atol=FLOAT32)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "mean"}),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": True, "pooling_mode_lasttoken": False}),
        ("modules.json", [{"type": "sentence_transformers.sentence_transformer.modules.dense.Dense"}]),
    ],
)
def test_other_pooling_is_rejected(tmp_path: Path, name: str, content: object) -> None:
    (save_qwen3_vl(tmp_path / "model") / name).write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match=r"is not pooled like Qwen3-VL-Embedding"):
        load_suite(f"qwen3-vl:{tmp_path / 'model'}")


def test_model_of_another_type_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UnknownSuiteError, match="of type 'clip'"):
        load_suite(f"qwen3-vl:{save_clip(tmp_path / 'clip')}")


@native_video
@pytest.mark.parametrize("layer", ["visual.blocks.0", "language_model.norm"])
def test_misnamed_weights_are_rejected(tmp_path: Path, layer: str) -> None:
    misnamed = renamed(save_qwen3_vl(tmp_path / "model"), layer, f"wrapped.{layer}")
    with pytest.raises(MissingWeightsError, match="would be random numbers"):
        load_suite(f"qwen3-vl:{misnamed}").encode("text", TEXTS)


def test_missing_torchvision_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingDependencyError, match=r"torchvision is not installed.*var-plugin\[video-models\]"):
        load_suite("qwen3-vl")


@native_video
def test_film_is_indexed_and_found_by_text_image_and_clip(film: Film, tmp_path: Path) -> None:
    scenes = [3, 11, 7]
    path = film("film.mp4", seconds=24, fps=4, paint=lambda time: textured(scenes[min(2, int(time) // 8)], 96, 128))
    with vp.open_index(tmp_path / "index.db", suite="qwen3-vl@256") as index:
        assert index.add([path]).ok
        for number in range(3):
            span = vp.Span(path, 8.0 * number, 8.0 * number + 8)
            (moment, *_) = index.search(video=span, k=1)
            assert moment.start <= span.start + 0.3 < moment.end
            assert moment.matched["scene"] > 0.99
        assert index.search("a red car", k=1)
        assert index.search(image=textured(11, 96, 128), k=1)
        assert [score.start for score in index.suite.anomaly(path)] == pytest.approx([0, 8, 16], abs=0.01)
        assert index.verify().ok
