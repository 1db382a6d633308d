"""CLAP through transformers: sentences and sounds to one space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones.clip import TextTower, TwoTowers, pooled
from var_plugin.encoders.base import Space, Vectors
from var_plugin.encoders.hub import Checkpoint, moved
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.encoders.weights import in_batches
from var_plugin.media.audio import SAMPLE_RATE

if TYPE_CHECKING:
    import torch

_FAINTEST = 1e-10
"""Power below which the library's logarithm does not go."""


def sound_space(checkpoint: Checkpoint) -> SpaceEncoders:
    """Return the space of a CLAP model; its network loads at the first use.

    Raises:
        MissingWeightsError: as `Checkpoint.folder`.
    """
    network = ClapNetwork(checkpoint)
    space = Space("sound", network.dim, "IP", frozenset(("text", "audio")), checkpoint.fingerprint)
    return SpaceEncoders(space, text=TextTower(network), audio=ClapSoundEncoder(network))


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

        return AutoFeatureExtractor.from_pretrained(
            self.checkpoint.folder, local_files_only=True, trust_remote_code=False
        )


class ClapSoundEncoder:
    """Windows of sound to the space of a CLAP model; satisfies `AudioEncoder`."""

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

        model = self._network.model
        # Apple's GPUs have no numbers of 64 bits.
        where = torch.device("cpu") if model.device.type == "mps" else model.device
        heard = moved(torch.from_numpy(windows), where, torch.float32)
        # The processor calls one sound of a batch "longer" at random, for models that fuse long ones.
        longer = torch.zeros(len(windows), 1, dtype=torch.bool, device=model.device)
        prepared = spectrograms(heard, self._network.sound_processor).to(model.device, model.dtype)
        return pooled(model.get_audio_features(input_features=prepared, is_longer=longer))


def spectrograms(windows: torch.Tensor, processor: Any) -> torch.Tensor:
    """Return what a model's own preparation makes of windows as long as it hears at once, on their device.

    The library's code runs on the CPU, one window at a time: on a GPU that took 24 times as long as the network.

    Args:
        windows: (n, samples) float32 in -1…1, 16 kHz mono.
        processor: the model's preparation, whose numbers count.

    Returns:
        Mel spectrograms in decibels, (n, 1, time, mel) float32; (n, 4, time, mel) for a model that fuses several.
    """
    import torch
    from torchaudio.functional import resample

    # Numbers as exact as the library's: quiet bands lie far below loud ones.
    sounds = resample(windows, SAMPLE_RATE, processor.sampling_rate).double()
    size = processor.fft_window_size
    hann = torch.hann_window(size, dtype=torch.float64, device=windows.device)
    waves = torch.stft(sounds, size, processor.hop_length, window=hann, pad_mode="reflect", return_complex=True)
    fuses = processor.truncation == "fusion"
    filters = torch.as_tensor(
        processor.mel_filters if fuses else processor.mel_filters_slaney, dtype=torch.float64, device=windows.device
    )
    mel = (waves.abs() ** 2).transpose(1, 2) @ filters
    decibels = 10 * mel.clamp(min=_FAINTEST).log10()
    return decibels[:, None].repeat(1, 4 if fuses else 1, 1, 1).float()
