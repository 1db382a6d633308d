"""PE-AV (Perception Encoder Audiovisual) through transformers: text, video and audio in one vector space.

Two spaces hold its vectors. `scene` stores video and `sound` stores audio. Vectors of both are comparable. The network
has one projection of texts for video and another one for audio.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from functools import cached_property
from importlib.metadata import version
from io import StringIO
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import require
from var_plugin.encoders.backbones.clip import preprocess_images, require_model_type
from var_plugin.encoders.backbones.windows import (
    WINDOW_SECONDS,
    AudioQueryWindows,
    VideoWindowsMixin,
    resampled,
    without_silent_end,
)
from var_plugin.encoders.base import ImageArray, Space, Vectors, in_batches, l2_normalize
from var_plugin.encoders.hub import Checkpoint, to_device
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.errors import BrokenInstallationError, InvalidInputError
from var_plugin.media.decoded import SAMPLE_RATE, Frame

if TYPE_CHECKING:
    import torch

FRAMES = 16
"""Frames of a window if the processor of the model does not name a number."""
MAX_TOKENS = 512
"""Context length of the published code. Longer texts are truncated."""

# Inputs per batch.
_TEXTS, _CLIPS, _WINDOWS = 32, 2, 4

Target = Literal["video", "audio"]


def spaces(checkpoint: Checkpoint) -> dict[str, SpaceEncoders]:
    """Return the spaces `scene` and `sound` of a model. The network is loaded on first use.

    Raises:
        MissingDependencyError: timm is not installed.
        MissingWeightsError: see `Checkpoint.folder`.
        InvalidInputError: the installed transformers does not support the model, or its image network is in another
            repository.
        UnknownSuiteError: the model has another type.
    """
    require("video-models", "timm", "torchvision")
    require_model_type(checkpoint, ("pe_audio_video",), "only PE-AV models are supported here")
    architecture = checkpoint.config.audio_video_config.video_config.vision_config.architecture
    if ":" in architecture:  # timm would download its configuration
        raise InvalidInputError(
            f"the model {checkpoint.name} needs more than its own files",
            why=f"its image network is {architecture!r}, in another repository",
            fix="choose a model whose image network is part of timm",
        )
    network = PeAvNetwork(checkpoint)
    audio, fingerprint = PeAvAudio(network), checkpoint.fingerprint
    scene = Space("scene", network.dim, "IP", frozenset(("text", "image", "audio", "video")), fingerprint)
    sound = Space("sound", network.dim, "IP", frozenset(("text", "audio")), fingerprint)
    video = PeAvVideo(network)
    return {
        "scene": SpaceEncoders(
            scene,
            text=PeAvText(network, "video"),
            image=PeAvImage(video),
            video=video,
            audio_query=AudioQueryWindows(audio),
        ),
        "sound": SpaceEncoders(sound, text=PeAvText(network, "audio"), audio=audio),
    }


class PeAvNetwork:
    """The network and its preprocessing. Each part is loaded on first use."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.dim = int(checkpoint.config.text_config.hidden_size)
        """Dimension of the embeddings."""
        self._tokenizing = Lock()

    @cached_property
    def model(self) -> Any:
        """The network.

        Raises:
            BrokenInstallationError: the installed timm does not fit transformers.
            As `Checkpoint.model`.
        """
        try:
            with redirect_stdout(StringIO()):  # transformers 5.23 prints a remark about its own documentation
                return self.checkpoint.model()
        except AttributeError as error:  # transformers 5.23 mistakes a buffer of timm 1.0.31 for a weight
            raise BrokenInstallationError(
                f"transformers {version('transformers')} cannot load PE-AV with timm {version('timm')}",
                why=str(error),
                fix="pip install 'var-plugin[video-models]'",
            ) from error

    @cached_property
    def video_processor(self) -> Any:
        """The video processor of the model."""
        from transformers import AutoVideoProcessor

        return AutoVideoProcessor.from_pretrained(
            self.checkpoint.folder, local_files_only=True, trust_remote_code=False
        )

    @cached_property
    def audio_processor(self) -> Any:
        """The feature extractor of the model."""
        from transformers import AutoFeatureExtractor

        return AutoFeatureExtractor.from_pretrained(
            self.checkpoint.folder, local_files_only=True, trust_remote_code=False
        )

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the model."""
        return self.checkpoint.tokenizer()

    def embed_texts(self, texts: Sequence[str], target: Target) -> Vectors:
        """Return (n, dim) float32, L2-normalised, comparable with video or with audio."""
        model = self.model
        with self._tokenizing:  # a fast tokenizer fails if two threads set its padding at once
            tokens = self.tokenizer(
                list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_token_type_ids=False,
                return_tensors="pt",
            ).to(model.device)  # fmt: skip
        hidden = model.text_model(**tokens, output_hidden_states=True).hidden_states[-1][:, 0]
        head = model.video_model.text_video_head if target == "video" else model.audio_model.text_audio_head
        return _normalized(head(hidden))

    def embed_clips(self, clips: Sequence[Sequence[ImageArray]]) -> Vectors:
        """Return (clips, dim) float32, L2-normalised, for clips of any number of images of the input size."""
        import torch

        model = self.model.video_model
        counts = [len(clip) for clip in clips]
        frames = [image for clip in clips for image in clip]
        pixels = preprocess_images(frames, self.video_processor, model.device, model.dtype)
        mask = torch.arange(max(counts), device=model.device) < torch.tensor(counts, device=model.device)[:, None]
        output = model.video_encoder(
            torch.nn.utils.rnn.pad_sequence(list(torch.split(pixels, counts)), batch_first=True),
            padding_mask_videos=None if mask.all() else mask,
        )
        return _normalized(model.video_head(output.pooler_output))

    def embed_audio(self, windows: Sequence[NDArray[np.float32]]) -> Vectors:
        """Return (n, dim) float32, L2-normalised, for windows of one length, at the sample rate of the model."""
        model = self.model.audio_model
        inputs = self.audio_processor(
            list(windows), sampling_rate=self.audio_processor.sampling_rate, return_tensors="pt"
        )
        values = to_device(inputs["input_values"], model.device, model.dtype)
        return _normalized(model.audio_head(model.audio_encoder(values).pooler_output))


class PeAvText:
    """Encode texts for comparison with video or audio; a `TextEncoder`."""

    def __init__(self, network: PeAvNetwork, target: Target) -> None:
        self._network, self._target = network, target

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32, L2-normalised."""
        return in_batches(self._encode, texts, self._network.dim, _TEXTS)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        return self._network.embed_texts(texts, self._target)


