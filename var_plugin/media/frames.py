"""Frames of a video, at a wanted rate and size, with their true presentation times.

The file is decoded once, forward: seeking per sample costs more than decoding everything between. Where so few frames
are wanted that the key frames are enough, only they are decoded. Only the chosen frames pass the filter graph that
scales, turns and converts them, so memory holds one frame at a time.

This decodes in the process that calls it; `media.sandbox.client` does the same in a process of its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TypedDict

import av
import numpy as np
from av.container import InputContainer
from av.filter import Graph
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from var_plugin.errors import (
    TooLongMediaError,
    TooManyFramesError,
    TruncatedMediaError,
    UnreadableMediaError,
    os_error_message,
)
from var_plugin.media.container import (
    BACKWARD_SLACK_SECONDS,
    MAX_GAP_SECONDS,
    OUT_OF_MEMORY,
    check_pixels,
    declared_duration,
    decode_stream,
    file_duration,
    has_decoding_times_only,
    is_untimed,
    main_video_stream,
    open_media,
    start_time,
    timestamps_error,
    unreadable_error,
)
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.motion import MotionImageBuilder

# Frame threads win from this height on; below, one thread per file costs less CPU time in all. Each thread holds
# images of its own, so memory bounds their number.
_THREADED_FROM_HEIGHT = 720
_THREADS = min(4, os.cpu_count() or 1)
# A time that names a frame was rounded to milliseconds when it was stored.
_START_SLACK_SECONDS = 0.002
_SETTLING_SECONDS = 1.0
_SEEK_EARLIER_SECONDS = (0.0, 2.0, 8.0, 32.0, 128.0)
# Headers are often off by a few frames, or count a longer sound track.
_TRUNCATION_SLACK_SECONDS = 2.0
_TRUNCATION_SLACK_SHARE = 0.02


@dataclass(frozen=True)
class Frame:
    """A decoded image, (height, width, 3) uint8 RGB, and its presentation time in seconds from the start."""

    time: float
    image: NDArray[np.uint8]
    motion: NDArray[np.uint8] | None = None
    """What changes right after it, where that was asked for: `motion.motion_image`."""


class FrameOptions(TypedDict, total=False):
    """Which frames of a video are wanted, as `FrameReader` takes them."""

    rate: float | None
    size: tuple[int, int] | None
    motion: int | None
    start: float
    end: float


class _SeekError(Exception):
    """Seeking leads behind the start, wherever it is asked to lead: the file is read from its beginning."""


class _NotWholeError(Exception):
    """Key frames show a part only, as where a camera renews its image strip by strip, or cannot be decoded."""


class FrameReader:
    """Reads the frames of one video once; afterwards `end` is where the images really stopped.

    Args:
        path: a local file.
        rate: frames per second wanted; one frame is returned for each 1/rate seconds in which there are any, the first
            one, or of a whole video without motion images the first key frame, if each has one. None: every frame.
        size: (height, width) of the images returned, whatever their shape in the file. None: as they are shown.
        motion: height and width of the motion image that goes with each frame. None: none is made.
        start, end: only this part, in seconds. A frame is shown until the next one; the frame that is shown at `start`
            comes first, with the time `start`.
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
        self.first_time: float | None = None
        """Seconds at which the frame that is shown at `start` is first shown, where that is before the others."""

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
        if self._start > 0:
            with suppress(_SeekError):  # raised before the first frame
                yield from self._read(None, seek=True)
                return
        yield from self._read(None)

    def _read(self, by_keys: Keyframes | None, *, seek: bool = False) -> Iterator[Frame]:
        """Yield the frames behind the last slot; with `by_keys` from key frames alone."""
        key_frames = by_keys is not None
        with open_media(self._path, self._limits) as container:
            stream = main_video_stream(container, self._path, self._limits)
            threaded = stream.height >= _THREADED_FROM_HEIGHT
            stream.thread_type = "AUTO" if threaded else "NONE"
            stream.codec_context.thread_count = _THREADS if threaded else 1
            declared = declared_duration(container, stream)
            try:
                yield from self._selected(container, stream, key_frames, seek)
            except OUT_OF_MEMORY:
                raise
            except (av.FFmpegError, ValueError) as error:  # an image that cannot be scaled or converted
                raise unreadable_error(self._path, os_error_message(error)) from error
            if by_keys:
                if self._decoded_count < by_keys.count:
                    raise _NotWholeError
                self.end = max(self.end, by_keys.end)
            if self.end == 0.0 and self._start == 0.0:
                raise unreadable_error(self._path, "no frame in it can be decoded")
            if declared is not None:
                self._check_complete(container, stream, min(declared, self._stop))

    def _key_frames(self) -> Keyframes | None:
        """Return the key frames where they are enough."""
        if self._rate is None or self._motion is not None or (self._start, self._stop) != (0.0, math.inf):
            return None
        return find_sufficient_keyframes(self._path, self._rate, self._limits)

    def _selected(
        self, container: InputContainer, stream: VideoStream, key_frames: bool, seek: bool
    ) -> Iterator[Frame]:
        scale = Scaler(stream, self._size, self._limits)
        moving = None
        if self._motion:
            moving = MotionImageBuilder(Scaler(stream, (self._motion, self._motion), self._limits, "gray"))
        for time, frame in self._part(container, stream, key_frames, seek):
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

    def _part(
        self, container: InputContainer, stream: VideoStream, key_frames: bool, seek: bool
    ) -> Iterator[tuple[float, VideoFrame]]:
        """Yield the frames that are shown in the part asked for, with the time in seconds since when they are."""
        self._decoded_count = 0
        shown: VideoFrame | None = None  # at the start, unless another one follows by then
        latest = None if seek else 0.0  # seeking lands somewhere before the start
        decoded_frames = self._after_seek(container, stream) if seek else self._timed(container, stream, key_frames)
        for count, (time, frame) in enumerate(decoded_frames, start=1):
            if key_frames and frame.pict_type != PictureType.I:
                raise _NotWholeError
            self._decoded_count += 1
            self._check(frame, count, time, latest)
            time = max(0.0, time)
            if time >= self._stop:
                self.end = max(self.end, self._stop)  # shown until then
                if shown is not None:
                    yield self._start, shown
                return
            latest = max(latest or 0.0, time)
            self.end = max(self.end, min(self._stop, time + _frame_duration(frame, stream)))
            if self._start > 0 and time <= self._start + _START_SLACK_SECONDS:
                shown, self.first_time = frame, time
                continue
            if shown is not None:
                yield self._start, shown
                shown = None
            yield time, frame
        if shown is not None:
            yield from self._last(container, stream, shown)

    def _last(
        self, container: InputContainer, stream: VideoStream, frame: VideoFrame
    ) -> Iterator[tuple[float, VideoFrame]]:
        """Yield the last frame of the video where it is shown at the start: until the audio ends, too."""
        declared = declared_duration(container, stream)
        if declared is not None:
            self._check_complete(container, stream, min(declared, self._stop))
        end = max(self.end, file_duration(container) or 0.0)
        if self._start < end:
            self.end = max(self.end, min(end, self._stop))
            yield self._start, frame

    def _after_seek(self, container: InputContainer, stream: VideoStream) -> Iterator[tuple[float, VideoFrame]]:
        """Yield decoded frames from one on that is shown at the start or before.

        MPEG-TS and program streams may land behind the place asked for, and the first key frame comes later still.
        """
        zero = start_time(container)
        # In program streams, frames that follow the place without timestamps of their own get wrong ones.
        latest = self._start - _SETTLING_SECONDS if container.format.name == "mpeg" else self._start
        for earlier in _SEEK_EARLIER_SECONDS:
            if is_untimed(container) or self._start <= earlier:
                break
            try:
                container.seek(round((self._start - earlier + zero) * av.time_base))
            except OSError as error:  # the format cannot seek
                raise _SeekError from error
            frames = self._timed(container, stream, key_frames=False, from_start=False)
            first = next(frames, None)
            if first is not None and first[0] <= latest + _START_SLACK_SECONDS:
                return chain([first], frames)
        raise _SeekError

    def _timed(
        self, container: InputContainer, stream: VideoStream, key_frames: bool, *, from_start: bool = True
    ) -> Iterator[tuple[float, VideoFrame]]:
        """Yield decoded frames with their times in seconds from the start of the file.

        Frames come in the order in which they are shown, so one without a timestamp follows the one before.
        """
        zero, untimed = start_time(container), is_untimed(container)
        by_decoding_time = has_decoding_times_only(container, stream) and not key_frames
        due = 0.0 if from_start else None
        base: tuple[float, int] | None = None
        for frame in decode_stream(container, stream, self._path, key_frames=key_frames):
            if not isinstance(frame, VideoFrame):
                continue
            time: float | None = frame.time
            if by_decoding_time and time is not None:
                if frame.dts is None or not frame.time_base:
                    time = None
                else:
                    base = base or (time, frame.dts)
                    time = base[0] + float((frame.dts - base[1]) * frame.time_base)
            time = due if time is None or untimed else time - zero
            if time is not None:
                yield time, frame
                due = time + _frame_duration(frame, stream)

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
        if latest is not None and not -BACKWARD_SLACK_SECONDS <= time - latest <= MAX_GAP_SECONDS:
            raise timestamps_error(self._path, time, latest)

    def _check_complete(self, container: InputContainer, stream: VideoStream, declared: float) -> None:
        """Raise unless there were frames up to this time, which the header declares, or audio goes on until then."""
        slack = max(_TRUNCATION_SLACK_SECONDS, declared * _TRUNCATION_SLACK_SHARE)
        if declared - self.end <= slack or _others_end(container, stream, self.end) >= declared - slack:
            return
        raise TruncatedMediaError(
            f"{self._path} is truncated",
            why=f"it declares {declared:.1f} s of images or more but stops at {self.end:.1f} s",
            fix="copy it again, or keep what is there with: ffmpeg -i FILE -c copy REPAIRED.mp4",
        )


