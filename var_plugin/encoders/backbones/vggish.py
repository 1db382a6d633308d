"""VGGish (Hershey et al. 2017; Google, Apache-2.0, trained for AudioSet): 128 features per log-mel window of 0.96 s.

Parameter names and shapes are those of the common torch checkpoint (`vggish-10086976.pth` of harritaylor/torchvggish).
As in that checkpoint, and unlike in newer versions of Google's code, the last layer is a ReLU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from var_plugin.media.decoded import SAMPLE_RATE

WIDTH = 128
"""Features per window."""
WINDOW = 15_600
"""Samples per window: 96 frames of 25 ms with a hop of 10 ms."""

BANDS = 64
_FRAMES = 96
_FRAME, _FFT, _HOP = 400, 512, 160
_MIN_HERTZ, _MAX_HERTZ = 125.0, 7_500.0
_OFFSET = 0.01

# Output channels of the convolutions. 0 stands for a pool.
_CONVOLUTIONS = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0)
_HIDDEN = 4_096
_REDUCTION = 2 ** _CONVOLUTIONS.count(0)

_MIN_QUANTIZED, _MAX_QUANTIZED = -2.0, 2.0


class VGGish(nn.Module):
    """VGGish network for inference."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for outputs in _CONVOLUTIONS:
            if outputs:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        flat = inputs * (_FRAMES // _REDUCTION) * (BANDS // _REDUCTION)
        self.embeddings = nn.Sequential(
            nn.Linear(flat, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, WIDTH), nn.ReLU()  # noqa: E501
        )  # fmt: skip

    def forward(self, log_mel: Tensor) -> Tensor:
        """Map log-mel windows (batch, 96, 64) to features (batch, 128), which are not negative."""
        maps = self.features(log_mel[:, None])
        features: Tensor = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))  # channels last, as in training
        return features


class Whitening(nn.Module):
    """PCA rotation, clipping and quantisation to 0…255, as applied to the published AudioSet features."""

    def __init__(self) -> None:
        super().__init__()
        self.pca_eigen_vectors = nn.Parameter(torch.eye(WIDTH))
        self.pca_means = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, 128) to integers (batch, 128)."""
        whitened = (features - self.pca_means) @ self.pca_eigen_vectors.T
        clipped = whitened.clamp(_MIN_QUANTIZED, _MAX_QUANTIZED)
        return ((clipped - _MIN_QUANTIZED) * (255 / (_MAX_QUANTIZED - _MIN_QUANTIZED))).round()


def log_mel(windows: Tensor) -> Tensor:
    """Map samples (batch, 15600) in -1…1 at 16 kHz to log mel magnitudes (batch, 96, 64), with an offset of 0.01."""
    hann = torch.hann_window(_FRAME, device=windows.device)
    spectrum = torch.fft.rfft(windows.unfold(-1, _FRAME, _HOP) * hann, n=_FFT).abs()
    logarithms: Tensor = (spectrum @ mel_bank().to(windows.device) + _OFFSET).log()
    return logarithms


def mel_bank() -> Tensor:
    """Return (257, 64): triangular filters on the mel scale, not in hertz as in torchaudio. The DC bin is zero."""
    mels = _mel(torch.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1, dtype=torch.float64))[:, None]
    low, high = _mel(torch.tensor([_MIN_HERTZ, _MAX_HERTZ], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, BANDS + 2, dtype=torch.float64)
    rising = (mels - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mels) / (edges[2:] - edges[1:-1])
    bank = torch.minimum(rising, falling).clamp_min(0)
    bank[0] = 0
    return bank.float()


def _mel(hertz: Tensor) -> Tensor:
    return 1_127 * torch.log1p(hertz / 700)