class PeAvVideo(VideoWindowsMixin):
    """Encode the frames of a window together; a `VideoEncoder`."""

    def __init__(self, network: PeAvNetwork) -> None:
        self.network = network
        count = network.video_processor.num_frames
        self._is_fixed = count is not None
        self.frames_per_clip = self.stride = int(count or FRAMES)
        self.fps = self.frames_per_clip / WINDOW_SECONDS

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input frames."""
        size = self.network.video_processor.size
        return int(size["height"]), int(size["width"])

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return vectors (n, dim) float32, L2-normalised, of windows of frames."""
        return self.encode_clips([[frame.image for frame in window] for window in self.windows(frames)])

    def encode_clips(self, clips: Sequence[Sequence[ImageArray]]) -> Vectors:
        """Return (clips, dim) float32, L2-normalised, for clips of at most `frames_per_clip` images."""
        return in_batches(self.network.embed_clips, [self._sampled(clip) for clip in clips], self.network.dim, _CLIPS)

    def _sampled(self, clip: Sequence[ImageArray]) -> Sequence[ImageArray]:
        """Repeat frames of a shorter clip as the video processor does, for models with a fixed number of frames."""
        if not self._is_fixed or len(clip) == self.frames_per_clip:
            return clip
        last = max(1, self.frames_per_clip - 1)
        return [clip[number * (len(clip) - 1) // last] for number in range(self.frames_per_clip)]


class PeAvImage:
    """Encode an image as a clip of one frame; an `ImageEncoder`."""

    def __init__(self, video: PeAvVideo) -> None:
        self._video = video

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input images."""
        return self._video.size

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32, L2-normalised, for RGB images of the input size."""
        return self._video.encode_clips([[image] for image in images])


class PeAvAudio:
    """Encode windows of audio; an `AudioEncoder`."""

    window = hop = WINDOW_SECONDS * SAMPLE_RATE

    def __init__(self, network: PeAvNetwork) -> None:
        self._network = network

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        """Return (n, dim) float32, L2-normalised, for (n, window) float32 in -1…1, 16 kHz mono."""
        rate = int(self._network.audio_processor.sampling_rate)
        audio = [resampled(without_silent_end(window), rate) for window in windows]
        vectors = np.empty((len(audio), self._network.dim), np.float32)
        for rows in _by_length(audio):
            vectors[rows] = in_batches(
                self._network.embed_audio, [audio[row] for row in rows], self._network.dim, _WINDOWS
            )
        return vectors


def _by_length(audio: Sequence[NDArray[np.float32]]) -> Iterator[list[int]]:
    """Yield the numbers of items of equal length. Convolutions of the network would see the padding of a batch."""
    lengths = [len(samples) for samples in audio]
    for length in dict.fromkeys(lengths):
        yield [row for row, other in enumerate(lengths) if other == length]


def _normalized(vectors: torch.Tensor) -> Vectors:
    return l2_normalize(vectors.float().numpy(force=True))
