"""The sound network of the lite suite, our own: a small residual network over log-mel windows.

It was taught to hear what YAMNet hears; nothing of YAMNet's weights is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Mean and deviation of log-mel values, roughly, over all kinds of sounds.
_MEAN, _DEVIATION = -3.5, 2.5


class SoundNetwork(nn.Module):
    """Log-mel windows to features.

    Full convolutions instead of depthwise ones: as many operations take less time on a CPU.

    Args:
        widths: channels of the first convolution, which leaves a quarter of the time and of the frequencies, and of the
            stages, which leave half of them each.
        residuals: residual convolutions of a stage.
        features: how many come out. What the last layer gives is scaled by the buffers `mean` and `deviation`.
    """

    def __init__(self, widths: Sequence[int], residuals: int, features: int) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.stem = _convolution(1, widths[0], kernel=7, stride=4)
        self.stages = nn.ModuleList(_Stage(inputs, outputs, residuals) for inputs, outputs in pairwise(widths))
        self.last = nn.Linear(2 * widths[-1], features)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    mean: Tensor
    deviation: Tensor

    def forward(self, log_mel: Tensor) -> Tensor:
        """Map (batch, frames, 64) to (batch, features)."""
        return self.summary(self.maps(log_mel)[-1])

    def maps(self, log_mel: Tensor) -> list[Tensor]:
        """Map (batch, frames, 64) to what each stage makes of it, (batch, channels, frames / 8, 64 / 8) and on."""
        x = (log_mel[:, None] - _MEAN) / _DEVIATION
        x = F.relu(self.stem(x.contiguous(memory_format=torch.channels_last)))
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def summary(self, last: Tensor) -> Tensor:
        """Map what the last stage made (batch, channels, height, width) to (batch, features)."""
        features: Tensor = self.last(torch.cat([last.mean((2, 3)), last.amax((2, 3))], dim=1))
        return self.mean + self.deviation * features


class _Stage(nn.Module):
    """Half the time, half the frequency, other channels; then residual convolutions."""

    def __init__(self, inputs: int, outputs: int, residuals: int) -> None:
        super().__init__()
        self.halve = _convolution(inputs, outputs, kernel=3, stride=2)
        self.residuals = nn.ModuleList(_convolution(outputs, outputs, kernel=3, stride=1) for _ in range(residuals))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height / 2, width / 2)."""
        x = F.relu(self.halve(x))
        for residual in self.residuals:
            x = x + F.relu(residual(x))
        return x


def _convolution(inputs: int, outputs: int, *, kernel: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))
