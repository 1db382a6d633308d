"""The towers of the lite `sound` space: windows of sound, and sentence vectors, to comparable unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from var_plugin.media.audio import SAMPLE_RATE

BANDS = 64
HOP = 160
"""Samples from frame to frame: 10 ms."""
WINDOW_FRAMES = 96
"""Frames of a window: 0.975 s, what the teacher YAMNet hears at once."""

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


class SoundTower(nn.Module):
    """A small residual network over log-mel windows; time and frequency are averaged at the end."""

    def __init__(self, *, width: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _convolution(1, width, stride=2),
            _convolution(width, 2 * width, stride=2),
            _Residual(2 * width),
            _convolution(2 * width, 4 * width, stride=2),
            _Residual(4 * width),
            _convolution(4 * width, 8 * width, stride=2),
            _Residual(8 * width),
        )
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(self.features_width(width), dim)

    @staticmethod
    def features_width(width: int) -> int:
        """Number of features that the trunk gives a window."""
        return 16 * width

    def features(self, log_mel: Tensor) -> Tensor:
        """Map (batch, 96, 64) to (batch, 16 * width): mean and maximum over the window."""
        x = self.trunk(log_mel[:, None].contiguous(memory_format=torch.channels_last))
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Map (batch, 96, 64) to (batch, dim) of length one."""
        return self.to_space(self.features(log_mel))

    def to_space(self, features: Tensor) -> Tensor:
        """Map what `features` returns to (batch, dim) of length one."""
        return F.normalize(self.project(self.dropout(features)), dim=-1)


class SentenceTower(nn.Module):
    """Sentence vectors to the space: a linear map, which keeps neighbours neighbours, and a small residual branch."""

    def __init__(self, width: int, *, hidden: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.project = nn.Linear(width, dim)
        last = nn.Linear(hidden, dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.residual = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), last)
        self.dropout = nn.Dropout(dropout)

    def forward(self, sentences: Tensor) -> Tensor:
        """Map (..., width) to (..., dim) of length one."""
        sentences = self.dropout(sentences)
        return F.normalize(self.project(sentences) + self.residual(sentences), dim=-1)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = _convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.branch(x)
        return out


def _convolution(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
