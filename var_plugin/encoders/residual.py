"""Encoders that refine the space of a suite with a residual ALAN model. They work with any backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones.motion import SIDE, MotionBackbone
from var_plugin.encoders.base import (
    ClipFeatureExtractor,
    ImageArray,
    ImageEncoder,
    NoDetectorMixin,
    TextEncoder,
    Vectors,
    VideoEncoder,
    ensure_normalized,
    in_batches,
)
from var_plugin.encoders.clip_features import PerFrameMixin
from var_plugin.media.decoded import Frame

if TYPE_CHECKING:
    from torch import Tensor

    from var_plugin.encoders.alan.residual import ResidualAlanModel

_CHUNK = 4_096  # clips per call; limits the memory of the detector for long videos

Reader = Callable[[Sequence[str]], "tuple[Vectors, Tensor]"]
"""Maps n texts to their vectors (n, hidden_size) and to sentence vectors (n, sentence_dim)."""


class Towers(Protocol):
    """A residual ALAN model with its calibration. The weights load on first use."""

    @property
    def model(self) -> ResidualAlanModel:
        """The model in evaluation mode."""
        ...

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        ...

    @property
    def anomaly_scope(self) -> str | None:
        """Training data of the anomaly score and what it does not cover. None: the score is not trained."""
        ...

    @property
    def event_kind(self) -> str:
        """The kind of event that the anomaly score recognises."""
        ...

    @property
    def calibration(self) -> tuple[float, float]:
        """Slope and offset of Platt scaling for the detector's logits."""
        ...


class ResidualTextEncoder:
    """Encode texts into the refined space; a `TextEncoder`.

    Args:
        read: maps texts to vectors and sentence vectors.
        towers: the model.
    """

    def __init__(self, read: Reader, towers: Towers) -> None:
        self._read, self._towers = read, towers

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return L2-normalised vectors (n, dim) float32. The text sets the weight of motion."""
        return in_batches(self._encode, texts, self._towers.dim)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        return self.encode_with_sentences(texts)[0]

    def encode_with_sentences(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        """Return the vectors (n, dim) of one batch and the sentence vectors (n, sentence_dim)."""
        import torch

        objects, sentences = self._read(texts)
        return _rows(self._towers.model.encode_texts(torch.from_numpy(objects), sentences)), _rows(sentences)


class ResidualImageEncoder:
    """Encode images into the refined space, without motion; an `ImageEncoder`.

    Args:
        image_encoder: encodes the images.
        towers: the model.
    """

    def __init__(self, image_encoder: ImageEncoder, towers: Towers) -> None:
        self._image_encoder, self._towers = image_encoder, towers

    @property
    def size(self) -> tuple[int, int]:
        """Expected image size (height, width) in pixels."""
        return self._image_encoder.size

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return L2-normalised vectors (n, dim) float32. Raises as the wrapped encoder."""
        return in_batches(self._encode, images, self._towers.dim)

    def _encode(self, images: Sequence[ImageArray]) -> Vectors:
        return self.refine(self._image_encoder.encode(images))

    def refine(self, objects: Vectors) -> Vectors:
        """Return the vectors (n, dim) of images whose vectors (n, hidden_size) in the existing space are known."""
        import torch

        return _rows(self._towers.model.encode_clips(torch.from_numpy(objects)))


class MotionClipEncoder(PerFrameMixin, NoDetectorMixin):
    """Encode frames and the motion after them as clips of the refined space; a `VideoEncoder`.

    Args:
        image_encoder: encodes the frames.
        towers: the model; it fuses appearance and motion.
        motion: backbone for the motion of each clip.
    """

    motion_size = SIDE

    def __init__(self, image_encoder: ImageEncoder, towers: Towers, motion: MotionBackbone) -> None:
        self._image_encoder, self._towers, self._backbone = image_encoder, towers, motion

    @property
    def size(self) -> tuple[int, int]:
        """Expected frame size (height, width) in pixels."""
        return self._image_encoder.size

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return L2-normalised clip vectors (n, dim) float32."""
        return in_batches(self._encode, frames, self._towers.dim)

    def _encode(self, frames: Sequence[Frame]) -> Vectors:
        return self.add_motion(self._image_encoder.encode([frame.image for frame in frames]), frames)

    def add_motion(self, objects: Vectors, frames: Sequence[Frame]) -> Vectors:
        """Return the clip vectors (n, dim) of frames whose image vectors (n, hidden_size) are known."""
        import torch

        motion = self._backbone.features([frame.motion for frame in frames if frame.motion is not None])
        with torch.inference_mode():
            return _rows(self._towers.model.encode_clips(torch.from_numpy(objects), torch.from_numpy(motion)))

    def embed_video(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return the mean-pooled, L2-normalised vector (dim,) of the clips."""
        return np.asarray(self.embed_spans(clips, [slice(None)])[0], np.float32)


