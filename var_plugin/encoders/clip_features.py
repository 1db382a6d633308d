"""Decode the frames of a video and compute one feature vector per clip, with its time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import (
    ClipFeatureExtractor,
    ImageEncoder,
    NoDetectorMixin,
    Vectors,
    VideoEncoder,
    l2_normalize,
)
from var_plugin.media.decoded import Frame
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.sandbox.client import Frames
from var_plugin.media.segmentation import has_content


@dataclass(frozen=True, kw_only=True)
class TimedFeatures:
    """Features at n points in time, in ascending order."""

    times: NDArray[np.float64]
    """(n,) seconds from the start of the recording to the start or the middle of each item."""
    vectors: Vectors
    """(n, width) float32: vectors of a space, or the features they are computed from."""
    end: float
    """Seconds from the start of the recording to its end."""

    def within(self, start: float, end: float) -> slice:
        """Return the rows in [start, end) seconds, or the row nearest to the middle."""
        first, last = np.searchsorted(self.times, [start, end])
        if first == last:
            first = np.abs(self.times - (start + end) / 2).argmin()
            last = first + 1
        return slice(int(first), int(last))


FRAMES_PER_BATCH = 16
"""Approximate number of frames per batch. It has at least `_MIN_CLIPS_PER_BATCH` clips, however long they are."""
_MIN_CLIPS_PER_BATCH = 4


@dataclass(frozen=True, kw_only=True)
class ClipFeatures(TimedFeatures):
    """Features per clip of a video. `end` is the end of the last frame."""

    usable: NDArray[np.bool_]
    """(n,) whether the first frame has content, i.e. is neither black nor of a single colour."""

    def within(self, start: float, end: float) -> slice:
        """Return the clips that start in [start, end) seconds, or the clip that is shown at `start`."""
        first, last = np.searchsorted(self.times, [start, end])
        if first == last:
            first = max(0, int(np.searchsorted(self.times, start, side="right")) - 1)
            last = first + 1
        return slice(int(first), int(last))


@dataclass(frozen=True)
class SamplingSpec:
    """The frames that an extractor needs of a video, without the extractor, so it can be sent to another process."""

    size: tuple[int, int]
    motion_size: int | None
    fps: float
    frames_per_clip: int
    stride: int
    frames_per_batch: int = FRAMES_PER_BATCH
    """Approximate number of frames per batch."""

    @classmethod
    def of(cls, extractor: ClipFeatureExtractor, fps: float, frames_per_batch: int = FRAMES_PER_BATCH) -> Self:
        """Return the specification of an extractor. `fps` in frames per second applies if the extractor sets none."""
        return cls(
            extractor.size,
            extractor.motion_size,
            extractor.fps or fps,
            extractor.frames_per_clip,
            extractor.stride,
            frames_per_batch,
        )


@dataclass(frozen=True)
class ClipBatch:
    """Consecutive frames of n complete clips."""

    frames: list[Frame]
    times: list[float]
    """Start times of the n clips, in seconds from the start of the video."""
    usable: list[bool]
    """Per clip, as `ClipFeatures.usable`."""

    def encode(self, extractor: ClipFeatureExtractor) -> EncodedBatch:
        """Return the features of the clips."""
        (encoded,) = encode_batches([self], extractor)
        return encoded


@dataclass(frozen=True)
class EncodedBatch:
    """Features (n, width) of the clips of a batch."""

    times: list[float]
    usable: list[bool]
    vectors: Vectors


def encode_batches(batches: Sequence[ClipBatch], extractor: ClipFeatureExtractor) -> list[EncodedBatch]:
    """Compute the clip features of batches from one or several videos, in one call unless clips share frames."""
    if extractor.frames_per_clip != extractor.stride and len(batches) > 1:
        return [batch.encode(extractor) for batch in batches]
    vectors = extractor.encode([frame for batch in batches for frame in batch.frames])
    ends = np.cumsum([len(batch.times) for batch in batches])
    return [
        EncodedBatch(batch.times, batch.usable, part)
        for batch, part in zip(batches, np.split(vectors, ends[:-1]), strict=True)
    ]


class ClipBatches:
    """Decode a video once and yield batches of clips.

    A clip of several frames covers the same time in every video. A missing frame is replaced by the previous one. An
    incomplete clip at the end is dropped if it is shorter than half a stride and not the only clip. Otherwise it is
    padded with the last frame.

    Args:
        path: the video.
        sampling: frame rate, frame size and layout of the clips.
        start, end: the part of the video, in seconds.
        limits: limits of decoding.
    """

    def __init__(
        self,
        path: Path,
        sampling: SamplingSpec,
        *,
        start: float = 0.0,
        end: float = math.inf,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._sampling = sampling
        self._decoded = Frames(
            path,
            limits=limits,
            rate=sampling.fps,
            size=sampling.size,
            motion=sampling.motion_size,
            start=start,
            end=end,
        )

    @property
    def end(self) -> float:
        """End of the last frame in seconds. It is known after the last batch."""
        return self._decoded.end

    def __iter__(self) -> Iterator[ClipBatch]:
        """Yield the batches in order of time. Raises as `media.sandbox.client.Frames`."""
        sampling = self._sampling
        frames = (
            iter(self._decoded) if sampling.frames_per_clip == 1 else _at_constant_rate(self._decoded, sampling.fps)
        )
        for batch in _split_batches(frames, sampling):
            first_frames = batch[: len(batch) - sampling.frames_per_clip + 1 : sampling.stride]
            yield ClipBatch(
                batch,
                [frame.time for frame in first_frames],
                [has_content(frame.image) for frame in first_frames],
            )


def concat_batches(batches: Iterable[EncodedBatch], end: Callable[[], float]) -> ClipFeatures:
    """Join the batches of a video, in order of time, to its clip features.

    Args:
        batches: the batches.
        end: returns the end of the last frame in seconds. It is called after the last batch.
    """
    times: list[float] = []
    usable: list[bool] = []

    def vectors() -> Iterator[Vectors]:
        for batch in batches:
            times.extend(batch.times)
            usable.extend(batch.usable)
            yield batch.vectors

    joined = stack_chunks(vectors())
    return ClipFeatures(times=np.array(times), vectors=joined, usable=np.array(usable, bool), end=end())


class PerFrameMixin:
    """Base of video encoders with one frame per clip, whose clip features are already vectors of the space."""

    motion_size: int | None = None
    fps: float | None = None
    frames_per_clip = stride = 1

    @property
    def extractor(self) -> Self:
        """The encoder itself."""
        return self

    def embed_spans(self, clips: Vectors, spans: Sequence[slice]) -> Vectors:
        """Return the mean-pooled, L2-normalised vectors (len(spans), dim) of spans of clips."""
        return mean_pool(clips, spans)


@dataclass(frozen=True)
class ImageVideoEncoder(PerFrameMixin, NoDetectorMixin):
    """Turn an image encoder into a `VideoEncoder`: a clip is one frame, a video the mean of its clips.

    Two instances with the same image encoder are equal, because they compute the same features.
    """

    images: ImageEncoder

    @property
    def size(self) -> tuple[int, int]:
        """Expected frame size (height, width) in pixels."""
        return self.images.size

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return vectors (n, dim) float32."""
        return self.images.encode([frame.image for frame in frames])

    def embed_video(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return the mean-pooled, L2-normalised vector (dim,) of the clips."""
        (whole,) = self.embed_spans(clips, [slice(None)])
        return np.asarray(whole, np.float32)


def embed_clips(
    path: Path,
    extractor: ClipFeatureExtractor,
    *,
    fps: float,
    start: float = 0.0,
    end: float = math.inf,
    limits: Limits = DEFAULT_LIMITS,
    progress: Callable[[float], None] | None = None,
) -> ClipFeatures:
    """Decode a video in batches and compute the features of its clips.

    Args:
        path: the video.
        extractor: computes the features of the clips.
        fps: frames per second, used if the extractor sets none.
        start: start of the part of the video, in seconds.
        end: end of the part of the video, in seconds.
        limits: limits of decoding.
        progress: called after each batch with the time reached, in seconds of the video.

    Raises:
        VarPluginError: a subclass per cause of failure, see `media.sandbox.client.Frames`.
    """
    batches = ClipBatches(path, SamplingSpec.of(extractor, fps), start=start, end=end, limits=limits)

    def encoded() -> Iterator[EncodedBatch]:
        for batch in batches:
            yield batch.encode(extractor)
            if progress:
                progress(batch.frames[-1].time)

    return concat_batches(encoded(), lambda: batches.end)


def pool_clips(clips: ClipFeatures, encoder: VideoEncoder, spans: Sequence[tuple[float, float]]) -> Vectors:
    """Return the vectors (len(spans), dim) of spans of a video, each (start, end) in seconds."""
    return encoder.embed_spans(clips.vectors, [clips.within(start, end) for start, end in spans])


def mean_pool(clips: Vectors, spans: Sequence[slice]) -> Vectors:
    """Mean-pool the clips of each span. Return L2-normalised vectors (len(spans), dim)."""
    return l2_normalize(np.stack([clips[span].mean(axis=0) for span in spans]))


def _at_constant_rate(decoded: Frames, rate: float) -> Iterator[Frame]:
    """Yield one frame per 1/rate seconds from the first frame to the end, repeating frames where some are missing."""
    previous: Frame | None = None
    slot = 0
    for frame in decoded:
        due = math.floor(frame.time * rate + 1e-6)
        if previous is not None:
            yield from (replace(previous, time=missing / rate) for missing in range(slot, due))
        yield frame
        previous, slot = frame, due + 1
    if previous is not None:
        last = math.ceil(decoded.end * rate - 1e-6)
        yield from (replace(previous, time=missing / rate) for missing in range(slot, last))


def _split_batches(frames: Iterator[Frame], sampling: SamplingSpec) -> Iterator[list[Frame]]:
    """Yield batches of consecutive frames, each with several complete clips. No clip is left out between batches."""
    frames_per_clip, stride = sampling.frames_per_clip, sampling.stride
    clips_at_once = max(_MIN_CLIPS_PER_BATCH, sampling.frames_per_batch // frames_per_clip)
    batch: list[Frame] = []
    has_clips = False
    for frame in frames:
        batch.append(frame)
        if len(batch) == (clips_at_once - 1) * stride + frames_per_clip:
            yield batch
            has_clips, batch = True, batch[clips_at_once * stride :]
    whole = max(0, (len(batch) - frames_per_clip) // stride + 1)
    rest = len(batch) - whole * stride
    if rest > 0 and (2 * rest >= stride or not (has_clips or whole)):
        batch += [batch[-1]] * (whole * stride + frames_per_clip - len(batch))
        whole += 1
    if whole:
        yield batch[: (whole - 1) * stride + frames_per_clip]


_GROWTH_ROWS = 4_096


def stack_chunks(parts: Iterable[Vectors]) -> Vectors:
    """Stack the rows of all parts (n, width) in order. Without parts, return an array (0, 0)."""
    rows: NDArray[np.float32] = np.zeros((0, 0), np.float32)
    count = 0
    for part in parts:
        needed = count + len(part)
        if needed > len(rows):
            # No other reference to the array exists. The system can grow large arrays without copying them.
            rows.resize((needed + _GROWTH_ROWS, part.shape[1]), refcheck=False)
        rows[count:needed] = part
        count = needed
    rows.resize((count, rows.shape[1]), refcheck=False)
    return rows
