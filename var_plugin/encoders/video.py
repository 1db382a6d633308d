"""From a video to clip vectors: the frames looked at, each with its time and its vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import PictureEncoder, Vectors, VideoEncoder, unit
from var_plugin.media.frames import Frame
from var_plugin.media.guard import Frames
from var_plugin.media.segments import shows_something

_BATCH = 16


@dataclass(frozen=True)
class Clips:
    """What an encoder saw of a video: n clips in order of time."""

    times: NDArray[np.float64]
    """(n,) seconds from the start of the video."""
    vectors: Vectors
    """(n, dim) float32, unit length."""
    usable: NDArray[np.bool_]
    """(n,) whether the frame shows something: neither black nor of one colour."""
    end: float
    """Seconds from the start of the video to the end of its last frame."""

    def within(self, start: float, end: float) -> slice:
        """Return the clips whose time lies in start…end, the end left out; where there is none, the nearest clip."""
        first, last = np.searchsorted(self.times, [start, end])
        if first == last:
            first = np.abs(self.times - (start + end) / 2).argmin()
            last = first + 1
        return slice(int(first), int(last))


class StillsEncoder:
    """Makes a video encoder of a picture encoder: a clip is its frame, the video their mean; a `VideoEncoder`."""

    motion = None
    scope = None

    def __init__(self, pictures: PictureEncoder) -> None:
        self._pictures = pictures
        self.size = pictures.size

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return (n, dim) float32."""
        return self._pictures.encode([frame.picture for frame in frames])

    def anomaly(self, clips: Vectors) -> None:
        """Stills alone have no trained score."""

    def whole(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return the mean direction of the clips, (dim,)."""
        return unit(clips.mean(axis=0))


def embed_clips(
    path: Path,
    encoder: VideoEncoder,
    *,
    rate: float,
    start: float = 0.0,
    end: float = math.inf,
    progress: Callable[[float], None] | None = None,
) -> Clips:
    """Decode `rate` frames a second at the encoder's size and embed them, a few at a time.

    `progress` is told the time reached, in seconds of the video.

    Raises:
        VarPluginError: one child for each way in which decoding can fail, see `media.guard.Frames`.
    """
    reader = Frames(path, rate=rate, size=encoder.size, motion=encoder.motion, start=start, end=end)
    frames = iter(reader)
    times: list[float] = []
    usable: list[bool] = []
    vectors: list[Vectors] = []
    while batch := list(islice(frames, _BATCH)):
        times.extend(frame.time for frame in batch)
        usable.extend(shows_something(frame.picture) for frame in batch)
        vectors.append(encoder.encode(batch))
        if progress:
            progress(batch[-1].time)
    return Clips(
        times=np.array(times),
        vectors=np.concatenate(vectors) if vectors else np.zeros((0, 0), np.float32),
        usable=np.array(usable, bool),
        end=reader.end,
    )


def pool(clips: Clips, spans: Sequence[tuple[float, float]]) -> Vectors:
    """Return the mean direction of each span's clips, (len(spans), dim) of unit length."""
    return unit(np.stack([clips.vectors[clips.within(start, end)].mean(axis=0) for start, end in spans]))
