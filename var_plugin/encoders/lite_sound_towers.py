"""The parts of the lite `sound` space: log-mel windows, and features of sounds and of sentences to unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from var_plugin.encoders.lite_sound import FULLY_AUDIBLE
from var_plugin.media.audio import SAMPLE_RATE

BANDS = 64
HOP = 160
"""Samples from frame to frame: 10 ms."""
WINDOW_FRAMES = 96
"""Frames of a window: 0.975 s, what is heard at once."""

_FRAME, _FFT = 400, 512
_LOWEST, _HIGHEST = 125.0, 7_500.0
_FLOOR = 1e-3


class LogMel(nn.Module):
    """Samples to logarithmic mel magnitudes: 25 ms Hann frames every 10 ms, 64 bands from 125 to 7500 Hz."""

    def __init__(self) -> None:
        super().__init__()
        from torchaudio.functional import melscale_fbanks

        bank = melscale_fbanks(_FFT // 2 + 1, _LOWEST, _HIGHEST, BANDS, SAMPLE_RATE)
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("hann", torch.hann_window(_FRAME), persistent=False)

    bank: Tensor
    hann: Tensor

    def forward(self, samples: Tensor) -> Tensor:
        """Map (batch, samples) in -1…1 to (batch, frames, 64), frames = (samples - 400) // 160 + 1."""
        spectrum = torch.fft.rfft(samples.unfold(-1, _FRAME, HOP) * self.hann, n=_FFT).abs()
        return log_magnitudes(spectrum @ self.bank)


def magnitudes(log_mel: Tensor) -> Tensor:
    """Undo the logarithm of `LogMel`."""
    return (log_mel.exp() - _FLOOR).clamp_min(0)


def log_magnitudes(mel: Tensor) -> Tensor:
    """Apply the logarithm of `LogMel`."""
    return (mel + _FLOOR).log()


class Tower(nn.Module):
    """Features to the space: a linear map, which keeps neighbours neighbours, and a small residual branch."""

    def __init__(self, width: int, *, hidden: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.project = nn.Linear(width, dim)
        last = nn.Linear(hidden, dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.residual = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), last)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Map (..., width) to (..., dim) of length one."""
        features = self.dropout(features)
        return F.normalize(self.project(features) + self.residual(features), dim=-1)


class Audible(nn.Module):
    """How much a sentence speaks of something to hear: a logistic regression on its vector, then `FULLY_AUDIBLE`.

    So sentences that clearly speak of sounds compete among each other as if there were no others.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, sentences: Tensor) -> Tensor:
        """Map (batch, width) to (batch,) in 0…1."""
        found: Tensor = self.linear(sentences).squeeze(-1).sigmoid()
        return (found / FULLY_AUDIBLE).clamp(max=1)
