from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.encoders.backbones.tiny import save_clap, save_clip
from var_plugin.config import ModelOptions, settings
from var_plugin.encoders import registry
from var_plugin.encoders.self_check import MIN_COSINE, check_suite

ALL = [("scene", "image"), ("scene", "text"), ("scene", "video"), ("sound", "audio"), ("sound", "text")]


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(registry, "CLAP", str(save_clap(tmp_path / "clap")))
    return f"clip:{save_clip(tmp_path / 'clip')}"


def options(**changes: str) -> ModelOptions:
    return settings().model_copy(update={"device": "cpu", **changes})


def scale_weight(suite: str, name: str, factor: float) -> None:
    file = Path(suite.partition(":")[2]) / "model.safetensors"
    weights = load_file(file)
    save_file(weights | {name: weights[name] * factor}, file, {"format": "pt"})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_sound_model_passes(clip: str, dtype: str) -> None:
    results = check_suite(clip, options(dtype=dtype))
    assert [(result.space, result.modality) for result in results] == ALL
    assert all(not result.problem for result in results)
    assert all(result.cosine and result.cosine >= MIN_COSINE for result in results)
    # A data type that has no effect would be no test.
    assert (min(result.cosine or 0 for result in results) > 1 - 1e-6) == (dtype == "float32")


def test_lite_passes() -> None:
    assert [(result.space, result.modality, result.problem) for result in check_suite("lite", options())] == [
        (*key, "") for key in ALL
    ]


def test_activations_that_exceed_float16_are_reported(clip: str) -> None:
    scale_weight(clip, "vision_model.embeddings.patch_embedding.weight", 1e6)
    assert all(not result.problem for result in check_suite(clip, options(dtype="bfloat16")))
    problems = {
        (result.space, result.modality): result.problem for result in check_suite(clip, options(dtype="float16"))
    }
    assert {key for key, problem in problems.items() if problem} == {("scene", "image"), ("scene", "video")}


@pytest.mark.parametrize("layer", ["vision_model.post_layernorm.weight", "visual_projection.weight"])
def test_a_layer_of_zeros_is_reported(clip: str, layer: str) -> None:
    scale_weight(clip, layer, 0)
    problems = [result.problem for result in check_suite(clip, options()) if result.modality == "image"]
    assert problems != [""]


def test_vectors_that_barely_depend_on_the_input_are_reported(clip: str) -> None:
    """All cosine similarities are high, but rounding is larger than the difference between images."""
    scale_weight(clip, "vision_model.embeddings.patch_embedding.weight", 1e-4)
    results = check_suite(clip, options(dtype="bfloat16"))
    image = next(result for result in results if result.modality == "image")
    assert image.cosine and image.cosine >= MIN_COSINE
    assert "differ more from float32 than different inputs" in image.problem
