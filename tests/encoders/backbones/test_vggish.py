"""Compare VGGish with facts about the public checkpoint and with a NumPy implementation of the description."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.encoders.backbones.published import random_weights
from tests.tolerances import FLOAT32
from tests.tones import sine
from var_plugin.encoders.backbones.vggish import WIDTH, WINDOW, VGGish, Whitening, log_mel, mel_bank

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def weights() -> Iterator[dict[str, torch.Tensor]]:
    yield random_weights("vggish")


def mel(hertz: float) -> float:
    return 1127.0 * np.log(1 + hertz / 700.0)


def reference_bank() -> Array:
    """Return 64 triangles from 125 to 7500 Hz. The DC bin belongs to none."""
    borders = [mel(125) + i * (mel(7500) - mel(125)) / 65 for i in range(66)]
    weights = np.zeros((257, 64))
    for point in range(1, 257):
        at = mel(point * 16_000 / 512)
        for band in range(64):
            left, middle, right = borders[band : band + 3]
            if left < at <= middle:
                weights[point, band] = (at - left) / (middle - left)
            elif middle < at < right:
                weights[point, band] = (right - at) / (right - middle)
    return weights


def reference_log_mel(samples: NDArray[np.float32]) -> Array:
    """Periodic Hann windows of 25 ms with a hop of 10 ms, 512-point magnitudes, mel bands, log(x + 0.01)."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    starts = range(0, len(samples) - 399, 160)
    frames = np.stack([samples[start : start + 400] * hann for start in starts])
    return np.log(np.abs(np.fft.rfft(frames, 512)) @ reference_bank() + 0.01)


def reference_network(w: dict[str, torch.Tensor], spectrogram: Array) -> Array:
    """Channels last, as in the original. Weights are read by their published indices."""
    x = spectrogram[:, :, None]
    for index, has_pool in ((0, True), (3, True), (6, False), (8, True), (11, False), (13, True)):
        kernel, bias = w[f"features.{index}.weight"].numpy(), w[f"features.{index}.bias"].numpy()
        height, width, _ = x.shape
        framed = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        x = bias + sum(framed[i : i + height, j : j + width] @ kernel[:, :, i, j].T for i in range(3) for j in range(3))
        x = np.maximum(x, 0)
        if has_pool:
            x = x.reshape(height // 2, 2, width // 2, 2, -1).max(axis=(1, 3))
    x = x.reshape(-1)
    for index in (0, 2, 4):
        x = np.maximum(w[f"embeddings.{index}.weight"].numpy() @ x + w[f"embeddings.{index}.bias"].numpy(), 0)
    return x


def test_spectrogram_matches_the_published_constants() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, WINDOW).astype(np.float32)
    windows = np.stack([noise, sine(440, 1.0)[:WINDOW], np.zeros(WINDOW, np.float32)])
    spectrogram = log_mel(torch.from_numpy(windows)).numpy()
    assert spectrogram.shape == (3, 96, 64)
    np.testing.assert_allclose(spectrogram, np.stack([reference_log_mel(window) for window in windows]), atol=5e-4)
    assert spectrogram[2] == pytest.approx(np.log(0.01))


def test_bands_are_triangles_on_the_mel_scale() -> None:
    """The bands of torchaudio are linear in hertz, which differs in the third digit."""
    np.testing.assert_allclose(mel_bank().numpy(), reference_bank(), atol=FLOAT32)


def test_features_match_the_reference(weights: dict[str, torch.Tensor]) -> None:
    network = VGGish().eval()
    network.load_state_dict(weights, assign=True)
    samples = torch.from_numpy(np.random.default_rng(1).normal(0, 0.1, (2, WINDOW)).astype(np.float32))
    with torch.inference_mode():
        features = network(log_mel(samples)).numpy()
    assert features.shape == (2, WIDTH) and features.std() > 0.01 and (features >= 0).all()
    expected = np.stack([reference_network(weights, reference_log_mel(window)) for window in samples.numpy()])
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_names_and_shapes_match_the_public_checkpoint() -> None:
    """`vggish-10086976.pth` has 288,567,937 bytes, including names and shapes, in float32."""
    with torch.device("meta"):
        state = VGGish().state_dict()
    assert {key: tuple(value.shape) for key, value in state.items() if key.endswith("weight")} == {
        "features.0.weight": (64, 1, 3, 3), "features.3.weight": (128, 64, 3, 3), "features.6.weight": (256, 128, 3, 3),
        "features.8.weight": (256, 256, 3, 3), "features.11.weight": (512, 256, 3, 3),
        "features.13.weight": (512, 512, 3, 3), "embeddings.0.weight": (4096, 12288),
        "embeddings.2.weight": (4096, 4096), "embeddings.4.weight": (128, 4096),
    }  # fmt: skip
    assert len(state) == 18
    assert 0 < 288_567_937 - 4 * sum(value.numel() for value in state.values()) < 4_000


def test_whitening_is_pca_clipping_and_rounding() -> None:
    random = np.random.default_rng(2)
    whitening = Whitening()
    vectors, means, features = (
        random.normal(0, 0.2, (128, 128)),
        random.normal(0, 1, 128),
        random.normal(0, 1, (5, 128)),
    )
    whitening.load_state_dict(
        {"pca_eigen_vectors": torch.tensor(vectors).float(), "pca_means": torch.tensor(means).float()}
    )
    with torch.inference_mode():
        whitened = whitening(torch.tensor(features).float()).numpy()
    exact = (np.clip(vectors @ (features.T - means[:, None]), -2, 2).T + 2) * 255 / 4
    assert np.array_equal(whitened, np.rint(whitened)) and whitened.min() == 0 and whitened.max() == 255
    assert np.abs(whitened - exact).max() < 0.501
