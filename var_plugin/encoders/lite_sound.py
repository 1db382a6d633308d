"""The encoders of the lite `sound` space: what a small network hears meets MiniLM's sentences, on a CPU, offline.

The last coordinate is that of what cannot be heard: 0 for sounds; for a text, the less it speaks of a sound, the more
of its length lies there. So a text about looks is near no sound at all, whatever its nearest words are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones.minilm import PACKAGE, WIDTH, MiniLM
from var_plugin.encoders.base import Space, Vectors
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.encoders.weight_folder import LITE, WeightFolder, in_batches

if TYPE_CHECKING:
    from torch import Tensor

    from var_plugin.encoders.backbones.sound_network import SoundNetwork
    from var_plugin.encoders.lite_sound_towers import Audible, LogMel, Tower

FULLY_AUDIBLE = 0.25
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
        sound=LiteSoundEncoder(folder),
        backgrounds=weights.backgrounds(),
        confidences=weights.confidences(),
    )


class LiteSoundEncoder:
    """Windows of sound to the `sound` space; satisfies `SoundEncoder`."""

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
        from var_plugin.encoders.lite_sound_towers import LogMel

        return LogMel()

    @cached_property
    def network(self) -> SoundNetwork:
        """The network below the tower: log-mel windows to features."""
        from var_plugin.encoders.backbones.sound_network import SoundNetwork

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
        return np.asarray(join_audible(self._tower(sentences), self._audible(sentences)).numpy(), np.float32)

    @cached_property
    def _backbone(self) -> MiniLM:
        return self._load_backbone()

    @cached_property
    def _tower(self) -> Tower:
        return self._weights.tower("sentence_tower", WIDTH)

    @cached_property
    def _audible(self) -> Audible:
        from var_plugin.encoders.lite_sound_towers import Audible

        audible = Audible(WIDTH)
        audible.load_state_dict(self._weights.part("audible"))
        return audible.eval()


class LiteSoundWeights(WeightFolder):
    """A folder with `sound.safetensors` and `sound.json`, read when needed."""

    def __init__(self, folder: Path = LITE) -> None:
        """Remember the folder."""
        super().__init__(folder, "sound", stands_on=PACKAGE)

    def tower(self, name: str, width: int) -> Tower:
        """Return the tower of that name, which takes vectors of that width, ready for use."""
        from var_plugin.encoders.lite_sound_towers import Tower

        tower = Tower(width, **self.configuration[name])
        tower.load_state_dict(self.part(name))
        return tower.eval()


def join_audible(vectors: Tensor, audible: Tensor) -> Tensor:
    """Shorten unit vectors (n, dim) of texts to how `audible` (n,) they are; a last coordinate restores the length."""
    import torch

    return torch.cat([vectors * audible[:, None], (1 - audible.square()).clamp_min(0).sqrt()[:, None]], dim=1)
