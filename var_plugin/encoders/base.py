"""The contracts of the encoders: a suite holds encoders, an encoder turns content into vectors of a space.

Vectors are float32, finite and of the norm that their space declares; `check_vectors` refuses everything else before a
store sees it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from var_plugin.errors import InvalidVectorError
from var_plugin.media.frames import Frame
from var_plugin.types import Modality

Vectors = NDArray[np.float32]
"""(n, dim) float32, one row per item."""

ImageArray = NDArray[np.uint8]
"""(height, width, 3) RGB."""

AudioArray = NDArray[np.float32]
"""(samples,) mono in -1…1 at 16 kHz."""

NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ScoreStatistics:
    """How similar a query of one modality is to content it has nothing to do with: mean and deviation."""

    mean: float
    std: float


@dataclass(frozen=True)
class LogisticCalibrator:
    """How sure a calibrated score makes one that it is a match, among so many candidates.

    A logistic curve, fitted on labelled queries with and without a match over galleries of different size: the more
    candidates, the higher chance alone scores.
    """

    slope: float
    size: float
    offset: float

    def __call__(self, score: float, candidates: int) -> float:
        """Return a probability for a score in deviations above the background."""
        return 1 / (1 + math.exp(-(self.slope * score - self.size * math.log(max(1, candidates)) + self.offset)))


@dataclass(frozen=True)
class Space:
    """A named vector space: what is comparable in it, and by what it is recognised."""

    name: str
    dim: int
    metric: str
    modalities: frozenset[Modality]
    fingerprint: str
    norm: float | None = 1.0
    """Length of every stored vector; None where lengths carry meaning."""


class TextEncoder(Protocol):
    """Sentences to vectors of one space."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32."""
        ...


class ImageEncoder(Protocol):
    """Images, among them the frames of a video, to vectors of one space."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) it wants images in; the decoder delivers frames like that."""
        ...

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32; every image is `size`."""
        ...


class ClipFeatureExtractor(Protocol):
    """What makes clips of the frames of a video, each a row of features; encoders that share one read a video once."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) it wants frames in."""
        ...

    @property
    def motion_size(self) -> int | None:
        """Height and width it wants motion images in; None where it has no use for them."""
        ...

    @property
    def fps(self) -> float | None:
        """Frames per second that it was trained on, repeated where a video has fewer; None: the settings say."""
        ...

    @property
    def frames_per_clip(self) -> int:
        """How many frames it looks at for one clip."""
        ...

    @property
    def stride(self) -> int:
        """How many frames lie between the beginnings of neighbouring clips, at most `frames_per_clip`."""
        ...

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return the features (n, width) float32 of n clips.

        Args:
            frames: (n - 1) * stride + frames_per_clip consecutive frames of shape `size`.
        """
        ...


class VideoEncoder(Protocol):
    """Clips of a video to vectors of one space, and what their sequence says."""

    @property
    def extractor(self) -> ClipFeatureExtractor:
        """What makes the clips."""
        ...

    @property
    def anomaly_scope(self) -> str | None:
        """What its anomaly score was trained on and what that never saw; None where it has no such score."""
        ...

    def embed_spans(self, clips: Vectors, spans: Sequence[slice]) -> Vectors:
        """Return the vectors (len(spans), dim) of parts of a video, each some of its clips (n, width)."""
        ...

    def anomaly(self, clips: Vectors) -> NDArray[np.float32] | None:
        """Return trained anomaly scores (n,) in 0…1 of a video's clips (n, width) in order of time, or None."""
        ...

    def embed_video(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return the vector (dim,) of a whole video from its clips (n, width) and their anomaly scores (n,)."""
        ...


class AudioEncoder(Protocol):
    """Windows of sound to vectors of one space."""

    @property
    def window(self) -> int:
        """Samples that it hears at once."""
        ...

    @property
    def hop(self) -> int:
        """Samples from window to window of a longer recording."""
        ...

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        """Return (n, dim) float32 for (n, window) float32 in -1…1, 16 kHz mono."""
        ...


@runtime_checkable
class AudioQueryEncoder(AudioEncoder, Protocol):
    """Sounds as wholes, to search a space that stores none; its windows are features of any width."""

    def embed_audio(self, windows: Vectors) -> Vectors:
        """Return the vector (dim,) of a sound from its windows (n, width) in order of time."""
        ...


def check_vectors(vectors: Vectors, space: Space) -> None:
    """Raise `InvalidVectorError` unless all vectors may be stored in the space."""
    if vectors.ndim != 2 or vectors.shape[1] != space.dim:
        raise InvalidVectorError(
            f"the encoder of space '{space.name}' returned vectors of shape {vectors.shape}",
            why=f"the space holds vectors of dimension {space.dim}",
            fix="check that the suite's weights belong together",
        )
    if not np.isfinite(vectors).all():
        raise InvalidVectorError(
            f"the encoder of space '{space.name}' returned a vector with NaN or infinity",
            why="such a vector is never near anything, or near everything",
            fix="run on another device, or in float32",
        )
    if space.norm is not None and len(vectors):
        lengths = np.linalg.norm(vectors, axis=1)
        if np.abs(lengths - space.norm).max() > NORM_TOLERANCE:
            raise InvalidVectorError(
                f"the encoder of space '{space.name}' returned vectors of a wrong length",
                why=f"they measure {lengths.min():.4f} to {lengths.max():.4f}, the space holds {space.norm}",
                fix="check that the suite's weights belong together",
            )


# What float32 leaves of a length of one.
_ROUNDING = 1e-5


def l2_normalize(vectors: NDArray[np.floating]) -> Vectors:
    """Scale rows to length one; a row of zeros stays zero, so that `check_vectors` finds it."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def ensure_normalized(vectors: Vectors) -> Vectors:
    """Return `vectors` itself if all rows are L2-normalised, else a normalised copy."""
    lengths = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    return vectors if len(vectors) and np.abs(lengths - 1).max() < _ROUNDING else l2_normalize(vectors)
