"""The suite of the paper: trained ALAN models on I3D and VGGish features, for footage and audio.

The paper trains one model for text and one for audio queries, so there are two spaces. Both use the same I3D features.
Vectors are the folded vectors of `AlanModel`, L2-normalised. All videos have the same norm, and so do all queries, so
inner products rank like the score of the paper.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import ModelOptions
from var_plugin.encoders.backbones.i3d import WIDTH
from var_plugin.encoders.backbones.i3d_features import I3dFeatures
from var_plugin.encoders.backbones.vggish import WIDTH as AUDIO_WIDTH
from var_plugin.encoders.backbones.vggish_features import VGGishFeatures
from var_plugin.encoders.base import UNKNOWN_KIND, Space, Vectors, in_batches
from var_plugin.encoders.hub import Checkpoint, to_device
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.errors import InvalidInputError, MissingWeightsError
from var_plugin.types import Modality

if TYPE_CHECKING:
    from torch import Tensor

    from var_plugin.encoders.alan import AlanConfig, AlanModel, AlanProcessor

# Query modality of each space. The model of a space is in the folder of the same name.
_QUERIES: dict[str, Modality] = {"alan-text": "text", "alan-audio": "audio"}


def build(model: str, options: ModelOptions) -> dict[str, SpaceEncoders]:
    """Return the spaces whose trained model is in a folder: `alan-text`, `alan-audio`, or both.

    Raises:
        InvalidInputError: a model was trained on other features.
        MissingDependencyError: OpenCV for optical flow is not installed.
        MissingWeightsError: there is no trained model, or a published network is not converted yet.
    """
    folder = Checkpoint(model, options=options).folder
    trained = {
        name: TrainedAlan(folder / name, query, options) for name, query in _QUERIES.items() if (folder / name).is_dir()
    }
    if not trained:
        raise MissingWeightsError(
            f"{folder} contains no trained ALAN model",
            why=f"it has none of the folders {', '.join(_QUERIES)}",
            fix=f"run: var-plugin train ucfcrime-ar --annotations CAPTIONS --rgb I3D_RGB --flow I3D_FLOW "
            f"--out {folder / 'alan-text'}",
        )
    needs_flow = any(alan.config.motion_dim is not None for alan in trained.values())
    clips = I3dFeatures(options.optical_flow if needs_flow else None, options)
    return {name: _space(name, alan, clips) for name, alan in trained.items()}


def _space(name: str, alan: TrainedAlan, clips: I3dFeatures) -> SpaceEncoders:
    audio_query = AlanAudio(alan, VGGishFeatures(alan.options)) if alan.query == "audio" else None
    fingerprints = [alan.fingerprint, clips.fingerprint, audio_query.fingerprint if audio_query else ""]
    space = Space(
        name=name,
        dim=alan.config.embedding_dim,
        metric="IP",
        modalities=frozenset((alan.query, "video")),
        fingerprint=hashlib.sha256(" ".join(fingerprints).encode()).hexdigest()[:16],
    )
    text = AlanText(alan) if alan.query == "text" else None
    return SpaceEncoders(space, text=text, video=AlanVideo(alan, clips), audio_query=audio_query)


class TrainedAlan:
    """A folder that `var-plugin train` wrote, with a model for one query modality.

    Raises:
        InvalidInputError: the model has another query modality, or was trained on other features.
    """

    def __init__(self, folder: Path, query: Modality, options: ModelOptions) -> None:
        self.query, self.options = query, options
        self._checkpoint = Checkpoint(str(folder), options=options)
        self.fingerprint = self._checkpoint.fingerprint
        required = {"query_modality": (query,), "object_dim": (WIDTH,), "motion_dim": (None, WIDTH)}
        if query == "audio":
            required["audio_dim"] = (AUDIO_WIDTH,)
        for field, choices in required.items():
            if (value := getattr(self.config, field)) not in choices:
                raise InvalidInputError(
                    f"the ALAN model in {folder} has {field}={value!r}",
                    why=f"I3D and VGGish features need {' or '.join(map(repr, choices))} in this folder",
                    fix="train on I3D and VGGish features, or move the folder",
                )

    @property
    def anomaly_scope(self) -> str:
        """Training data of the anomaly score."""
        return (
            f"the detector of {self._checkpoint.name}, trained on labels of whole videos; "
            "the kinds of events in its training data are not recorded"
        )

    @property
    def config(self) -> AlanConfig:
        """Configuration of the model."""
        import var_plugin.encoders.alan.modeling  # noqa: F401  (registers the model type)

        config: AlanConfig = self._checkpoint.config
        return config

    @cached_property
    def model(self) -> AlanModel:
        """The model, in evaluation mode."""
        model: AlanModel = self._checkpoint.model()
        return model

    @cached_property
    def processor(self) -> AlanProcessor:
        """The processor of the model."""
        from var_plugin.encoders.alan import AlanProcessor

        return AlanProcessor(self.config, self._checkpoint.tokenizer() if self.query == "text" else None)

    def batch(self, **inputs: Any) -> dict[str, Any]:
        """Return the processed inputs, on the device and in the dtype of the model."""
        tensors = self.processor(**inputs)
        model = self.model
        return {
            name: to_device(value, model.device, model.dtype if value.is_floating_point() else value.dtype)
            for name, value in tensors.items()
        }

    def queries(self, folded: Tensor) -> Vectors:
        """L2-normalise folded queries."""
        alpha = self.config.alignment_alpha
        return np.asarray(folded.numpy(force=True) / (alpha**2 + (1 - alpha) ** 2) ** 0.5, np.float32)

    def videos(self, folded: Tensor) -> Vectors:
        """L2-normalise folded videos."""
        return np.asarray(folded.numpy(force=True) / (2 * self.config.num_streams) ** 0.5, np.float32)


class AlanText:
    """Encode text into the space of a trained ALAN; a `TextEncoder`."""

    def __init__(self, alan: TrainedAlan) -> None:
        self._alan = alan

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32, L2-normalised."""
        return in_batches(self._encode, texts, self._alan.config.embedding_dim)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        return self._alan.queries(self._alan.model.get_text_features(**self._alan.batch(text=texts)))


