"""PyTorch modules of the lite suite: towers, text heads, log-mel features and the audio network.

Importing this module imports torch. The encoders import it only when they load their weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from var_plugin.encoders.lite.audio import AUDIBLE_THRESHOLD, BANDS, HOP
from var_plugin.media.decoded import SAMPLE_RATE

_FRAME, _FFT = 400, 512
_LOWEST, _HIGHEST = 125.0, 7_500.0
_FLOOR = 1e-3
# Approximate mean and standard deviation of log-mel values over all kinds of recordings.
_MEAN, _DEVIATION = -3.5, 2.5


class TokenTower(nn.Module):
    """Pool tokens into one L2-normalised vector.

    The mean and several attention-weighted means of the tokens are concatenated and projected. A residual MLP on the
    mean adds a non-linear part.

    Args:
        width: dimension of the tokens.
        queries: number of attention-weighted means.
        hidden: hidden units of the residual MLP.
        dim: dimension of the vectors.
        dropout: dropout probability.
    """

    def __init__(self, width: int, *, queries: int, hidden: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = nn.Linear(width, queries)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width * (queries + 1), dim)
        self.residual = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map tokens (batch, time, width) to L2-normalised vectors (batch, dim) float32.

        Args:
            tokens: the tokens.
            mask: (batch, time), 0 for padding. None: no padding.
        """
        if mask is None:
            mask = tokens.new_ones(tokens.shape[:2])
        uniform = torch.zeros_like(tokens[..., :1])
        scores = torch.cat([uniform, self.attention(tokens)], dim=-1)
        weights = scores.masked_fill(mask[..., None] == 0, float("-inf")).softmax(dim=1)
        pooled = self.dropout(self.norm(weights.transpose(1, 2) @ tokens))
        vectors: Tensor = self.project(pooled.flatten(1)) + self.residual(pooled[:, 0])
        return F.normalize(vectors, dim=-1)


class SentenceTower(nn.Module):
    """Project features into the space with a linear layer and a zero-initialised residual MLP.

    Args:
        width: dimension of the features.
        hidden: hidden units of the residual MLP.
        dim: dimension of the vectors.
        dropout: dropout probability.
    """

    def __init__(self, width: int, *, hidden: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.project = nn.Linear(width, dim)
        last = nn.Linear(hidden, dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.residual = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), last)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (..., width) to L2-normalised vectors (..., dim)."""
        features = self.dropout(features)
        return F.normalize(self.project(features) + self.residual(features), dim=-1)


class ConSEHead:
    """Map class logits and sentence vectors to one space with ConSE (Norouzi et al. 2014), without training."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Store the tensors that `recipes.lite.lite_model.fit_conse_head` computes.

        Args:
            tensors: by name:
                "centre" (384,) and "projection" (384, dim): mean and principal directions of the class names.
                "classes" (1000, dim): the projected class names.
                "caption_centre" (384,) and "caption_directions" (384, k): the same for captions.
                "familiar" (2,): typical in-distribution ratio of a class name and of a caption.
        """
        self._tensors = tensors

    def image(self, logits: Tensor) -> Tensor:
        """Map ImageNet logits (batch, 1000) to L2-normalised vectors (batch, dim)."""
        return F.normalize(logits.softmax(dim=-1) @ self._tensors["classes"], dim=-1)

    def text(self, sentences: Tensor) -> Tensor:
        """Map sentence vectors (batch, 384) of the original MiniLM to L2-normalised vectors (batch, dim)."""
        return F.normalize((sentences - self._tensors["centre"]) @ self._tensors["projection"], dim=-1)

    def out_of_distribution_score(self, sentences: Tensor) -> Tensor:
        """Return the out-of-distribution score (batch,) of sentence vectors (batch, 384).

        The score is 0 for a typical caption and 1 for a text as far from captions as a class name.
        """
        name, caption = self._tensors["familiar"]
        ratio = in_distribution_ratio(sentences, self._tensors["caption_centre"], self._tensors["caption_directions"])
        distance: Tensor = (caption - ratio) / (caption - name)
        return distance.clamp(0, 1)


def in_distribution_ratio(sentences: Tensor, centre: Tensor, directions: Tensor) -> Tensor:
    """Return the share (batch,), in 0…1, of the squared norm of each centred vector inside the captions' subspace.

    Args:
        sentences: sentence vectors (batch, 384).
        centre: mean of the captions (384,).
        directions: orthonormal basis (384, k) of the subspace.
    """
    centred = sentences - centre
    inside: Tensor = (centred @ directions).square().sum(-1)
    return inside / centred.square().sum(-1).clamp_min(torch.finfo().tiny)


class LowRank(nn.Module):
    """Low-rank parametrisation of a frozen weight (LoRA, Hu et al. 2021), zero-initialised."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns, *kernel = weight.shape
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns, *kernel) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight plus its low-rank update, in the shape of the weight."""
        return weight + low_rank_delta(self.up, self.down)


def low_rank_delta(up: Tensor, down: Tensor) -> Tensor:
    """Return the low-rank update of a weight: `up` (rows, rank) @ `down` (rank, columns) or (rank, columns, 1, 1)."""
    delta: Tensor = torch.tensordot(up, down, dims=1)
    return delta


class AudibilityHead(nn.Module):
    """Predict whether a text describes a sound, with a logistic regression on its sentence vector.

    The probability is divided by `AUDIBLE_THRESHOLD` and clamped to 1, so that all texts above the threshold count
    equally.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, sentences: Tensor) -> Tensor:
        """Map sentence vectors (batch, width) to audibility (batch,) in 0…1."""
        probability: Tensor = self.linear(sentences).squeeze(-1).sigmoid()
        return (probability / AUDIBLE_THRESHOLD).clamp(max=1)


