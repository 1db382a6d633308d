"""Frames of a video, at a wanted rate and size, with their true presentation times.

The file is decoded once, forward: seeking per sample costs more than decoding everything between. Where so few frames
are wanted that the key frames are enough, only they are decoded. Only the chosen frames pass the filter graph that
scales, turns and converts them, so memory holds one frame at a time.

This decodes in the process that calls it; `media.guard` does the same in a process of its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from var_plugin.errors import TooLongMediaError, TooManyFramesError, TruncatedMediaError, UnreadableMediaError, said
from var_plugin.media.container import (
    LONGEST_GAP_SECONDS,
    OUT_OF_MEMORY,
    check_pixels,
    clock_jumps,
    declared_duration,
    decoded,
    main_video_stream,
    open_media,
    start_time,
    unreadable,
)
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.motion import MotionPictures
from var_plugin.media.scaling import Scaler
from var_plugin.media.sparse import KeyFrames, enough_key_frames

# Frame threads win from this height on; below, one thread per file costs less CPU time in all. Each thread holds
# pictures of its own, so memory bounds their number.
_THREADED_FROM_HEIGHT = 720
_THREADS = min(4, os.cpu_count() or 1)
# A frame may come a little late in an untidy file; beyond this the clock was set anew.
_BACKWARD_SLACK_SECONDS = 2.0
# Headers are often off by a few frames, or count a longer sound track.
_TRUNCATION_SLACK_SECONDS = 2.0
_TRUNCATION_SLACK_SHARE = 0.02


@dataclass(frozen=True)
class Frame:
    """A decoded picture, (height, width, 3) uint8 RGB, and its presentation time in seconds from the start."""

    time: float
    picture: NDArray[np.uint8]
    motion: NDArray[np.uint8] | None = None
    """What changes right after it, where that was asked for: `motion.motion_picture`."""


class Wanted(TypedDict, total=False):
    """Which frames of a video are wanted, as `FrameReader` takes them."""

    rate: float | None
    size: tuple[int, int] | None
    motion: int | None
    start: float
    end: float


class _NotWholeError(Exception):
    """Key frames show a part only, as where a camera renews its picture strip by strip, or cannot be decoded."""


class FrameReader:
    """Reads the frames of one video once; afterwards `end` is where the pictures really stopped.

    Args:
        path: a local file.
        rate: frames per second wanted; one frame is returned for each 1/rate seconds in which there are any, the first
            one, or of a whole video without motion pictures the first key frame, if each has one. None: every frame.
        size: (height, width) of the pictures returned, whatever their shape in the file. None: as in the file.
        motion: height and width of the motion picture that goes with each frame. None: none is made.
        start, end: only frames in this part, in seconds.
        limits: what the file may ask for.
    """

    def __init__(
        self,
        path: Path,
        *,
        rate: float | None = None,
        size: tuple[int, int] | None = None,
        motion: int | None = None,
        start: float = 0.0,
        end: float = math.inf,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._path, self._rate, self._size, self._motion, self._limits = path, rate, size, motion, limits
        self._start, self._stop = start, end
        self._slot = -1.0  # the last one of which a frame was chosen
        self._decoded_count = 0
        self.end = 0.0
        """Seconds from the start of the video to the end of its last decoded frame."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order of time.

        Raises:
            MediaNotFoundError, EmptyMediaError, PlaylistError, UnreadableMediaError, NoVideoStreamError,
                TooManyStreamsError, TooManyPixelsError: as `open_media` and `main_video_stream`.
            TooManyFramesError, TooLongMediaError: at the frame that passes the limit.
            BrokenTimestampsError: at a frame that lies more than 2 s before one that came earlier, or an hour after it.
            TruncatedMediaError: after the last frame, when the header declares a later end, within the part asked for.
        """
        self._slot = -1.0
        by_keys = self._key_frames()
        if by_keys is not None:
            with suppress(_NotWholeError):  # then the frames so far are good, and the rest comes of decoding all
                yield from self._read(by_keys)
                return
        yield from self._read(None)

    def _read(self, by_keys: KeyFrames | None) -> Iterator[Frame]:
        """Yield the frames behind the last slot; with `by_keys` from key frames alone."""
        key_frames = by_keys is not None
        with open_media(self._path, self._limits) as container:
            stream = main_video_stream(container, self._path, self._limits)
            threaded = stream.height >= _THREADED_FROM_HEIGHT
            stream.thread_type = "AUTO" if threaded else "NONE"
            stream.codec_context.thread_count = _THREADS if threaded else 1
            declared = declared_duration(container, stream)
            try:
                yield from self._selected(container, stream, key_frames)
            except OUT_OF_MEMORY:
                raise
            except (av.FFmpegError, ValueError) as error:  # a picture that cannot be scaled or converted
                raise unreadable(self._path, said(error)) from error
            if by_keys:
                if self._decoded_count < by_keys.count:
                    raise _NotWholeError
                self.end = max(self.end, by_keys.end)
            if self.end == 0.0 and self._start == 0.0:
                raise unreadable(self._path, "no frame in it can be decoded")
            if declared is not None:
                self._check_complete(min(declared, self._stop))

    def _key_frames(self) -> KeyFrames | None:
        """Return the key frames where they are enough."""
        if self._rate is None or self._motion is not None or (self._start, self._stop) != (0.0, math.inf):
            return None
        return enough_key_frames(self._path, self._rate, self._limits)

    def _selected(self, container: InputContainer, stream: VideoStream, key_frames: bool) -> Iterator[Frame]:
        scale = Scaler(stream, self._size)
        moving = MotionPictures(Scaler(stream, (self._motion, self._motion), "gray")) if self._motion else None
        for time, frame in self._decoded(container, stream, key_frames):
            # One frame for each slot of 1/rate seconds: no drift, whatever the frame rate of the file.
            slot = time if self._rate is None else math.floor(time * self._rate + 1e-6)
            chosen, self._slot = slot > self._slot, max(self._slot, slot)
            if moving is None:
                if chosen:
                    yield Frame(time, scale(frame))
                continue
            if chosen:
                moving.choose(time, scale(frame))
            for complete in moving.see(time, frame):
                yield Frame(*complete)
        if moving is not None:
            for complete in moving.rest():
                yield Frame(*complete)

    def _decoded(
        self, container: InputContainer, stream: VideoStream, key_frames: bool
    ) -> Iterator[tuple[float, VideoFrame]]:
        """Yield every frame of the part asked for, with its time in seconds from the start of the video."""
        zero = start_time(container)
        if self._start > 0:
            container.seek(round((self._start + zero) * av.time_base))
        self._decoded_count = 0
        latest = None if self._start else 0.0  # seeking lands somewhere before the start
        for count, frame in enumerate(decoded(container, stream, self._path, key_frames=key_frames), start=1):
            if not isinstance(frame, VideoFrame) or frame.time is None:
                continue
            if key_frames and frame.pict_type != PictureType.I:
                raise _NotWholeError
            self._decoded_count += 1
            self._check(frame, count, frame.time - zero, latest)
            time = max(0.0, frame.time - zero)
            if time >= self._stop:
                self.end = max(self.end, self._stop)  # shown until then
                return
            latest = max(latest or 0.0, time)
            self.end = max(self.end, time + _frame_duration(frame, stream))
            if time >= self._start:
                yield time, frame

    def _check(self, frame: VideoFrame, count: int, time: float, latest: float | None) -> None:
        """Hold one decoded frame against the limits; frames may be other than the header declared."""
        check_pixels(frame.width, frame.height, self._path, self._limits)
        if count > self._limits.frames:
            raise TooManyFramesError(
                f"{self._path} holds too many frames",
                why=f"the limit is {self._limits.frames}",
                fix="cut it into shorter files",
            )
        if time > self._limits.duration:
            raise TooLongMediaError(
                f"{self._path} goes on for too long",
                why=f"a frame is shown at {time:.0f} s, the limit is {self._limits.duration:.0f} s",
                fix="cut it into shorter files, or mend its timestamps",
            )
        if latest is not None and not -_BACKWARD_SLACK_SECONDS <= time - latest <= LONGEST_GAP_SECONDS:
            raise clock_jumps(self._path, time, latest)

    def _check_complete(self, wanted: float) -> None:
        """Raise unless there were pictures up to this time, which the header declares."""
        missing = wanted - self.end
        if missing > max(_TRUNCATION_SLACK_SECONDS, wanted * _TRUNCATION_SLACK_SHARE):
            raise TruncatedMediaError(
                f"{self._path} is truncated",
                why=f"it declares {wanted:.1f} s of pictures or more but stops at {self.end:.1f} s",
                fix="copy it again, or keep what is there with: ffmpeg -i FILE -c copy REPAIRED.mp4",
            )


def picture_at(
    path: Path, time: float, *, width: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Return the image of `frame_at`."""
    return frame_at(path, time, width=width, limits=limits).picture


def frame_at(path: Path, time: float, *, width: int | None = None, limits: Limits = DEFAULT_LIMITS) -> Frame:
    """Return the frame shown at `time` seconds, with its own time, in its own shape.

    Without a `width` it is as large as in the file.

    Raises:
        UnreadableMediaError: there is no frame at or after that time; besides the errors of `FrameReader`.
    """
    # A frame's time was rounded to milliseconds when it was stored.
    for frame in FrameReader(path, start=max(0.0, time - 0.002), limits=limits):
        if width is None:
            return frame
        height = max(2, round(frame.picture.shape[0] * width / frame.picture.shape[1]))
        scaled = VideoFrame.from_ndarray(frame.picture, format="rgb24").reformat(width, height, interpolation="AREA")
        return replace(frame, picture=np.asarray(scaled.to_ndarray(), np.uint8))
    raise UnreadableMediaError(f"{path} has no picture at {time:.3f} s", fix="name a time inside it")


def _frame_duration(frame: VideoFrame, stream: VideoStream) -> float:
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.0
