"""The torch modules of the lite suite: towers, text heads, log-mel features and the audio network.

Only this module imports torch when it is imported. The encoders import it when they load their weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from var_plugin.encoders.lite.audio import AUDIBLE_THRESHOLD, BANDS, HOP
from var_plugin.media.audio import SAMPLE_RATE

_FRAME, _FFT = 400, 512
_LOWEST, _HIGHEST = 125.0, 7_500.0
_FLOOR = 1e-3
# Approximate mean and standard deviation of log-mel values over all kinds of recordings.
_MEAN, _DEVIATION = -3.5, 2.5


class TokenTower(nn.Module):
    """Tokens to one unit vector: their mean and a few attention-weighted means, projected together.

    The residual branch on the plain mean adds what a linear map cannot say.
    """

    def __init__(self, width: int, *, queries: int, hidden: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = nn.Linear(width, queries)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width * (queries + 1), dim)
        self.residual = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map tokens (batch, time, width), where `mask` (batch, time) is 1, to (batch, dim) float32 of length one."""
        if mask is None:
            mask = tokens.new_ones(tokens.shape[:2])
        uniform = torch.zeros_like(tokens[..., :1])
        scores = torch.cat([uniform, self.attention(tokens)], dim=-1)
        weights = scores.masked_fill(mask[..., None] == 0, float("-inf")).softmax(dim=1)
        pooled = self.dropout(self.norm(weights.transpose(1, 2) @ tokens))
        vectors: Tensor = self.project(pooled.flatten(1)) + self.residual(pooled[:, 0])
        return F.normalize(vectors, dim=-1)


class SentenceTower(nn.Module):
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


class ConSEHead:
    """Class scores and sentence vectors to comparable unit vectors; nothing in it is trained."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `recipes.lite.lite_general.fit_general` computes.

        Args:
            tensors: "centre" (384,) and "projection" (384, dim) of the class names; "classes" (1000, dim), the names
                projected; "caption_centre" (384,) and "caption_directions" (384, k); "familiar" (2,), the part of
                a sentence vector in these directions for an ordinary class name and for an ordinary caption.
        """
        self._tensors = tensors

    def image(self, logits: Tensor) -> Tensor:
        """Map ImageNet logits (batch, 1000) to (batch, dim)."""
        return F.normalize(logits.softmax(dim=-1) @ self._tensors["classes"], dim=-1)

    def text(self, sentences: Tensor) -> Tensor:
        """Map published sentence vectors (batch, 384) to (batch, dim)."""
        return F.normalize((sentences - self._tensors["centre"]) @ self._tensors["projection"], dim=-1)

    def out_of_distribution_score(self, sentences: Tensor) -> Tensor:
        """Return per sentence vector (batch, 384) 0 for an ordinary caption to 1 for what is as far as class names."""
        name, caption = self._tensors["familiar"]
        ratio = in_distribution_ratio(sentences, self._tensors["caption_centre"], self._tensors["caption_directions"])
        distance: Tensor = (caption - ratio) / (caption - name)
        return distance.clamp(0, 1)


def in_distribution_ratio(sentences: Tensor, centre: Tensor, directions: Tensor) -> Tensor:
    """Return the part, in 0…1, of each centred sentence vector that lies in the captions' directions."""
    centred = sentences - centre
    inside: Tensor = (centred @ directions).square().sum(-1)
    return inside / centred.square().sum(-1).clamp_min(torch.finfo().tiny)


class LowRank(nn.Module):
    """A parametrisation: a frozen weight plus a product of two thin matrices (LoRA, Hu et al. 2021), at first zero."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns, *kernel = weight.shape
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns, *kernel) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight, in its own shape."""
        return weight + low_rank_delta(self.up, self.down)


def low_rank_delta(up: Tensor, down: Tensor) -> Tensor:
    """Return the change of a weight: `up` (rows, rank) times `down` (rank, columns), or (rank, columns, 1, 1)."""
    delta: Tensor = torch.tensordot(up, down, dims=1)
    return delta


class AudibilityHead(nn.Module):
    """How much a sentence speaks of something to hear: a logistic regression on its vector, then `AUDIBLE_THRESHOLD`.

    So sentences that clearly speak of sounds compete among each other as if there were no others.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, sentences: Tensor) -> Tensor:
        """Map (batch, width) to (batch,) in 0…1."""
        probability: Tensor = self.linear(sentences).squeeze(-1).sigmoid()
        return (probability / AUDIBLE_THRESHOLD).clamp(max=1)


def append_null_dim(vectors: Tensor, audible: Tensor) -> Tensor:
    """Shorten unit vectors (n, dim) of texts to how `audible` (n,) they are; a last coordinate restores the length."""
    return torch.cat([vectors * audible[:, None], (1 - audible.square()).clamp_min(0).sqrt()[:, None]], dim=1)


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


class AudioCNN(nn.Module):
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
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

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
