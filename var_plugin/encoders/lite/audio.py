"""The encoders of the lite `sound` space: what a small network hears meets MiniLM's sentences, on a CPU, offline.

The last coordinate is that of what cannot be heard: 0 for sounds; for a text, the less it speaks of a sound, the more
of its length lies there. So a text about looks is near no sound at all, whatever its nearest words are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from var_plugin.encoders.backbones.minilm import PACKAGE, WIDTH, MiniLM
from var_plugin.encoders.base import Space, Vectors
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.encoders.weights import LITE, WeightFolder, in_batches
from var_plugin.media.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from torch import Tensor

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


class AudibilityHead(nn.Module):
    """How much a sentence speaks of something to hear: a logistic regression on its vector, then `AUDIBLE_THRESHOLD`.

    So sentences that clearly speak of sounds compete among each other as if there were no others.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, sentences: Tensor) -> Tensor:
        """Map (batch, width) to (batch,) in 0…1."""
        found: Tensor = self.linear(sentences).squeeze(-1).sigmoid()
        return (found / AUDIBLE_THRESHOLD).clamp(max=1)


AUDIBLE_THRESHOLD = 0.25
"""A text of which a regression says that it is with this probability about a sound counts as fully so."""


def build(backbone: Callable[[], MiniLM], folder: Path = LITE) -> SpaceEncoders:
    """Return the encoders of the space; nothing but the configuration is read before their first use.

    Args:
        backbone: returns the sentence network, which other spaces may use as well.
        folder: where the weights are.
    """
    weights = LiteSoundWeights(folder)
    space = Space(
        name="sound",
        dim=weights.configuration["dim"],
        metric="IP",
        modalities=frozenset(("audio", "text")),
        fingerprint=weights.fingerprint,
    )
    return SpaceEncoders(
        space,
        text=LiteSoundTextEncoder(folder, backbone),
        audio=LiteSoundEncoder(folder),
        score_statistics=weights.score_statistics(),
        calibrators=weights.calibrators(),
    )


class LiteSoundEncoder:
    """Windows of sound to the `sound` space; satisfies `AudioEncoder`."""

    window = 15_600
    """0.975 s, what the network was trained on."""
    hop = 7_680

    def __init__(self, folder: Path = LITE) -> None:
        """Remember where the weights are; they load at the first `encode`."""
        self._weights = LiteSoundWeights(folder)

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        """Return (n, dim) float32 of length one for windows (n, 15600) float32 in -1…1, 16 kHz.

        Raises:
            MissingWeightsError: weights are missing.
        """
        return in_batches(self._encode, windows, self._weights.configuration["dim"])

    def _encode(self, windows: NDArray[np.float32]) -> Vectors:
        import torch
        from torch.nn import functional as F

        heard = self._tower(self.network(self._log_mel(torch.from_numpy(windows))))
        return np.asarray(F.pad(heard, (0, 1)).numpy(), np.float32)

    @cached_property
    def _log_mel(self) -> LogMel:

        return LogMel()

    @cached_property
    def network(self) -> SoundNetwork:
        """The network below the tower: log-mel windows to features."""
        network = SoundNetwork(**self._weights.configuration["network"])
        network.load_state_dict(self._weights.part("network"))
        return network.eval()

    @cached_property
    def _tower(self) -> Tower:
        return self._weights.tower("sound_tower", self._weights.configuration["network"]["features"])


class LiteSoundTextEncoder:
    """Sentences to the `sound` space; satisfies `TextEncoder`."""

    def __init__(self, folder: Path = LITE, backbone: Callable[[], MiniLM] = MiniLM) -> None:
        """Remember where the weights are; they load at the first `encode`."""
        self._weights = LiteSoundWeights(folder)
        self._load_backbone = backbone

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 of length one.

        Raises:
            MissingWeightsError: weights are missing.
        """
        return in_batches(self._encode, texts, self._weights.configuration["dim"])

    def _encode(self, texts: Sequence[str]) -> Vectors:
        sentences = self._backbone.sentence(*self._backbone.trunk(texts))
        return np.asarray(append_null_dim(self._tower(sentences), self._audible(sentences)).numpy(), np.float32)

    @cached_property
    def _backbone(self) -> MiniLM:
        return self._load_backbone()

    @cached_property
    def _tower(self) -> Tower:
        return self._weights.tower("sentence_tower", WIDTH)

    @cached_property
    def _audible(self) -> AudibilityHead:

        audible = AudibilityHead(WIDTH)
        audible.load_state_dict(self._weights.part("audible"))
        return audible.eval()


class LiteSoundWeights(WeightFolder):
    """A folder with `sound.safetensors` and `sound.json`, read when needed."""

    def __init__(self, folder: Path = LITE) -> None:
        """Remember the folder."""
        super().__init__(folder, "sound", depends_on=PACKAGE)

    def tower(self, name: str, width: int) -> Tower:
        """Return the tower of that name, which takes vectors of that width, ready for use."""
        tower = Tower(width, **self.configuration[name])
        tower.load_state_dict(self.part(name))
        return tower.eval()


def append_null_dim(vectors: Tensor, audible: Tensor) -> Tensor:
    """Shorten unit vectors (n, dim) of texts to how `audible` (n,) they are; a last coordinate restores the length."""
    import torch

    return torch.cat([vectors * audible[:, None], (1 - audible.square()).clamp_min(0).sqrt()[:, None]], dim=1)


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
