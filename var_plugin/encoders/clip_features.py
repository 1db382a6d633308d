"""From a video to clip vectors: the frames looked at, each with its time and its vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import ClipReader, ImageEncoder, Vectors, VideoEncoder, unit
from var_plugin.media.frames import Frame
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.sandbox.client import Frames
from var_plugin.media.segmentation import has_content


@dataclass(frozen=True, kw_only=True)
class Timed:
    """n moments in order of time."""

    times: NDArray[np.float64]
    """(n,) seconds from the start of the recording to that of each moment, or to its middle."""
    vectors: Vectors
    """(n, width) float32: vectors of a space, or the features that they are made of."""
    end: float
    """Seconds from the start of the recording to its end."""

    def within(self, start: float, end: float) -> slice:
        """Return the moments in start…end, the end left out; where there is none, the nearest to the middle."""
        first, last = np.searchsorted(self.times, [start, end])
        if first == last:
            first = np.abs(self.times - (start + end) / 2).argmin()
            last = first + 1
        return slice(int(first), int(last))


FRAMES_AT_ONCE = 16
"""Of encoders that look at many frames for a clip, rather so many clips as these frames hold, but a few at least."""
_LEAST_CLIPS = 4


@dataclass(frozen=True, kw_only=True)
class Clips(Timed):
    """What an encoder's reader saw of a video: features per clip; the end is that of the last frame."""

    usable: NDArray[np.bool_]
    """(n,) whether the first frame shows something: neither black nor of one colour."""

    def within(self, start: float, end: float) -> slice:
        """Return the clips that begin in start…end, the end left out; without one, the clip shown at `start`."""
        first, last = np.searchsorted(self.times, [start, end])
        if first == last:
            first = max(0, int(np.searchsorted(self.times, start, side="right")) - 1)
            last = first + 1
        return slice(int(first), int(last))


@dataclass(frozen=True)
class Grid:
    """What a reader wants of a video, without the reader itself: small enough to travel to another process."""

    size: tuple[int, int]
    motion: int | None
    rate: float
    stack: int
    hop: int
    at_once: int = FRAMES_AT_ONCE
    """Frames of a run, about."""

    @classmethod
    def of(cls, reader: ClipReader, rate: float, at_once: int = FRAMES_AT_ONCE) -> Self:
        """Return the grid of a reader; `rate` in frames per second counts where the reader does not say."""
        return cls(reader.size, reader.motion, reader.rate or rate, reader.stack, reader.hop, at_once)


@dataclass(frozen=True)
class Run:
    """Neighbouring frames that hold n whole clips."""

    frames: list[Frame]
    times: list[float]
    """Of the n clips, in seconds from the start of the video."""
    usable: list[bool]
    """As `Clips.usable`."""

    def read(self, reader: ClipReader) -> ReadRun:
        """Make features of the clips."""
        (read,) = read_together([self], reader)
        return read


@dataclass(frozen=True)
class ReadRun:
    """What a reader made of a run: features (n, width) of its clips."""

    times: list[float]
    usable: list[bool]
    vectors: Vectors


def read_together(runs: Sequence[Run], reader: ClipReader) -> list[ReadRun]:
    """Make features of the clips of runs, of one video or several: at once, unless clips share frames."""
    if reader.stack != reader.hop and len(runs) > 1:
        return [run.read(reader) for run in runs]
    vectors = reader.encode([frame for run in runs for frame in run.frames])
    ends = np.cumsum([len(run.times) for run in runs])
    return [ReadRun(run.times, run.usable, part) for run, part in zip(runs, np.split(vectors, ends[:-1]), strict=True)]


