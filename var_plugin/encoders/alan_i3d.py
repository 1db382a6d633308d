"""The suite of the paper: ALAN models that were trained on I3D and VGGish features, on footage and sounds as they are.

The paper trains a model for texts and one for sounds, so there are two spaces; both look at a video with the same I3D.
Vectors are those of `AlanModel` by its folding, divided by their lengths, which are the same for all videos and all
queries: inner products rank as the paper's score does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import settings
from var_plugin.encoders.backbones.i3d import WIDTH
from var_plugin.encoders.backbones.i3d_features import I3dClips
from var_plugin.encoders.backbones.vggish import WIDTH as SOUND_WIDTH
from var_plugin.encoders.backbones.vggish_features import VGGishWindows
from var_plugin.encoders.base import Space, Vectors
from var_plugin.encoders.hub import Checkpoint, moved
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.encoders.weights import in_batches
from var_plugin.errors import InvalidInputError, MissingWeightsError
from var_plugin.types import Modality

if TYPE_CHECKING:
    from torch import Tensor

    from var_plugin.encoders.alan import AlanConfig, AlanModel, AlanProcessor

# Per space, the modality of its queries; the space's model lies in a folder of its name.
_QUERIES: dict[str, Modality] = {"alan-text": "text", "alan-audio": "audio"}


def build(model: str) -> dict[str, SpaceEncoders]:
    """Return the spaces whose trained model lies in a folder: `alan-text`, `alan-audio`, or both.

    Raises:
        InvalidInputError: a model was trained on other features than these.
        MissingDependencyError: what computes optical flow is not installed.
        MissingWeightsError: there is no trained model, or a published network was not converted yet.
    """
    folder = Checkpoint(model).folder
    trained = {name: TrainedAlan(folder / name, query) for name, query in _QUERIES.items() if (folder / name).is_dir()}
    if not trained:
        raise MissingWeightsError(
            f"{folder} holds no trained ALAN",
            why=f"it has neither of the folders {', '.join(_QUERIES)}",
            fix=f"run: var-plugin train ucfcrime-ar --annotations CAPTIONS --rgb I3D_RGB --flow I3D_FLOW "
            f"--out {folder / 'alan-text'}",
        )
    moving = any(alan.config.motion_dim is not None for alan in trained.values())
    clips = I3dClips(settings().optical_flow if moving else None)
    return {name: _space(name, alan, clips) for name, alan in trained.items()}


def _space(name: str, alan: TrainedAlan, clips: I3dClips) -> SpaceEncoders:
    audio_query = AlanSound(alan) if alan.query == "audio" else None
    stands_on = [alan.fingerprint, clips.fingerprint, audio_query.fingerprint if audio_query else ""]
    space = Space(
        name=name,
        dim=alan.config.embedding_dim,
        metric="IP",
        modalities=frozenset((alan.query, "video")),
        fingerprint=hashlib.sha256(" ".join(stands_on).encode()).hexdigest()[:16],
    )
    text = AlanText(alan) if alan.query == "text" else None
    return SpaceEncoders(space, text=text, video=AlanVideo(alan, clips), audio_query=audio_query)


class TrainedAlan:
    """A folder that `var-plugin train` wrote, with a model for one kind of query.

    Raises:
        InvalidInputError: it is for other queries, or for other features.
    """

    def __init__(self, folder: Path, query: Modality) -> None:
        self.query = query
        self._checkpoint = Checkpoint(str(folder))
        self.fingerprint = self._checkpoint.fingerprint
        wanted = {"query_modality": (query,), "object_dim": (WIDTH,), "motion_dim": (None, WIDTH)}
        if query == "audio":
            wanted["audio_dim"] = (SOUND_WIDTH,)
        for field, choices in wanted.items():
            if (found := getattr(self.config, field)) not in choices:
                raise InvalidInputError(
                    f"the ALAN model in {folder} has {field}={found!r}",
                    why=f"in this folder it must be {' or '.join(map(repr, choices))}, as I3D and VGGish make features",
                    fix="train on features of I3D and VGGish, or move the folder",
                )

    @property
    def anomaly_scope(self) -> str:
        """What is known of the anomaly score."""
        return (
            f"the detector of {self._checkpoint.name}, which learned from labels of whole videos; "
            "which kinds of events it saw is not noted there"
        )

    @property
    def config(self) -> AlanConfig:
        """Its configuration."""
        import var_plugin.encoders.alan  # noqa: F401  (makes it known to transformers)

        config: AlanConfig = self._checkpoint.config
        return config

    @cached_property
    def model(self) -> AlanModel:
        """The model, ready to encode."""
        model: AlanModel = self._checkpoint.model()
        return model

    @cached_property
    def processor(self) -> AlanProcessor:
        """What makes batches for it."""
        from var_plugin.encoders.alan import AlanProcessor

        return AlanProcessor(self.config, self._checkpoint.tokenizer() if self.query == "text" else None)

    def batch(self, **contents: Any) -> dict[str, Any]:
        """Return the tensors that the processor makes of contents, where the model is and in its data type."""
        prepared = self.processor(**contents)
        model = self.model
        return {
            name: moved(value, model.device, model.dtype if value.is_floating_point() else value.dtype)
            for name, value in prepared.items()
        }

    def queries(self, folded: Tensor) -> Vectors:
        """Scale folded queries to length one."""
        share = self.config.alignment_alpha
        return np.asarray(folded.numpy(force=True) / (share**2 + (1 - share) ** 2) ** 0.5, np.float32)

    def videos(self, folded: Tensor) -> Vectors:
        """Scale folded videos to length one."""
        return np.asarray(folded.numpy(force=True) / (2 * self.config.num_streams) ** 0.5, np.float32)


class AlanText:
    """Sentences to the space of a trained ALAN; satisfies `TextEncoder`."""

    def __init__(self, alan: TrainedAlan) -> None:
        self._alan = alan

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 of length one."""
        return in_batches(self._encode, texts, self._alan.config.embedding_dim)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        return self._alan.queries(self._alan.model.get_text_features(**self._alan.batch(text=texts)))


