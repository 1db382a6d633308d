"""CLAP through transformers: text and audio in one space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones.clip import DualEncoder, DualEncoderText, normalized_output, require_model_type
from var_plugin.encoders.base import Space, Vectors, in_batches
from var_plugin.encoders.hub import Checkpoint, to_device
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.media.decoded import SAMPLE_RATE

if TYPE_CHECKING:
    import torch

_MIN_POWER = 1e-10
"""Floor of the power before the logarithm, as in transformers."""


def sound_space(checkpoint: Checkpoint) -> SpaceEncoders:
    """Return the space of a CLAP model. The network is loaded on first use.

    Raises:
        MissingWeightsError: see `Checkpoint.folder`.
        UnknownSuiteError: the model has another type.
    """
    require_model_type(checkpoint, ("clap",), "a CLAP model encodes audio")
    network = ClapNetwork(checkpoint)
    space = Space("sound", network.dim, "IP", frozenset(("text", "audio")), checkpoint.fingerprint)
    return SpaceEncoders(space, text=DualEncoderText(network), audio=ClapAudioEncoder(network))


class ClapNetwork(DualEncoder):
    """A text tower and an audio tower."""

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return int(self.checkpoint.config.projection_dim)

    def tokens(self, texts: Sequence[str]) -> Any:
        """Return token ids and attention mask."""
        return self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            # RoBERTa numbers positions from the padding id + 1, which leaves two positions fewer.
            max_length=self.checkpoint.config.text_config.max_position_embeddings - 2,
            return_token_type_ids=False,
            return_tensors="pt",
        )

    @cached_property
    def audio_processor(self) -> Any:
        """The feature extractor of the model."""
        return self.checkpoint.processor("AutoFeatureExtractor")


class ClapAudioEncoder:
    """Encode audio windows into the space of a CLAP model; an `AudioEncoder`."""

    def __init__(self, network: ClapNetwork) -> None:
        self._network = network

    @property
    def window(self) -> int:
        """Samples per window. At this length the model neither crops at random nor repeats the audio."""
        processor = self._network.audio_processor
        return int(processor.nb_max_samples * SAMPLE_RATE // processor.sampling_rate)

    @property
    def hop(self) -> int:
        """Samples between the starts of windows: half a window."""
        return self.window // 2

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        """Encode audio windows.

        Args:
            windows: (n, window) float32 in -1…1, 16 kHz mono.

        Returns:
            (n, dim) float32, L2-normalised.
        """
        return in_batches(self._encode, windows, self._network.dim)

    def _encode(self, windows: NDArray[np.float32]) -> Vectors:
        import torch

        model = self._network.model
        # The spectrogram needs float64, which MPS does not support.
        device = torch.device("cpu") if model.device.type == "mps" else model.device
        audio = to_device(torch.from_numpy(windows), device, torch.float32)
        # The processor of fusion models marks one random item of a batch as longer. No window is.
        is_longer = torch.zeros(len(windows), 1, dtype=torch.bool, device=model.device)
        features = spectrograms(audio, self._network.audio_processor).to(model.device, model.dtype)
        return normalized_output(model.get_audio_features(input_features=features, is_longer=is_longer))


def spectrograms(windows: torch.Tensor, processor: Any) -> torch.Tensor:
    """Compute the mel spectrograms of the model's feature extractor, on the device of the windows.

    The feature extractor of transformers runs on the CPU, one window at a time. With a GPU it took 24 times as long as
    the network.

    Args:
        windows: (n, samples) float32 in -1…1, 16 kHz mono, of the length that the model takes.
        processor: the feature extractor, for its parameters.

    Returns:
        Mel spectrograms in decibels, (n, 1, time, mel) float32, or (n, 4, time, mel) for a fusion model.
    """
    import torch
    from torchaudio.functional import resample

    # float64 as in the feature extractor, because the power of quiet bands is orders of magnitude lower.
    audio = resample(windows, SAMPLE_RATE, processor.sampling_rate).double()
    size = processor.fft_window_size
    hann = torch.hann_window(size, dtype=torch.float64, device=windows.device)
    spectrum = torch.stft(audio, size, processor.hop_length, window=hann, pad_mode="reflect", return_complex=True)
    is_fusion = processor.truncation == "fusion"
    filters = torch.as_tensor(
        processor.mel_filters if is_fusion else processor.mel_filters_slaney, dtype=torch.float64, device=windows.device
    )
    mel = (spectrum.abs() ** 2).transpose(1, 2) @ filters
    decibels = 10 * mel.clamp(min=_MIN_POWER).log10()
    return decibels[:, None].repeat(1, 4 if is_fusion else 1, 1, 1).float()
