"""Encoders of the lite suite's `sound` space: a small audio network and MiniLM, on a CPU, offline.

The last dimension of the space marks what is not audible. It is 0 for audio. For a text it is the larger, the less
the text describes a sound. A text about appearance therefore has a low similarity to every recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones.minilm import PACKAGE, WIDTH, MiniLM
from var_plugin.encoders.base import Space, Vectors, in_batches
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.encoders.weights import LITE, WeightFolder

if TYPE_CHECKING:
    from var_plugin.encoders.lite.networks import AudibilityHead, AudioCNN, LogMel, SentenceTower

BANDS = 64
"""Number of mel bands."""
HOP = 160
"""Samples between spectral frames: 10 ms."""
WINDOW_FRAMES = 96
"""Spectral frames of one window: 0.975 s."""
AUDIBLE_THRESHOLD = 0.25
"""Texts predicted to describe a sound with at least this probability count as fully audible."""


def build(backbone: Callable[[], MiniLM], folder: Path = LITE) -> SpaceEncoders:
    """Return the encoders of the `sound` space. Only the configuration is read; weights load on first use.

    Args:
        backbone: returns the sentence network, which other spaces can share.
        folder: folder with the weights.
    """
    weights = LiteAudioWeights(folder)
    space = Space(
        name="sound",
        dim=weights.configuration["dim"],
        metric="IP",
        modalities=frozenset(("audio", "text")),
        fingerprint=weights.fingerprint,
    )
    return SpaceEncoders(
        space,
        text=LiteAudioTextEncoder(folder, backbone),
        audio=LiteAudioEncoder(folder),
        score_statistics=weights.score_statistics(),
        calibrators=weights.calibrators(),
    )


class LiteAudioEncoder:
    """Encode windows of audio into the `sound` space; an `AudioEncoder`.

    Args:
        folder: folder with the weights. They load at the first `encode`.
    """

    window = 15_600
    """Samples of one window: 0.975 s, as in training."""
    hop = 7_680
    """Samples between the starts of neighbouring windows."""

    def __init__(self, folder: Path = LITE) -> None:
        self._weights = LiteAudioWeights(folder)

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        """Return L2-normalised vectors (n, dim) float32.

        Args:
            windows: (n, 15600) float32 in -1…1, 16 kHz.

        Raises:
            MissingWeightsError: a weight file is missing.
        """
        return in_batches(self._encode, windows, self._weights.configuration["dim"])

    def _encode(self, windows: NDArray[np.float32]) -> Vectors:
        import torch
        from torch.nn import functional as F

        vectors = self._tower(self.network(self._log_mel(torch.from_numpy(windows))))
        return np.asarray(F.pad(vectors, (0, 1)).numpy(), np.float32)

    @cached_property
    def _log_mel(self) -> LogMel:
        from var_plugin.encoders.lite.networks import LogMel

        return LogMel()

    @cached_property
    def network(self) -> AudioCNN:
        """The network below the tower: log-mel windows to features."""
        from var_plugin.encoders.lite.networks import AudioCNN

        network = AudioCNN(**self._weights.configuration["network"])
        network.load_state_dict(self._weights.part("network"))
        return network.eval()

    @cached_property
    def _tower(self) -> SentenceTower:
        return self._weights.tower("sound_tower", self._weights.configuration["network"]["features"])


class LiteAudioTextEncoder:
    """Encode texts into the `sound` space; a `TextEncoder`.

    Args:
        folder: folder with the weights. They load at the first `encode`.
        backbone: returns the sentence network.
    """

    def __init__(self, folder: Path = LITE, backbone: Callable[[], MiniLM] = MiniLM) -> None:
        self._weights = LiteAudioWeights(folder)
        self._load_backbone = backbone

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return L2-normalised vectors (n, dim) float32.

        Raises:
            MissingWeightsError: a weight file is missing.
        """
        return in_batches(self._encode, texts, self._weights.configuration["dim"])

    def _encode(self, texts: Sequence[str]) -> Vectors:
        from var_plugin.encoders.lite.networks import append_null_dim

        sentences = self._backbone.sentence(*self._backbone.trunk(texts))
        return np.asarray(append_null_dim(self._tower(sentences), self._audibility(sentences)).numpy(), np.float32)

    @cached_property
    def _backbone(self) -> MiniLM:
        return self._load_backbone()

    @cached_property
    def _tower(self) -> SentenceTower:
        return self._weights.tower("sentence_tower", WIDTH)

    @cached_property
    def _audibility(self) -> AudibilityHead:
        from var_plugin.encoders.lite.networks import AudibilityHead

        head = AudibilityHead(WIDTH)
        head.load_state_dict(self._weights.part("audible"))
        return head.eval()


class LiteAudioWeights(WeightFolder):
    """A folder with `sound.safetensors` and `sound.json`, read on first use.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path = LITE) -> None:
        super().__init__(folder, "sound", depends_on=PACKAGE)

    def tower(self, name: str, width: int) -> SentenceTower:
        """Return the tower of that name with its weights, in evaluation mode. Its inputs have the dimension `width`."""
        from var_plugin.encoders.lite.networks import SentenceTower

        tower = SentenceTower(width, **self.configuration[name])
        tower.load_state_dict(self.part(name))
        return tower.eval()