class Runs:
    """Decodes a video once, as runs of a few clips; afterwards `end` is that of its last frame, in seconds.

    Where a clip has several frames it spans the same time in every video: where frames are missing, the one before is
    repeated. A rest at the end of less than half a clip is left out, a longer one is filled up with its last frame.

    Args:
        path: the video.
        grid: which frames, and how they make clips.
        start, end: the part of the video, in seconds.
        limits: limits of decoding.
    """

    def __init__(
        self,
        path: Path,
        grid: Grid,
        *,
        start: float = 0.0,
        end: float = math.inf,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._grid = grid
        self._decoded = Frames(
            path, limits=limits, rate=grid.rate, size=grid.size, motion=grid.motion, start=start, end=end
        )

    @property
    def end(self) -> float:
        """Seconds; known after the last run."""
        return self._decoded.end

    def __iter__(self) -> Iterator[Run]:
        """Yield the runs in order of time; raises as `media.sandbox.client.Frames`."""
        grid = self._grid
        frames = iter(self._decoded) if grid.stack == 1 else _steady(self._decoded, grid.rate)
        for run in _runs(frames, grid):
            first_frames = run[: len(run) - grid.stack + 1 : grid.hop]
            yield Run(
                run,
                [frame.time for frame in first_frames],
                [has_content(frame.image) for frame in first_frames],
            )


def join_runs(runs: Iterable[ReadRun], end: Callable[[], float]) -> Clips:
    """Return the clips of a video from its runs in order of time; `end`, of its last frame, is asked afterwards."""
    times: list[float] = []
    usable: list[bool] = []

    def vectors() -> Iterator[Vectors]:
        for run in runs:
            times.extend(run.times)
            usable.extend(run.usable)
            yield run.vectors

    joined = gathered(vectors())
    return Clips(times=np.array(times), vectors=joined, usable=np.array(usable, bool), end=end())


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


@dataclass(frozen=True)
class StillsEncoder(EachFrame):
    """Makes a video encoder of an image encoder: a clip is its frame, the video their mean; a `VideoEncoder`.

    Two on the same images are equal: what one has read of a video is what the other would read.
    """

    images: ImageEncoder
    scope: ClassVar[None] = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) it wants frames in."""
        return self.images.size

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return (n, dim) float32."""
        return self.images.encode([frame.image for frame in frames])

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
    limits: Limits = DEFAULT_LIMITS,
    progress: Callable[[float], None] | None = None,
) -> Clips:
    """Decode the frames that a reader wants and make clips of them, a few at a time, as `Runs`.

    Args:
        path: the video.
        reader: makes the clips.
        rate: frames per second, where the reader does not say.
        start: where the part of the video begins, in seconds.
        end: where it ends.
        limits: limits of decoding.
        progress: is told the time reached, in seconds of the video.

    Raises:
        VarPluginError: one child for each way in which decoding can fail, see `media.sandbox.client.Frames`.
    """
    runs = Runs(path, Grid.of(reader, rate), start=start, end=end, limits=limits)

    def read() -> Iterator[ReadRun]:
        for run in runs:
            yield run.read(reader)
            if progress:
                progress(run.frames[-1].time)

    return join_runs(read(), lambda: runs.end)


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


def _runs(frames: Iterator[Frame], grid: Grid) -> Iterator[list[Frame]]:
    """Yield neighbouring frames that hold some clips each; the clips follow each other without a gap."""
    stack, hop = grid.stack, grid.hop
    clips_at_once = max(_LEAST_CLIPS, grid.at_once // stack)
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


_GROWS_BY = 4_096  # rows


def gathered(parts: Iterable[Vectors]) -> Vectors:
    """Return the rows of all parts (n, width) in order; without a part, (0, 0)."""
    rows: NDArray[np.float32] = np.zeros((0, 0), np.float32)
    count = 0
    for part in parts:
        needed = count + len(part)
        if needed > len(rows):
            # Nobody else has seen the array, and the system moves one so large without copying it.
            rows.resize((needed + _GROWS_BY, part.shape[1]), refcheck=False)
        rows[count:needed] = part
        count = needed
    rows.resize((count, rows.shape[1]), refcheck=False)
    return rows
