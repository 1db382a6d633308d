"""Compare X-CLIP with the library's own preprocessing and forward pass, on a tiny checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

import var_plugin as vp
from tests.encoders.backbones.test_silent_weights import renamed
from tests.encoders.backbones.tiny import save_clap, save_clip, save_xclip
from tests.films import Film, textured
from tests.tolerances import ATOL, FLOAT32
from var_plugin.config import settings
from var_plugin.encoders.backbones.xclip import scene_space
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.registry import load_suite
from var_plugin.errors import MissingWeightsError, UnknownSuiteError
from var_plugin.media.decoded import Frame

TEXTS = ["a red car", "a blue dog barks"]
FRAMES = [Frame(i / 2, textured(seed, 32, 32)) for i, seed in enumerate([1, 1, 2, 2, 3, 4, 5, 6])]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_xclip(folder / "microsoft/xclip-base-patch32")
    save_clap(folder / "laion/larger_clap_general")
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_clips_and_texts_match_the_library(configured: pytest.MonkeyPatch, models: Path, dtype: str) -> None:
    configured.setenv("VAR_PLUGIN_DTYPE", dtype)
    settings.cache_clear()
    folder = models / "microsoft/xclip-base-patch32"
    model = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False
    )
    processor = AutoImageProcessor.from_pretrained(folder)
    assert "VideoMAE" in type(processor).__name__
    clips = [[frame.image for frame in FRAMES[:4]], [frame.image for frame in FRAMES[4:]]]
    pixels = torch.cat([processor(clip, return_tensors="pt")["pixel_values"] for clip in clips])
    assert pixels.shape == (2, 4, 3, 32, 32)
    with torch.no_grad():
        output = model(**tokens, pixel_values=pixels.to(model.dtype))
        texts = model.get_text_features(**tokens).pooler_output
    scene = load_suite("xclip").encoders["scene"]
    assert scene.video.frames_per_clip == scene.video.stride == 4
    vectors = scene.video.encode(FRAMES)
    np.testing.assert_allclose(vectors, l2_normalize(output.video_embeds.float().numpy()), atol=ATOL[dtype])
    np.testing.assert_allclose(scene.text.encode(TEXTS), l2_normalize(texts.float().numpy()), atol=ATOL[dtype])


def test_frames_of_a_clip_are_not_averaged(configured: pytest.MonkeyPatch, models: Path) -> None:
    """The mean of the projected frames has the dimension of the space, but is not the vector of the clip."""
    model = AutoModel.from_pretrained(models / "microsoft/xclip-base-patch32").eval()
    scene = load_suite("xclip").encoders["scene"]
    images = [frame.image for frame in FRAMES[:4]]
    pixels = scene.video.network.image_processor(images, return_tensors="pt")["pixel_values"].reshape(4, 3, 32, 32)
    with torch.no_grad():
        frames = model.visual_projection(model.vision_model(pixels).pooler_output)
        expected = model.mit(frames[None]).pooler_output
    vectors = scene.video.encode(FRAMES[:4])
    np.testing.assert_allclose(vectors, l2_normalize(expected.numpy()), atol=FLOAT32)
    assert np.abs(vectors - l2_normalize(frames.mean(0, keepdim=True).numpy())).max() > 1e-3


def test_image_is_encoded_as_a_static_clip(configured: pytest.MonkeyPatch) -> None:
    suite = load_suite("xclip")
    static = [Frame(i / 2, FRAMES[0].image) for i in range(4)]
    images = suite.encode("image", [FRAMES[0].image], space="scene")
    np.testing.assert_allclose(images, suite.encoders["scene"].video.encode(static), atol=FLOAT32)


def test_video_is_indexed_by_clips_and_found(configured: pytest.MonkeyPatch, film: Film, tmp_path: Path) -> None:
    path = film(seconds=8, fps=10, paint=lambda time: textured(int(time) // 4, 32, 32))
    with vp.open_index(tmp_path / "index.db", suite="xclip") as index:
        assert index.add(path).ok
        assert [score.start for score in index.suite.anomaly(path)] == pytest.approx([0, 2, 4, 6], abs=0.01)
        (moment, *_) = index.search(video=vp.Span(path, 4.0, 8.0), k=1)
        assert moment.video_id
        assert index.search("a red car", k=1)


def test_model_of_another_type_is_rejected(configured: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UnknownSuiteError, match="of type 'clip'"):
        load_suite(f"xclip:{save_clip(tmp_path / 'clip')}")


@pytest.mark.parametrize("layer", ["mit.position_embedding", "text_projection", "prompts_generator.alpha"])
def test_misnamed_weights_are_rejected(tmp_path: Path, layer: str) -> None:
    folder = renamed(save_xclip(tmp_path / "model"), layer, f"wrapped.{layer}")
    with pytest.raises(MissingWeightsError, match="would be random numbers"):
        scene_space(Checkpoint(str(folder))).text.encode(TEXTS)
