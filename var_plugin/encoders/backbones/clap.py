"""CLAP through transformers: sentences and sounds to one space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones.checkpoint import Checkpoint, moved
from var_plugin.encoders.backbones.two_towers import TextTower, TwoTowers, pooled
from var_plugin.encoders.base import Space, Vectors
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.encoders.weight_folder import in_batches
from var_plugin.media.audio import SAMPLE_RATE


def sound_space(checkpoint: Checkpoint) -> SpaceEncoders:
    """Return the space of a CLAP model; its network loads at the first use.

    Raises:
        MissingWeightsError: as `Checkpoint.folder`.
    """
    network = ClapNetwork(checkpoint)
    space = Space("sound", network.dim, "IP", frozenset(("text", "audio")), checkpoint.fingerprint)
    return SpaceEncoders(space, text=TextTower(network), sound=ClapSoundEncoder(network))


class ClapNetwork(TwoTowers):
    """A tower for texts and one for sounds."""

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return int(self.checkpoint.config.projection_dim)

    def tokens(self, texts: Sequence[str]) -> Any:
        """Return token ids and mask."""
        return self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            # RoBERTa counts positions from the padding id on, and so holds two fewer.
            max_length=self.checkpoint.config.text_config.max_position_embeddings - 2,
            return_token_type_ids=False,
            return_tensors="pt",
        )

    @cached_property
    def sound_processor(self) -> Any:
        """The model's own preparation of sounds."""
        from transformers import AutoFeatureExtractor

        return AutoFeatureExtractor.from_pretrained(self.checkpoint.folder, local_files_only=True)


class ClapSoundEncoder:
    """Windows of sound to the space of a CLAP model; satisfies `SoundEncoder`."""

    def __init__(self, network: ClapNetwork) -> None:
        self._network = network

    @property
    def window(self) -> int:
        """Samples that the network hears at once: exactly as many as it neither cuts at random nor repeats."""
        processor = self._network.sound_processor
        return int(processor.nb_max_samples * SAMPLE_RATE // processor.sampling_rate)

    @property
    def hop(self) -> int:
        """Half a window."""
        return self.window // 2

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        """Return (n, dim) float32 of length one for (n, window) float32 in -1…1, 16 kHz mono."""
        return in_batches(self._encode, windows, self._network.dim)

    def _encode(self, windows: NDArray[np.float32]) -> Vectors:
        import torch
        from torchaudio.functional import resample

        processor, model = self._network.sound_processor, self._network.model
        sounds = resample(torch.from_numpy(windows), SAMPLE_RATE, processor.sampling_rate).numpy()
        features = processor(list(sounds), sampling_rate=processor.sampling_rate, return_tensors="pt")
        # The processor calls one sound of a batch "longer" at random, for models that fuse long ones.
        longer = torch.zeros(len(windows), 1, dtype=torch.bool, device=model.device)
        spectrograms = moved(features["input_features"], model.device, model.dtype)
        return pooled(model.get_audio_features(input_features=spectrograms, is_longer=longer))
