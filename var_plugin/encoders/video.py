"""From a video to clip vectors: the frames looked at, each with its time and its vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import ClipReader, PictureEncoder, Vectors, VideoEncoder, unit
from var_plugin.encoders.timed import Timed
from var_plugin.media.frames import Frame
from var_plugin.media.guard import Frames
from var_plugin.media.segments import shows_something

# Frames at once; of encoders that look at many for a clip, rather that many clips.
_BATCH = 16
_LEAST_CLIPS = 4


@dataclass(frozen=True, kw_only=True)
class Clips(Timed):
    """What an encoder's reader saw of a video: features per clip; the end is that of the last frame."""

    usable: NDArray[np.bool_]
    """(n,) whether the first frame shows something: neither black nor of one colour."""

    @cached_property
    def directions(self) -> Vectors:
        """The features, each scaled to length one."""
        return unit(self.vectors)


class EachFrame:
    """What encoders have in common whose clips are single frames, each with a vector of the space already."""

    motion: int | None = None
    rate: float | None = None
    stack = hop = 1

    @property
    def reader(self) -> Self:
        """Itself: frames become vectors at once."""
        return self

    def pool(self, clips: Vectors, spans: Sequence[slice]) -> Vectors:
        """Return the mean direction of each span's clips, (len(spans), dim)."""
        return mean_directions(clips, spans)


class StillsEncoder(EachFrame):
    """Makes a video encoder of a picture encoder: a clip is its frame, the video their mean; a `VideoEncoder`."""

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
        (whole,) = self.pool(clips, [slice(None)])
        return np.asarray(whole, np.float32)


def embed_clips(
    path: Path,
    reader: ClipReader,
    *,
    rate: float,
    start: float = 0.0,
    end: float = math.inf,
    progress: Callable[[float], None] | None = None,
) -> Clips:
    """Decode the frames that a reader wants and make clips of them, a few at a time.

    A clip of several frames spans the same time in every video: where frames are missing, the one before is repeated. A
    rest at the end of less than half a clip is left out, a longer one is filled up with its last frame.

    Args:
        path: the video.
        reader: makes the clips.
        rate: frames per second, where the reader does not say.
        start, end: the part of the video, in seconds.
        progress: is told the time reached, in seconds of the video.

    Raises:
        VarPluginError: one child for each way in which decoding can fail, see `media.guard.Frames`.
    """
    rate = reader.rate or rate
    decoded = Frames(path, rate=rate, size=reader.size, motion=reader.motion, start=start, end=end)
    frames = iter(decoded) if reader.stack == 1 else _steady(decoded, rate)
    times: list[float] = []
    usable: list[bool] = []
    vectors: list[Vectors] = []
    for run in _runs(frames, reader.stack, reader.hop):
        first_frames = run[: len(run) - reader.stack + 1 : reader.hop]
        times.extend(frame.time for frame in first_frames)
        usable.extend(shows_something(frame.picture) for frame in first_frames)
        vectors.append(reader.encode(run))
        if progress:
            progress(run[-1].time)
    return Clips(
        times=np.array(times),
        vectors=np.concatenate(vectors) if vectors else np.zeros((0, 0), np.float32),
        usable=np.array(usable, bool),
        end=decoded.end,
    )


def pool(clips: Clips, encoder: VideoEncoder, spans: Sequence[tuple[float, float]]) -> Vectors:
    """Return the vectors (len(spans), dim) of spans of a video, in seconds."""
    return encoder.pool(clips.vectors, [clips.within(start, end) for start, end in spans])


def mean_directions(clips: Vectors, spans: Sequence[slice]) -> Vectors:
    """Return the mean direction of each span's clips, (len(spans), dim) of unit length."""
    return unit(np.stack([clips[span].mean(axis=0) for span in spans]))


def _steady(decoded: Frames, rate: float) -> Iterator[Frame]:
    """Yield a frame for each 1/rate seconds from the first one to the end."""
    shown: Frame | None = None
    slot = 0
    for frame in decoded:
        due = math.floor(frame.time * rate + 1e-6)
        if shown is not None:
            yield from (replace(shown, time=missing / rate) for missing in range(slot, due))
        yield frame
        shown, slot = frame, due + 1
    if shown is not None:
        last = math.ceil(decoded.end * rate - 1e-6)
        yield from (replace(shown, time=missing / rate) for missing in range(slot, last))


def _runs(frames: Iterator[Frame], stack: int, hop: int) -> Iterator[list[Frame]]:
    """Yield neighbouring frames that hold some clips each; the clips follow each other without a gap."""
    clips_at_once = max(_LEAST_CLIPS, _BATCH // stack)
    run: list[Frame] = []
    begun = False
    for frame in frames:
        run.append(frame)
        if len(run) == (clips_at_once - 1) * hop + stack:
            yield run
            begun, run = True, run[clips_at_once * hop :]
    whole = max(0, (len(run) - stack) // hop + 1)
    rest = len(run) - whole * hop
    if rest > 0 and (2 * rest >= hop or not (begun or whole)):
        run += [run[-1]] * (whole * hop + stack - len(run))
        whole += 1
    if whole:
        yield run[: (whole - 1) * hop + stack]