def append_null_dim(vectors: Tensor, audible: Tensor) -> Tensor:
    """Scale unit vectors (n, dim) by `audible` (n,) and append a dimension that restores the unit norm."""
    return torch.cat([vectors * audible[:, None], (1 - audible.square()).clamp_min(0).sqrt()[:, None]], dim=1)


class LogMel(nn.Module):
    """Log-mel magnitudes of audio at 16 kHz: 25 ms Hann frames every 10 ms, 64 bands from 125 to 7500 Hz."""

    def __init__(self) -> None:
        super().__init__()
        from torchaudio.functional import melscale_fbanks

        bank = melscale_fbanks(_FFT // 2 + 1, _LOWEST, _HIGHEST, BANDS, SAMPLE_RATE)
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("hann", torch.hann_window(_FRAME), persistent=False)

    bank: Tensor
    hann: Tensor

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples (batch, samples) in -1…1 to (batch, frames, 64), with frames = (samples - 400) // 160 + 1."""
        spectrum = torch.fft.rfft(samples.unfold(-1, _FRAME, HOP) * self.hann, n=_FFT).abs()
        return log_magnitudes(spectrum @ self.bank)


def magnitudes(log_mel: Tensor) -> Tensor:
    """Map log-mel values of `LogMel` back to mel magnitudes."""
    return (log_mel.exp() - _FLOOR).clamp_min(0)


def log_magnitudes(mel: Tensor) -> Tensor:
    """Map mel magnitudes to the log-mel values of `LogMel`."""
    return (mel + _FLOOR).log()


class AudioCNN(nn.Module):
    """Residual CNN that maps log-mel windows to features.

    It uses full convolutions instead of depthwise ones. At the same number of operations they are faster on a CPU.

    Args:
        widths: channels of the stem (stride 4), then of each stage (stride 2).
        residuals: residual convolutions per stage.
        features: number of output features, which the buffers `mean` and `deviation` scale.
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
        """Map log-mel windows (batch, frames, 64) to features (batch, features)."""
        return self.summary(self.maps(log_mel)[-1])

    def maps(self, log_mel: Tensor) -> list[Tensor]:
        """Return the feature map of each stage for log-mel windows (batch, frames, 64).

        The first map has the shape (batch, channels, frames / 8, 64 / 8). Each further stage halves time and frequency.
        """
        x = (log_mel[:, None] - _MEAN) / _DEVIATION
        x = F.relu(self.stem(x.contiguous(memory_format=torch.channels_last)))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def summary(self, last: Tensor) -> Tensor:
        """Map the last feature map (batch, channels, height, width) to (batch, features) by mean and max pooling."""
        features: Tensor = self.last(torch.cat([last.mean((2, 3)), last.amax((2, 3))], dim=1))
        return self.mean + self.deviation * features


class _Stage(nn.Module):
    """A stage of `AudioCNN`: a convolution of stride 2, then residual convolutions."""

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
