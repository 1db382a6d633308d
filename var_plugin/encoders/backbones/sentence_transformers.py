"""Multimodal models of sentence-transformers, with each modality that the model declares as its own kind of input.

Video is encoded as video where the model takes it, otherwise as the mean of images. The space `scene` stores video and
`sound` stores audio. Vectors of both are comparable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import DEFAULT_FPS, require
from var_plugin.encoders.backbones.windows import (
    WINDOW_SECONDS,
    AudioQueryWindows,
    VideoWindowsMixin,
    resampled,
    without_silent_end,
)
from var_plugin.encoders.base import ImageArray, Space, Vectors, l2_normalize
from var_plugin.encoders.hub import (
    Checkpoint,
    device,
    refusing_random_weights,
    unreadable_files_refused,
    without_progress_bar,
)
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.errors import InvalidInputError, UnsupportedModalityError
from var_plugin.media.decoded import SAMPLE_RATE, Frame
from var_plugin.types import Modality

# Inputs per batch.
_TEXTS, _IMAGES, _CLIPS, _WINDOWS = 32, 8, 2, 8
_MODALITIES: tuple[Modality, ...] = ("text", "image", "audio", "video")
_PROCESSOR, _VIDEO_PROCESSOR = "processor_config.json", "video_preprocessor_config.json"
_CONFIGURATION = "config_sentence_transformers.json"
_MODULES, _POOLING = "modules.json", "1_Pooling/config.json"
_POOLED = {"Transformer", "Pooling", "Normalize"}


@dataclass(frozen=True)
class InputOptions:
    """How a model is given its inputs. The defaults fit any model."""

    query_prompt: str | None = None
    """Prompt of text queries. None: that of the model, if it has one."""
    document_prompt: str | None = None
    """Prompt of images and video. None: that of the model, if it has one."""
    pooling: str | None = None
    """Pooling mode on top of the network. None: the modules that the model names."""
    size: tuple[int, int] = (384, 384)
    """(height, width) of images and frames. The model resizes them further."""
    processing: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Options of the processor by modality, as `processing_kwargs` of sentence-transformers."""
    template: Mapping[str, str] = field(default_factory=dict)
    """Strings to replace in the chat template of the model."""


@dataclass(frozen=True)
class VideoSampling:
    """The frames of a window of video."""

    fps: float
    frames: int
    """Frames in a full window."""
    min_frames: int
    """A window with fewer frames repeats its last one."""

    @classmethod
    def of(cls, processor: Any) -> VideoSampling:
        """Return the frame rate of a video processor, or a lower one if a window has more frames than its limit."""
        fps = float(getattr(processor, "fps", None) or DEFAULT_FPS)
        frames = max(1, round(WINDOW_SECONDS * fps))
        if limit := getattr(processor, "max_frames", None):
            frames = min(frames, int(limit))
        return cls(min(fps, frames / WINDOW_SECONDS), frames, int(getattr(processor, "temporal_patch_size", None) or 1))


def spaces(checkpoint: Checkpoint) -> dict[str, SpaceEncoders]:
    """Return the spaces of a model. The model is loaded at once, because only it knows its modalities.

    Raises:
        MissingDependencyError: sentence-transformers is not installed, or torchvision for a model that takes video.
        MissingWeightsError: see `Checkpoint.folder`.
        UnsupportedModalityError: the model takes neither images nor video, or no text.
    """
    network = SentenceTransformersNetwork(checkpoint, InputOptions())
    model = network.model
    modalities = frozenset(modality for modality in _MODALITIES if model.supports(modality))
    if "text" not in modalities or not modalities & {"image", "video"}:
        raise UnsupportedModalityError(
            f"the model {checkpoint.name} cannot encode footage",
            why=f"it encodes {', '.join(map(str, model.modalities))}",
            fix="choose a model for text and images",
        )
    sampling = VideoSampling.of(network.processor("video_processor")) if "video" in modalities else None
    return spaces_of(network, modalities, int(model.get_embedding_dimension()), sampling)


def spaces_of(
    network: SentenceTransformersNetwork, modalities: frozenset[Modality], dim: int, sampling: VideoSampling | None
) -> dict[str, SpaceEncoders]:
    """Return `scene` and, if the model takes audio, `sound`.

    Args:
        network: the model.
        modalities: what the model takes.
        dim: dimension of its vectors, before truncation.
        sampling: the frames of a window. None: the model takes no video.
    """
    fingerprint = network.fingerprint(sampling)
    dim = network.dim or dim
    text = SentenceTransformersText(network)
    audio = SentenceTransformersAudio(network, dim) if "audio" in modalities else None
    scene = SpaceEncoders(
        Space("scene", dim, "IP", modalities | {"video"}, fingerprint),
        text=text,
        image=SentenceTransformersImage(network, dim) if "image" in modalities else None,
        video=SentenceTransformersVideo(network, dim, sampling) if sampling else None,
        audio_query=AudioQueryWindows(audio) if audio else None,
    )
    if audio is None:
        return {"scene": scene}
    sound = Space("sound", dim, "IP", frozenset(("text", "audio")), fingerprint)
    return {"scene": scene, "sound": SpaceEncoders(sound, text=text, audio=audio)}


