from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from var_plugin.encoders.backbones.yamnet import WIDTH, YamnetTrunk, dequantised, quantised
from var_plugin.encoders.lite_sound_towers import LogMel
from var_plugin.encoders.weight_folder import LITE, WeightFolder
from var_plugin.media.audio import read_audio
from var_plugin.training.yamnet import Yamnet

DATA = Path(os.environ.get("VAR_PLUGIN_DATA", Path(__file__).parents[4] / "shared" / "data"))
WINDOW = 15_600


@pytest.fixture(scope="module")
def published() -> Yamnet:
    if not (DATA / "audio" / "yamnet.tflite").is_file():
        pytest.skip("YAMNet's file is not there")
    pytest.importorskip("ai_edge_litert", reason="the file is run with ai-edge-litert")
    return Yamnet(DATA / "audio" / "yamnet.tflite")


@pytest.fixture(scope="module")
def shipped() -> YamnetTrunk:
    trunk = YamnetTrunk()
    trunk.load_state_dict(dequantised(WeightFolder(LITE, "sound", stands_on="").part("trunk")))
    return trunk.eval()


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def test_the_shipped_trunk_agrees_with_the_published_file(published: Yamnet, shipped: YamnetTrunk) -> None:
    """The file rounds its activations to 8 bits and so cannot agree exactly."""
    weight, bias = published.classifier()
    mel = LogMel()
    folders = sorted((DATA / "audio" / "esc10").iterdir())
    assert len(folders) == 10
    for folder in folders:
        sound = read_audio(next(iter(sorted(folder.glob("*.ogg")))))[:WINDOW]
        window = np.pad(sound, (0, WINDOW - len(sound)))
        scores, embedding = published(window)
        with torch.inference_mode():
            features = shipped(mel(torch.from_numpy(window)[None]))[0]
            ours = torch.sigmoid(weight @ features + bias).numpy()
        assert cosine(features.numpy(), embedding) > 0.995
        assert np.abs(ours - scores).max() < 0.1


def test_eight_bits_hold_the_published_weights_exactly(published: Yamnet) -> None:
    state = published.trunk().state_dict()
    again = dequantised(quantised(state))
    assert again.keys() == state.keys()
    assert all(torch.allclose(again[name], state[name], atol=1e-6) for name in state)


def test_every_window_has_features_of_its_own(shipped: YamnetTrunk) -> None:
    windows = torch.randn(3, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = shipped(windows)
        alone = torch.cat([shipped(window[None]) for window in windows])
    assert together.shape == (3, WIDTH)
    assert (together >= 0).all()
    assert torch.allclose(together, alone, atol=1e-4)