def image_at(
    path: Path, time: float, *, width: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Return the image of `frame_at`."""
    return frame_at(path, time, width=width, limits=limits).image


def frame_at(path: Path, time: float, *, width: int | None = None, limits: Limits = DEFAULT_LIMITS) -> Frame:
    """Return the frame shown at `time` seconds, with its own time, in its own shape.

    Without a `width` it is as large as in the file.

    Raises:
        UnreadableMediaError: there is no frame at or after that time; besides the errors of `FrameReader`.
    """
    reader = FrameReader(path, start=max(0.0, time), limits=limits)
    for shown in reader:
        frame = shown if reader.first_time is None else replace(shown, time=reader.first_time)
        if width is None:
            return frame
        height = max(2, round(frame.image.shape[0] * width / frame.image.shape[1]))
        scaled = VideoFrame.from_ndarray(frame.image, format="rgb24").reformat(width, height, interpolation="AREA")
        return replace(frame, image=np.asarray(scaled.to_ndarray(), np.uint8))
    raise UnreadableMediaError(f"{path} has no frame at {time:.3f} s", fix="name a time inside it")


def _frame_duration(frame: VideoFrame, stream: VideoStream) -> float:
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.0


def _others_end(container: InputContainer, stream: VideoStream, start: float) -> float:
    """Return where the last packet of the other streams ends; those before `start` seconds need not be read."""
    others = [other for other in container.streams if other.type == "audio"]
    zero, end = start_time(container), 0.0
    if not others:
        return end
    try:
        container.seek(round((start + zero) * av.time_base))
        for packet in container.demux(others):
            if packet.pts is not None and packet.size:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - zero)
    except OUT_OF_MEMORY:
        raise
    except (av.FFmpegError, ValueError):
        return 0.0
    return end


# Recorders' pixels are at most a few times as high as wide, or as wide as high.
_NARROWEST_PIXEL = 8
_QUARTER_TURNS = (90, -90)
_TURNS = {90: "transpose=cclock", -90: "transpose=clock", 180: "hflip,vflip", -180: "hflip,vflip"}


class Scaler:
    """A filter graph that turns, scales and converts frames; built again when the frames change their shape.

    Args:
        stream: where the frames come from.
        size: (height, width) of the images; None: that in which the frames are shown, with square pixels.
        limits: how large a frame may be shown.
        pixels: FFmpeg's name of the pixel format: "rgb24" for (height, width, 3), "gray" for (height, width).
    """

    def __init__(
        self, stream: VideoStream, size: tuple[int, int] | None, limits: Limits, pixels: str = "rgb24"
    ) -> None:
        self._stream, self._size, self._limits, self._pixels = stream, size, limits, pixels
        self._made_for: tuple[object, ...] | None = None
        self._graph: Graph

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return the frame as uint8."""
        shape = (frame.width, frame.height, frame.format.name, frame.rotation)
        if shape != self._made_for:
            self._graph, self._made_for = self._build(frame), shape
        self._graph.vpush(frame)
        result = self._graph.vpull()
        if not isinstance(result, VideoFrame):  # the graph has one video sink
            raise TypeError(type(result))
        return np.asarray(result.to_ndarray(format=self._pixels), np.uint8)

    def _build(self, frame: VideoFrame) -> Graph:
        steps = [_TURNS[frame.rotation]] if frame.rotation in _TURNS else []
        size = self._size or self._display_size(frame)
        if size:
            height, width = size
            steps.append(f"scale={width}:{height}:flags=area")
        steps.append(f"format={self._pixels}")
        graph = Graph()
        last = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=self._stream.time_base
        )
        for step in ",".join(steps).split(","):
            name, _, arguments = step.partition("=")
            node = graph.add(name, arguments)
            last.link_to(node)
            last = node
        last.link_to(graph.add("buffersink"))
        graph.configure()
        return graph

    def _display_size(self, frame: VideoFrame) -> tuple[int, int] | None:
        """Return (height, width) in square pixels, turned; None where the pixels are square, or absurdly narrow."""
        aspect = self._stream.sample_aspect_ratio
        if not aspect or aspect == 1 or not 1 / _NARROWEST_PIXEL <= aspect <= _NARROWEST_PIXEL:
            return None
        height, width = frame.height, max(1, round(frame.width * aspect))
        if height * width > self._limits.pixels:
            height, width = max(1, round(frame.height / aspect)), frame.width
        return (width, height) if frame.rotation in _QUARTER_TURNS else (height, width)


