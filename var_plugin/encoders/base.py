"""Encoder interfaces. A suite holds encoders; an encoder maps content of one modality to vectors of one space.

Vectors are float32, finite, and have the norm that their space declares. `check_vectors` enforces this before vectors
are stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from var_plugin.errors import InvalidVectorError
from var_plugin.media.decoded import Frame
from var_plugin.types import Modality

Vectors = NDArray[np.float32]
"""(n, dim) float32, one row per item."""

ImageArray = NDArray[np.uint8]
"""(height, width, 3) RGB."""

AudioArray = NDArray[np.float32]
"""(samples,) mono in -1…1 at 16 kHz."""

NORM_TOLERANCE = 1e-3

UNKNOWN_KIND = "anomaly"
"""The kind of event of a detector that was trained on anomalies of any kind."""


@dataclass(frozen=True)
class ScoreStatistics:
    """Mean and standard deviation of the similarity between queries of one modality and unrelated content."""

    mean: float
    std: float


@dataclass(frozen=True)
class LogisticCalibrator:
    """Map a z-score and the number of candidates to a match probability.

    A logistic regression, fitted on labelled queries with and without a match over galleries of several sizes. The best
    score among unrelated candidates grows with their number, so the number is an input.
    """

    slope: float
    size: float
    offset: float

    def __call__(self, score: float, candidates: int) -> float:
        """Return the match probability of a z-score among `candidates` candidates."""
        return 1 / (1 + math.exp(-(self.slope * score - self.size * math.log(max(1, candidates)) + self.offset)))


@dataclass(frozen=True)
class Space:
    """A named vector space: its dimension, metric, comparable modalities and fingerprint."""

    name: str
    dim: int
    metric: str
    modalities: frozenset[Modality]
    fingerprint: str
    norm: float | None = 1.0
    """Norm of every stored vector. None: norms carry information and may differ."""


class NoDetectorMixin:
    """The part of a `VideoEncoder` without a trained detector."""

    anomaly_scope: str | None = None
    event_kinds: tuple[str, ...] = ()

    def score_events(self, clips: Vectors) -> NDArray[np.float32]:
        """Return scores (n, 0): there is no detector."""
        return np.zeros((len(clips), 0), np.float32)

    def comparable(self, clips: Vectors) -> Vectors:
        """Return the clip features unchanged: all of them describe the content."""
        return clips


class TextEncoder(Protocol):
    """Encode texts into one space."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32."""
        ...


class ImageEncoder(Protocol):
    """Encode images, including video frames, into one space."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input images. The decoder scales frames to it."""
        ...

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return vectors (n, dim) float32 of images of shape (*size, 3)."""
        ...


class ClipFeatureExtractor(Protocol):
    """Compute features of clips from the frames of a video.

    Video encoders with equal extractors share the features, so that a video is decoded once.
    """

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input frames."""
        ...

    @property
    def motion_size(self) -> int | None:
        """Height and width of the input motion images. None: no motion images are needed."""
        ...

    @property
    def fps(self) -> float | None:
        """Frames per second of its training data; frames repeat where a video has fewer. None: the setting `fps`."""
        ...

    @property
    def frames_per_clip(self) -> int:
        """Number of frames in one clip."""
        ...

    @property
    def stride(self) -> int:
        """Number of frames between the starts of neighbouring clips, at most `frames_per_clip`."""
        ...

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return the features (n, width) float32 of n clips.

        Args:
            frames: (n - 1) * stride + frames_per_clip consecutive frames of shape `size`.
        """
        ...


class VideoEncoder(Protocol):
    """Encode spans and whole videos from clip features, and score clips for anomalies."""

    @property
    def extractor(self) -> ClipFeatureExtractor:
        """Computes the clip features."""
        ...

    @property
    def anomaly_scope(self) -> str | None:
        """What the trained anomaly score covers and what it does not. None: no trained score."""
        ...

    def embed_spans(self, clips: Vectors, spans: Sequence[slice]) -> Vectors:
        """Return vectors (len(spans), dim) of spans, each a slice of the clip features (n, width)."""
        ...

    def comparable(self, clips: Vectors) -> Vectors:
        """Return the part of clip features (n, width) that describes the content, so that two clips can be compared."""
        ...

    @property
    def event_kinds(self) -> tuple[str, ...]:
        """The kinds of events that a trained detector recognises. Empty: there is no detector."""
        ...

    def score_events(self, clips: Vectors) -> NDArray[np.float32]:
        """Return the detector's scores (n, len(event_kinds)) in 0…1 of clip features (n, width) in time order."""
        ...

    def embed_video(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return the vector (dim,) of a whole video from clip features (n, width) and anomaly scores (n,)."""
        ...


class AudioEncoder(Protocol):
    """Encode windows of audio into one space."""

    @property
    def window(self) -> int:
        """Number of samples in one window."""
        ...

    @property
    def hop(self) -> int:
        """Number of samples between the starts of neighbouring windows."""
        ...

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        """Return (n, dim) float32 for (n, window) float32 in -1…1, 16 kHz mono."""
        ...


@runtime_checkable
class AudioQueryEncoder(AudioEncoder, Protocol):
    """Encode a whole recording as a query to a space that stores no audio. Its windows are features of any width."""

    def embed_audio(self, windows: Vectors) -> Vectors:
        """Return the vector (dim,) of a recording from its window features (n, width) in time order."""
        ...


_BATCH = 64


def in_batches(
    encode: Callable[[Any], Vectors], items: Sequence[Any] | NDArray[Any], dim: int, size: int = _BATCH
) -> Vectors:
    """Encode items in batches of `size` in inference mode. Return vectors (len(items), dim)."""
    import torch

    def parts() -> Iterator[Vectors]:
        yield np.empty((0, dim), np.float32)
        with torch.inference_mode():
            for start in range(0, len(items), size):
                yield encode(items[start : start + size])

    return np.concatenate(list(parts()))


def check_vectors(vectors: Vectors, space: Space) -> None:
    """Check the dimension, finiteness and norm of vectors before they are stored.

    Raises:
        InvalidVectorError: a vector does not fit the space.
    """
    if vectors.ndim != 2 or vectors.shape[1] != space.dim:
        raise InvalidVectorError(
            f"the encoder of space '{space.name}' returned vectors of shape {vectors.shape}",
            why=f"the space holds vectors of dimension {space.dim}",
            fix="check that the suite's weights belong together",
        )
    if not np.isfinite(vectors).all():
        raise InvalidVectorError(
            f"the encoder of space '{space.name}' returned a vector with NaN or infinity",
            why="it has no meaningful similarity to other vectors",
            fix="run on another device, or in float32",
        )
    if space.norm is not None and len(vectors):
        lengths = np.linalg.norm(vectors, axis=1)
        if np.abs(lengths - space.norm).max() > NORM_TOLERANCE:
            raise InvalidVectorError(
                f"the encoder of space '{space.name}' returned vectors with a wrong norm",
                why=f"their norms are {lengths.min():.4f} to {lengths.max():.4f}, the space requires {space.norm}",
                fix="check that the suite's weights belong together",
            )


# Largest deviation of a float32 norm from 1 by rounding.
_ROUNDING = 1e-5


def l2_normalize(vectors: NDArray[np.floating]) -> Vectors:
    """L2-normalise rows. A row of zeros stays zero, and `check_vectors` then rejects it."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def ensure_normalized(vectors: Vectors) -> Vectors:
    """Return `vectors` itself if all rows are L2-normalised, else a normalised copy."""
    lengths = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    return vectors if len(vectors) and np.abs(lengths - 1).max() < _ROUNDING else l2_normalize(vectors)