class ResidualVideoEncoder:
    """Add anomaly scores and whole-video vectors to another `VideoEncoder`.

    Clip features and span vectors are those of the wrapped encoder.

    Args:
        frames: encodes the clips.
        towers: the model.
    """

    def __init__(self, frames: VideoEncoder, towers: Towers) -> None:
        self._frames, self._towers = frames, towers

    @property
    def extractor(self) -> ClipFeatureExtractor:
        """The extractor of the wrapped encoder."""
        return self._frames.extractor

    @property
    def anomaly_scope(self) -> str | None:
        """Training data of the anomaly score and what it does not cover."""
        scopes = [scope for scope in (self._towers.anomaly_scope, self._frames.anomaly_scope) if scope]
        return "; ".join(scopes) or None

    def embed_spans(self, clips: Vectors, spans: Sequence[slice]) -> Vectors:
        """Return the vectors (len(spans), dim) of the wrapped encoder for parts of a video."""
        return self._frames.embed_spans(clips, spans)

    def comparable(self, clips: Vectors) -> Vectors:
        """Return the part of clip features (n, width) that describes the content, as the wrapped encoder defines it."""
        return self._frames.comparable(clips)

    @property
    def event_kinds(self) -> tuple[str, ...]:
        """The kind of event of the detector, if it is trained, and the other kinds of the wrapped encoder."""
        kinds = self._frames.event_kinds
        if self._towers.anomaly_scope is None:
            return kinds
        return (self._towers.event_kind, *(kind for kind in kinds if kind != self._towers.event_kind))

    def score_events(self, clips: Vectors) -> NDArray[np.float32]:
        """Return the scores (n, kinds): those of the detector are calibrated, the others are of the wrapped encoder."""
        wrapped = self._frames.score_events(clips)
        if self._towers.anomaly_scope is None:
            return wrapped
        others = [kind != self._towers.event_kind for kind in self._frames.event_kinds]
        return np.column_stack([self.scores(clips, np.arange(len(clips))), wrapped[:, others]])

    def scores(self, clips: Vectors, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the detector's calibrated scores (n,) for the sequence `clips[places]`.

        Args:
            clips: clip features (clips, width).
            places: indices (n,) into `clips`. An index may occur several times.
        """
        import torch

        reach, (slope, offset) = self._towers.model.detector.context_size, self._towers.calibration
        scores = []
        for first in range(0, len(places), _CHUNK):
            start = max(0, first - reach)
            some = self._one_video(clips[places[start : first + _CHUNK + reach]])
            with torch.inference_mode():
                logits = torch.logit(self._towers.model.score_clips(*some)[0], eps=1e-6)
                scores.append(torch.sigmoid(slope * logits + offset)[first - start :][:_CHUNK].numpy())
        return np.concatenate(scores)

    def embed_video(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return ALAN's L2-normalised vector (dim,) of the video, from fixed and anomaly-led sampling of its clips."""
        import torch

        with torch.inference_mode():
            return _rows(self._towers.model(*self._one_video(clips), torch.from_numpy(scores)[None]).vectors[0])

    def _one_video(self, clips: Vectors) -> tuple[Tensor, Tensor]:
        """Return the clip vectors as a batch (1, n, dim) with its mask (1, n)."""
        import torch

        vectors = torch.from_numpy(each_clip(clips, self._frames))
        return vectors[None], torch.ones(1, len(clips), dtype=torch.bool)


def each_clip(clips: Vectors, encoder: VideoEncoder) -> Vectors:
    """Map clip features (n, width) to one vector per clip (n, dim)."""
    if isinstance(encoder, PerFrameMixin) and type(encoder).embed_spans is PerFrameMixin.embed_spans:
        return ensure_normalized(clips)
    dim = encoder.embed_spans(clips[:1], [slice(0, 1)]).shape[1]
    vectors = np.empty((len(clips), dim), np.float32)
    for first in range(0, len(clips), _CHUNK):
        some = clips[first : first + _CHUNK]
        vectors[first : first + _CHUNK] = encoder.embed_spans(some, [slice(n, n + 1) for n in range(len(some))])
    return vectors


def read_with(text: TextEncoder) -> Reader:
    """Return a `Reader` that uses the vectors of a text encoder as sentence vectors too."""

    def read(texts: Sequence[str]) -> tuple[Vectors, Tensor]:
        import torch

        vectors = text.encode(texts)
        return vectors, torch.from_numpy(vectors)

    return read


def _rows(vectors: Tensor) -> Vectors:
    return np.asarray(vectors.numpy(), np.float32)