_MOST_BYTES, _MOST_PACKETS = 256 << 20, 1_000_000
"""A larger file might be read for longer than a decoder may keep silent (`Limits.stall_seconds`)."""


@dataclass(frozen=True)
class Keyframes:
    """The key frames of a file, which are enough."""

    count: int
    end: float
    """Seconds to the end of the last image, if all of them can be decoded."""


def find_sufficient_keyframes(path: Path, rate: float, limits: Limits) -> Keyframes | None:
    """Return the key frames if each 1/rate seconds with images has one; None: decode all images.

    Packets are read, not decoded, and only up to the first gap; none of a file of over 256 MB. Where nothing but key
    frames is there, or some are not to be shown, nothing would be gained.

    Args:
        path: a local file.
        rate: frames per second wanted.
        limits: what the file may ask for.

    Raises:
        As `open_media` and `main_video_stream`.
    """
    with open_media(path, limits) as container:
        stream = main_video_stream(container, path, limits)
        if path.stat().st_size > _MOST_BYTES:
            return None
        zero = start_time(container)
        end, covered, waiting, count = 0.0, -1, -1, 0
        try:
            for number, packet in enumerate(container.demux(stream)):
                if packet.size == 0:
                    continue  # the mark behind the last one
                if packet.pts is None or packet.is_corrupt or packet.is_discard or number >= _MOST_PACKETS:
                    return None
                time = float(packet.pts * packet.time_base) - zero
                end = max(end, time + float((packet.duration or 0) * (packet.time_base or Fraction(0))))
                slot = math.floor(max(0.0, time) * rate + 1e-6)
                if packet.is_keyframe:
                    if slot > covered + 1:
                        return None
                    covered, count = max(covered, slot), count + 1
                else:
                    waiting = max(waiting, slot)
                if waiting > covered + 1:
                    return None
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, ValueError):
            return None  # decoding says what is wrong
    return Keyframes(count, end) if 0 <= waiting <= covered and end > 0 else None