class AlanVideo:
    """Encode I3D clip features into the space of a trained ALAN; a `VideoEncoder`.

    A span of a video is encoded like a video of its own: the tower processes its clips alone.
    """

    def __init__(self, alan: TrainedAlan, extractor: I3dFeatures) -> None:
        self._alan = alan
        self.extractor = extractor
        self.anomaly_scope = alan.anomaly_scope
        self.event_kinds = (UNKNOWN_KIND,)

    def embed_spans(self, clips: Vectors, spans: Sequence[slice]) -> Vectors:
        """Return (len(spans), dim) float32, L2-normalised, for spans of clips (n, 1024 or 2048)."""
        return in_batches(
            lambda batch: self._encode([clips[span] for span in batch]), spans, self._alan.config.embedding_dim
        )

    def comparable(self, clips: Vectors) -> Vectors:
        """Return the clip features unchanged: all of them describe the content."""
        return clips

    def score_events(self, clips: Vectors) -> NDArray[np.float32]:
        """Return the detector scores (n, 1) of the clips of one video."""
        import torch

        batch = self._streams([clips])
        with torch.inference_mode():
            encoded = self._alan.model.video_encoder(
                batch["object_features"], batch.get("motion_features"), batch["clip_mask"]
            )
        return np.asarray(encoded.anomaly_scores[0].float().numpy(force=True), np.float32)[:, None]

    def embed_video(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return the vector (dim,) of the whole video, by the clip sampling of the paper."""
        return np.asarray(self.embed_spans(clips, [slice(None)])[0], np.float32)

    def _encode(self, videos: Sequence[Vectors]) -> Vectors:
        return self._alan.videos(self._alan.model.get_video_features(**self._streams(videos)))

    def _streams(self, videos: Sequence[Vectors]) -> dict[str, Any]:
        streams = {"object_features": [video[:, :WIDTH] for video in videos]}
        if self._alan.config.motion_dim is not None:
            streams["motion_features"] = [video[:, WIDTH:] for video in videos]
        return self._alan.batch(**streams)


class AlanAudio:
    """Encode whole recordings into the space of a trained ALAN, as queries for video; an `AudioQueryEncoder`."""

    def __init__(self, alan: TrainedAlan, windows: VGGishFeatures) -> None:
        self._alan, self._windows = alan, windows
        self.fingerprint = self._windows.fingerprint
        self.window, self.hop = self._windows.window, self._windows.hop

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        """Return VGGish features (n, 128) float32 for (n, window) float32 in -1…1, 16 kHz mono."""
        return self._windows.encode(windows)

    def embed_audio(self, windows: Vectors) -> Vectors:
        """Return (dim,), L2-normalised, for the features (n, 128) of one recording."""
        import torch

        with torch.inference_mode():
            features = self._alan.model.get_audio_features(**self._alan.batch(audio_features=[windows]))
        return np.asarray(self._alan.queries(features)[0], np.float32)