class AlanVideo:
    """Clips of I3D features to the space of a trained ALAN; satisfies `VideoEncoder`.

    A part of a video is a video to it: the tower runs on its clips alone.
    """

    def __init__(self, alan: TrainedAlan, extractor: I3dClips) -> None:
        self._alan = alan
        self.extractor = extractor
        self.anomaly_scope = alan.anomaly_scope

    def embed_spans(self, clips: Vectors, spans: Sequence[slice]) -> Vectors:
        """Return (len(spans), dim) float32 of length one for spans of clips (n, 1024 or 2048)."""
        return in_batches(
            lambda some: self._encode([clips[span] for span in some]), spans, self._alan.config.embedding_dim
        )

    def anomaly(self, clips: Vectors) -> NDArray[np.float32]:
        """Return (n,): what the detector says of the clips of one video."""
        import torch

        batch = self._streams([clips])
        with torch.inference_mode():
            encoded = self._alan.model.video_encoder(
                batch["object_features"], batch.get("motion_features"), batch["clip_mask"]
            )
        return np.asarray(encoded.anomaly_scores[0].float().numpy(force=True), np.float32)

    def embed_video(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return (dim,) of length one: the paper's vector of the video, by its own sampling of the clips."""
        return np.asarray(self.embed_spans(clips, [slice(None)])[0], np.float32)

    def _encode(self, videos: Sequence[Vectors]) -> Vectors:
        return self._alan.videos(self._alan.model.get_video_features(**self._streams(videos)))

    def _streams(self, videos: Sequence[Vectors]) -> dict[str, Any]:
        streams = {"object_features": [video[:, :WIDTH] for video in videos]}
        if self._alan.config.motion_dim is not None:
            streams["motion_features"] = [video[:, WIDTH:] for video in videos]
        return self._alan.batch(**streams)


class AlanSound:
    """Whole sounds to the space of a trained ALAN, to search what is seen; satisfies `AudioQueryEncoder`."""

    def __init__(self, alan: TrainedAlan) -> None:
        self._alan = alan
        self._windows = VGGishWindows()
        self.fingerprint = self._windows.fingerprint
        self.window, self.hop = self._windows.window, self._windows.hop

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        """Return VGGish features (n, 128) float32 for (n, window) float32 in -1…1, 16 kHz mono."""
        return self._windows.encode(windows)

    def embed_audio(self, windows: Vectors) -> Vectors:
        """Return (dim,) of length one for the features (n, 128) of a sound."""
        import torch

        with torch.inference_mode():
            features = self._alan.model.get_audio_features(**self._alan.batch(audio_features=[windows]))
        return np.asarray(self._alan.queries(features)[0], np.float32)