class SentenceTransformersNetwork:
    """A model of sentence-transformers and its processor. It is loaded on first use.

    Args:
        checkpoint: the model.
        inputs: how the model is given its inputs.
        dim: number of leading dimensions that are kept. None: all.

    Raises:
        MissingDependencyError: a package that the model needs is not installed.
        MissingWeightsError: see `Checkpoint.folder`.
    """

    def __init__(self, checkpoint: Checkpoint, inputs: InputOptions, dim: int | None = None) -> None:
        require_packages(checkpoint)
        self.inputs, self.dim = inputs, dim
        self._checkpoint = checkpoint
        self._model: Any = None
        self._loading, self._encoding = Lock(), Lock()

    @property
    def model(self) -> Any:
        """The model. Raises MissingWeightsError if weights are missing."""
        with self._loading:
            if self._model is None:
                self._model = self._load()
            return self._model

    @property
    def takes_messages(self) -> bool:
        """Whether inputs are rendered by a chat template, one message per input."""
        return bool(self.model.supports("message"))

    def processor(self, name: str) -> Any:
        """Return a part of the processor of the model, or None."""
        return getattr(getattr(self.model[0], "processor", None), name, None)

    def encode(self, items: Sequence[Any], *, query: bool = False, batch: int) -> Vectors:
        """Return the vectors (n, dim) float32, L2-normalised, of items in any form that the model accepts."""
        with self._encoding:  # a fast tokenizer fails if two threads set its padding at once
            encode = self.model.encode_query if query else self.model.encode_document
            vectors = encode(
                list(items),
                prompt=self.inputs.query_prompt if query else self.inputs.document_prompt,
                batch_size=batch,
                show_progress_bar=False,
            )
        return l2_normalize(vectors[:, : self.dim])

    def fingerprint(self, sampling: VideoSampling | None) -> str:
        """Return the fingerprint of the spaces: of the model, and of the inputs unless they are the default ones."""
        fingerprint = self._checkpoint.fingerprint
        if sampling is None and self.dim is None and self.inputs == InputOptions():
            return fingerprint
        parts = f"{fingerprint}@{self.dim}@{sampling}@{self.inputs}"
        return hashlib.sha256(parts.encode()).hexdigest()[:16]

    def _load(self) -> Any:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

        options = self._checkpoint.options
        folder = str(self._checkpoint.folder)
        weights = {"use_safetensors": True, "dtype": options.dtype}
        files = self._checkpoint.folder
        with refusing_random_weights(files), without_progress_bar(), unreadable_files_refused(files):
            if self.inputs.pooling is None:
                model = SentenceTransformer(
                    folder,
                    device=str(device(options)),
                    local_files_only=True,
                    trust_remote_code=False,
                    model_kwargs=weights,
                )
            else:
                source = {"local_files_only": True, "trust_remote_code": False}
                network = Transformer(
                    folder, model_kwargs=weights | source, config_kwargs=dict(source), processor_kwargs=dict(source)
                )
                pooling = Pooling(network.get_embedding_dimension(), pooling_mode=self.inputs.pooling)
                model = SentenceTransformer(
                    modules=[network, pooling, Normalize()], device=str(device(options)), trust_remote_code=False
                )
        for module in model.modules():
            if isinstance(module, Transformer):
                self._prepare(module)
        return model

    def _prepare(self, module: Any) -> None:
        """Apply the options of the inputs to a module that calls a processor."""
        # Frames are not sampled again: they have the frame rate of the model.
        for modality, options in {"video": {"do_sample_frames": False}, **self.inputs.processing}.items():
            module.processing_kwargs[modality] = {**module.processing_kwargs.get(modality, {}), **options}
        for old, new in self.inputs.template.items():
            module.processor.chat_template = module.processor.chat_template.replace(old, new)


class SentenceTransformersText:
    """Encode texts with the prompt for queries; a `TextEncoder`."""

    def __init__(self, network: SentenceTransformersNetwork) -> None:
        self._network = network

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32, L2-normalised."""
        # A plain string that is the path or address of a file would be read as that file.
        return self._network.encode([{"text": text} for text in texts], query=True, batch=_TEXTS)


class SentenceTransformersImage:
    """Encode images with the prompt for documents, if the model has one; an `ImageEncoder`."""

    def __init__(self, network: SentenceTransformersNetwork, dim: int) -> None:
        self._network, self._dim = network, dim
        self.size = network.inputs.size

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32, L2-normalised, for RGB images."""
        from PIL import Image

        if not len(images):
            return np.empty((0, self._dim), np.float32)
        items: list[Any] = [Image.fromarray(image) for image in images]
        if not self._network.takes_messages:  # some processors read a plain list of images as those of one input
            items = [{"image": [image]} for image in items]
        return self._network.encode(items, batch=_IMAGES)


