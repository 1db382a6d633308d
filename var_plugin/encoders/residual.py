"""The residual ALAN as encoders: what a suite's space is refined by, whatever backbones the space stands on."""

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
    TextEncoder,
    Vectors,
    VideoEncoder,
    ensure_normalized,
)
from var_plugin.encoders.clip_features import PerFrameMixin
from var_plugin.encoders.weights import in_batches
from var_plugin.media.frames import Frame

if TYPE_CHECKING:
    from torch import Tensor

    from var_plugin.encoders.alan.residual import ResidualAlanModel

_CHUNK = 4_096  # clips at once: hours of footage are not held several times over

Reader = Callable[[Sequence[str]], "tuple[Vectors, Tensor]"]
"""From texts to their vectors (n, hidden_size) and sentence vectors (n, sentence_dim) that say what they speak of."""


class Towers(Protocol):
    """A residual ALAN with what was measured of it; it loads at its first use."""

    @property
    def model(self) -> ResidualAlanModel:
        """The model, ready to encode."""
        ...

    @property
    def dim(self) -> int:
        """Width of its vectors."""
        ...

    @property
    def anomaly_scope(self) -> str | None:
        """What its anomaly score was trained on and what that never saw; None: it was not trained."""
        ...

    @property
    def calibration(self) -> tuple[float, float]:
        """Slope and offset that turn the detector's logits into those of a probability."""
        ...


class ResidualTextEncoder:
    """Sentences to the refined space; satisfies `TextEncoder`."""

    def __init__(self, read: Reader, towers: Towers) -> None:
        self._read, self._towers = read, towers

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 of length one; the text decides how much motion counts."""
        return in_batches(self._encode, texts, self._towers.dim)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        import torch

        objects, sentences = self._read(texts)
        return _rows(self._towers.model.encode_texts(torch.from_numpy(objects), sentences))


class ResidualImageEncoder:
    """Images, of whose motion nothing is known, to the refined space; satisfies `ImageEncoder`."""

    def __init__(self, stills: ImageEncoder, towers: Towers) -> None:
        self._stills, self._towers = stills, towers

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) it wants images in."""
        return self._stills.size

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32 of length one; raises as the encoder below it."""
        return in_batches(self._encode, images, self._towers.dim)

    def _encode(self, images: Sequence[ImageArray]) -> Vectors:
        import torch

        return _rows(self._towers.model.encode_clips(torch.from_numpy(self._stills.encode(images))))


class MotionClipEncoder(PerFrameMixin):
    """Frames, with what moves after them, as clips of the refined space, before the towers; a `VideoEncoder`.

    Args:
        stills: what sees the frames.
        towers: their model knows motion.
        motion: what sees it.
    """

    motion_size = SIDE
    anomaly_scope = None

    def __init__(self, stills: ImageEncoder, towers: Towers, motion: MotionBackbone) -> None:
        self._stills, self._towers, self._backbone = stills, towers, motion

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) it wants frames in."""
        return self._stills.size

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return clip vectors (n, dim) float32 of length one."""
        return in_batches(self._encode, frames, self._towers.dim)

    def _encode(self, frames: Sequence[Frame]) -> Vectors:
        import torch

        objects = self._stills.encode([frame.image for frame in frames])
        moved = self._backbone.features([frame.motion for frame in frames if frame.motion is not None])
        return _rows(self._towers.model.encode_clips(torch.from_numpy(objects), torch.from_numpy(moved)))

    def anomaly(self, clips: Vectors) -> None:
        """The towers have the score."""

    def embed_video(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return the mean direction of the clips, (dim,)."""
        return np.asarray(self.embed_spans(clips, [slice(None)])[0], np.float32)


class ResidualVideoEncoder:
    """What a video's clips say together, on top of another `VideoEncoder`, whose clips and spans it leaves as they are.

    Args:
        frames: what sees the clips.
        towers: the model.
    """

    def __init__(self, frames: VideoEncoder, towers: Towers) -> None:
        self._frames, self._towers = frames, towers

    @property
    def extractor(self) -> ClipFeatureExtractor:
        """That of the encoder below."""
        return self._frames.extractor

    @property
    def anomaly_scope(self) -> str | None:
        """What its anomaly score was trained on and what that never saw."""
        return self._towers.anomaly_scope or self._frames.anomaly_scope

    def embed_spans(self, clips: Vectors, spans: Sequence[slice]) -> Vectors:
        """Return the vectors (len(spans), dim) that the encoder below has for parts of a video."""
        return self._frames.embed_spans(clips, spans)

    def anomaly(self, clips: Vectors) -> NDArray[np.float32] | None:
        """Return (n,): the detector's calibrated scores; where it was not trained, those of the encoder below."""
        if self._towers.anomaly_scope is None:
            return self._frames.anomaly(clips)
        return self.scores(clips, np.arange(len(clips)))

    def scores(self, clips: Vectors, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the detector's calibrated scores (n,) of the clips at `places` (n,), as if in this order."""
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
        """Return (dim,) of length one: ALAN's vector of the video, by fixed and anomaly-led sampling of its clips."""
        import torch

        with torch.inference_mode():
            return _rows(self._towers.model(*self._one_video(clips), torch.from_numpy(scores)[None]).vectors[0])

    def _one_video(self, clips: Vectors) -> tuple[Tensor, Tensor]:
        """Return the clips' vectors as a batch of one (1, n, dim), and its mask."""
        import torch

        vectors = torch.from_numpy(each_clip(clips, self._frames))
        return vectors[None], torch.ones(1, len(clips), dtype=torch.bool)


def each_clip(clips: Vectors, encoder: VideoEncoder) -> Vectors:
    """Return the vector of each clip, (n, dim), from its features (n, width)."""
    if isinstance(encoder, PerFrameMixin) and type(encoder).embed_spans is PerFrameMixin.embed_spans:
        return ensure_normalized(clips)
    dim = encoder.embed_spans(clips[:1], [slice(0, 1)]).shape[1]
    vectors = np.empty((len(clips), dim), np.float32)
    for first in range(0, len(clips), _CHUNK):
        some = clips[first : first + _CHUNK]
        vectors[first : first + _CHUNK] = encoder.embed_spans(some, [slice(n, n + 1) for n in range(len(some))])
    return vectors


def read_with(text: TextEncoder) -> Reader:
    """Make a reader of a text encoder: its vectors themselves say what a text speaks of."""

    def read(texts: Sequence[str]) -> tuple[Vectors, Tensor]:
        import torch

        vectors = text.encode(texts)
        return vectors, torch.from_numpy(vectors)

    return read


def _rows(vectors: Tensor) -> Vectors:
    return np.asarray(vectors.numpy(), np.float32)
