from __future__ import annotations

import numpy as np
import pytest
import torch

from recipes.lite.yamnet import WIDTH, Yamnet, YamnetTrunk
from tests.data import data_folder
from var_plugin.encoders.lite.networks import LogMel
from var_plugin.media.audio import read_audio

WINDOW = 15_600


@pytest.fixture(scope="module")
def published() -> Yamnet:
    file = data_folder("audio") / "yamnet.tflite"
    pytest.importorskip("ai_edge_litert", reason="the file is run with ai-edge-litert")
    return Yamnet(file)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def test_trunk_in_torch_agrees_with_the_file(published: Yamnet) -> None:
    """The file quantizes its activations to 8 bits, so the agreement is approximate."""
    weight, bias = published.classifier()
    mel, trunk = LogMel(), published.trunk()
    folders = sorted(data_folder("audio/esc10").iterdir())
    assert len(folders) == 10
    for folder in folders:
        samples = read_audio(next(iter(sorted(folder.glob("*.ogg")))))[:WINDOW]
        window = np.pad(samples, (0, WINDOW - len(samples)))
        scores, embedding = published(window)
        with torch.inference_mode():
            features = trunk(mel(torch.from_numpy(window)[None]))[0]
            ours = torch.sigmoid(weight @ features + bias).numpy()
        assert cosine(features.numpy(), embedding) > 0.995
        assert np.abs(ours - scores).max() < 0.1


def test_features_of_a_window_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    trunk = YamnetTrunk().eval()
    windows = torch.randn(3, 96, 64)
    with torch.inference_mode():
        together = trunk(windows)
        alone = torch.cat([trunk(window[None]) for window in windows])
    assert together.shape == (3, WIDTH)
    assert (together >= 0).all()
    assert torch.allclose(together, alone, atol=1e-4)
