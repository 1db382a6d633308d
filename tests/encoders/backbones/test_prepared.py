"""Preprocessing on the device of the network equals the preprocessing of the libraries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchaudio.functional import resample
from transformers import ClapFeatureExtractor, CLIPImageProcessor, SiglipImageProcessor, VideoMAEImageProcessor

from tests.films import textured
from tests.tolerances import FLOAT32
from var_plugin.encoders.backbones.clap import spectrograms
from var_plugin.encoders.backbones.clip import preprocess_images

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
def test_images_match_the_image_processor(processor: CLIPImageProcessor) -> None:
    expected = processor(IMAGES, return_tensors="pt")["pixel_values"].float()
    pixels = preprocess_images(IMAGES, processor, CPU, torch.float32)
    torch.testing.assert_close(pixels, expected.reshape(pixels.shape), atol=FLOAT32, rtol=1e-5)
    assert preprocess_images(IMAGES, processor, CPU, torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("truncation", ["rand_trunc", "fusion"])
def test_spectrograms_match_the_feature_extractor(truncation: str) -> None:
    processor = ClapFeatureExtractor(max_length_s=2, truncation=truncation, padding="repeatpad")
    random = np.random.default_rng(0)
    tone = np.sin(np.arange(32_000) * 0.3) * np.linspace(0, 1, 32_000)
    windows = np.stack([random.normal(0, 0.1, 32_000), tone, np.zeros(32_000)]).astype(np.float32)
    at_48 = resample(torch.from_numpy(windows), 16_000, 48_000).numpy()
    expected = processor(list(at_48), sampling_rate=48_000, return_tensors="pt")["input_features"].float()
    features = spectrograms(torch.from_numpy(windows), processor)
    assert features.shape == expected.shape
    torch.testing.assert_close(features, expected, atol=1e-3, rtol=1e-5)
