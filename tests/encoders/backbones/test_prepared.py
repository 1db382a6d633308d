"""What is prepared on a network's device beside the libraries' own preparation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchaudio.functional import resample
from transformers import ClapFeatureExtractor, CLIPImageProcessor, SiglipImageProcessor, VideoMAEImageProcessor

from tests.films import textured
from tests.tolerances import FLOAT32
from var_plugin.encoders.backbones.clap import spectrograms
from var_plugin.encoders.backbones.clip import pixels

SQUARE = {"height": 48, "width": 48}
IMAGES = [textured(seed, 48, 48) for seed in range(3)]
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "processor",
    [
        CLIPImageProcessor(size={"shortest_edge": 48}, crop_size=SQUARE),
        SiglipImageProcessor(size=SQUARE),
        VideoMAEImageProcessor(size={"shortest_edge": 48}, crop_size=SQUARE),
        CLIPImageProcessor(size={"shortest_edge": 48}, crop_size=SQUARE, do_rescale=False),
        CLIPImageProcessor(size={"shortest_edge": 48}, crop_size=SQUARE, do_normalize=False, rescale_factor=1 / 127),
    ],
    ids=["clip", "siglip", "xclip", "not rescaled", "not normalised"],
)
def test_images(processor: CLIPImageProcessor) -> None:
    expected = processor(IMAGES, return_tensors="pt")["pixel_values"].float()
    found = pixels(IMAGES, processor, CPU, torch.float32)
    torch.testing.assert_close(found, expected.reshape(found.shape), atol=FLOAT32, rtol=1e-5)
    assert preprocess_images(IMAGES, processor, CPU, torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("truncation", ["rand_trunc", "fusion"])
def test_sounds(truncation: str) -> None:
    processor = ClapFeatureExtractor(max_length_s=2, truncation=truncation, padding="repeatpad")
    random = np.random.default_rng(0)
    tone = np.sin(np.arange(32_000) * 0.3) * np.linspace(0, 1, 32_000)
    windows = np.stack([random.normal(0, 0.1, 32_000), tone, np.zeros(32_000)]).astype(np.float32)
    at_48 = resample(torch.from_numpy(windows), 16_000, 48_000).numpy()
    expected = processor(list(at_48), sampling_rate=48_000, return_tensors="pt")["input_features"].float()
    found = spectrograms(torch.from_numpy(windows), processor)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-5)