class SentenceTransformersVideo(VideoWindowsMixin):
    """Encode the frames of a window together, as one video with its frame rate; a `VideoEncoder`."""

    def __init__(self, network: SentenceTransformersNetwork, dim: int, sampling: VideoSampling) -> None:
        self._network, self._dim = network, dim
        self._min_frames = sampling.min_frames
        self.size = network.inputs.size
        self.fps = self._rate = sampling.fps
        self.frames_per_clip = self.stride = sampling.frames

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return vectors (n, dim) float32, L2-normalised, of windows of frames."""
        if not len(frames):
            return np.empty((0, self._dim), np.float32)
        return self._network.encode([self._input(window) for window in self.windows(frames)], batch=_CLIPS)

    def _input(self, window: Sequence[Frame]) -> dict[str, Any]:
        images = [frame.image for frame in window]
        images += [images[-1]] * (self._min_frames - len(images))
        return as_video(images, self._rate)


class SentenceTransformersAudio:
    """Encode windows of audio; an `AudioEncoder`."""

    window = hop = WINDOW_SECONDS * SAMPLE_RATE

    def __init__(self, network: SentenceTransformersNetwork, dim: int) -> None:
        self._network, self._dim = network, dim

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        """Return (n, dim) float32, L2-normalised, for (n, window) float32 in -1…1, 16 kHz mono."""
        if not len(windows):
            return np.empty((0, self._dim), np.float32)
        rate = int(getattr(self._network.processor("feature_extractor"), "sampling_rate", SAMPLE_RATE))
        return self._network.encode(
            [{"array": resampled(without_silent_end(window), rate), "sampling_rate": rate} for window in windows],
            batch=_WINDOWS,
        )


def as_video(images: Sequence[ImageArray], fps: float) -> dict[str, Any]:
    """Return consecutive frames in the form in which sentence-transformers takes a video."""
    count = len(images)
    return {
        "array": np.stack(images),
        "video_metadata": {
            "fps": fps,
            "total_num_frames": count,
            "duration": count / fps,
            "frames_indices": list(range(count)),
        },
    }


def require_packages(checkpoint: Checkpoint) -> None:
    """Raise MissingDependencyError if a package that the model needs is not installed."""
    require("sentence-transformers", "sentence_transformers")
    if _has_video_processor(checkpoint):
        require("video-models", "torchvision")  # all video processors of transformers need it


def is_cross_encoder(checkpoint: Checkpoint) -> bool:
    """Return whether the configuration of a model names it a cross-encoder, which scores pairs of inputs."""
    if not (checkpoint.folder / _CONFIGURATION).is_file():
        return False
    configuration = checkpoint.read_json(_CONFIGURATION)
    return isinstance(configuration, dict) and configuration.get("model_type") == "CrossEncoder"


def require_pooling(checkpoint: Checkpoint, mode: str, model: str) -> None:
    """Check that a configuration of sentence-transformers, if there is one, has one pooling layer of a mode.

    Args:
        checkpoint: the model.
        mode: name of the pooling mode in sentence-transformers.
        model: name of the model family.

    Raises:
        InvalidInputError: the model has other layers or another pooling mode.
    """
    folder = checkpoint.folder
    modules = checkpoint.read_json(_MODULES) if (folder / _MODULES).is_file() else []
    pooling = checkpoint.read_json(_POOLING) if (folder / _POOLING).is_file() else {}
    others = {str(module["type"]).rpartition(".")[2] for module in modules} - _POOLED
    flag = {"mean": "pooling_mode_mean_tokens", "lasttoken": "pooling_mode_lasttoken"}[mode]
    if others or pooling.get("pooling_mode", mode) != mode or pooling.get(flag) is False:
        raise InvalidInputError(
            f"the model {checkpoint.name} is not pooled like {model}",
            why=f"it has the layer {min(others)}" if others else f"its pooling mode is not {mode}",
            fix=f"use sentence-transformers:{checkpoint.name}",
        )


def _has_video_processor(checkpoint: Checkpoint) -> bool:
    folder = checkpoint.folder
    if (folder / _VIDEO_PROCESSOR).is_file():
        return True
    return (folder / _PROCESSOR).is_file() and "video_processor" in checkpoint.read_json(_PROCESSOR)
