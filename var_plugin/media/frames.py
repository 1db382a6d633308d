"""Decode the frames of a video at a given rate and size, with their exact presentation times.

A file is decoded once, from start to end, because seeking to each sample costs more than decoding everything between.
At rates for which the keyframes suffice, only keyframes are decoded. Only the selected frames pass the filter graph
that rotates, scales and converts them, and one frame is in memory at a time.

This module decodes in the calling process. `media.sandbox.client` does the same in the sandbox.
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
from var_plugin.media.decoded import Frame
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.motion import MotionImageBuilder

# Below this height, one thread per file costs less CPU time in total. Each thread holds frames of its own, so the
# number of threads is limited by memory.
_THREADED_FROM_HEIGHT = 720
_THREADS = min(4, os.cpu_count() or 1)
# Stored frame times are rounded to milliseconds.
_START_SLACK_SECONDS = 0.002
_SETTLING_SECONDS = 1.0
_SEEK_EARLIER_SECONDS = (0.0, 2.0, 8.0, 32.0, 128.0)
# Headers are often wrong by a few frames, or state the duration of a longer audio track.
_TRUNCATION_SLACK_SECONDS = 2.0
_TRUNCATION_SLACK_RATIO = 0.02


class _SeekError(Exception):
    """Seeking always lands after the start, so the file must be read from its beginning."""


class _IncompleteKeyframesError(Exception):
    """Some keyframes cannot be decoded, or show only a part of the image because of intra refresh."""


class FrameReader:
    """Read the frames of a video once. Afterwards `end` is the time at which the frames end.

    A frame is shown from its time until the next frame. The part from `start` begins with the frame that is shown at
    `start`, which gets the time `start`.

    Args:
        path: a local file.
        rate: frames per second. One frame is returned for each interval of 1/rate seconds that has frames: the first
            one. For a whole video without motion images, it is the first keyframe if every interval has one. None:
            every frame.
        size: (height, width) of the returned images, whatever their shape in the file. None: as displayed.
        motion: height and width of the motion image of each frame. None: no motion images.
        start: start of the part to read in seconds.
        end: end of the part to read in seconds.
        limits: limits for decoding the file.
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
        self._interval = -1.0  # number of the latest interval with a selected frame
        self._decoded_count = 0
        self.end = 0.0
        """Seconds from the start of the video to the end of its last decoded frame."""
        self.start_frame_time: float | None = None
        """Presentation time in seconds of the frame that is shown at `start`, if it begins at or before `start`."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order of time.

        Raises:
            MediaNotFoundError, EmptyMediaError, PlaylistError, UnreadableMediaError, NoVideoStreamError,
                TooManyStreamsError, TooManyPixelsError: as `open_media` and `main_video_stream`.
            TooManyFramesError, TooLongMediaError: the video exceeds a limit. Raised at the first frame beyond it.
            BrokenTimestampsError: the time of a frame is more than 2 s before, or more than an hour after, that of the
                previous frame.
            TruncatedMediaError: the frames end before the declared end of the video, within the requested part. Raised
                after the last frame.
        """
        self._interval = -1.0
        keyframes = self._sufficient_keyframes()
        if keyframes is not None:
            with suppress(_IncompleteKeyframesError):  # the frames so far are valid, decode all frames for the rest
                yield from self._read(keyframes)
                return
        if self._start > 0:
            with suppress(_SeekError):  # raised before the first frame
                yield from self._read(None, seek=True)
                return
        yield from self._read(None)

    def _read(self, keyframes: Keyframes | None, *, seek: bool = False) -> Iterator[Frame]:
        """Yield the frames after the latest interval. If `keyframes` is given, decode only keyframes."""
        with open_media(self._path, self._limits) as container:
            stream = main_video_stream(container, self._path, self._limits)
            threaded = stream.height >= _THREADED_FROM_HEIGHT
            stream.thread_type = "AUTO" if threaded else "NONE"
            stream.codec_context.thread_count = _THREADS if threaded else 1
            declared = declared_duration(container, stream)
            try:
                yield from self._select(container, stream, keyframes is not None, seek)
            except OUT_OF_MEMORY:
                raise
            except (av.FFmpegError, ValueError) as error:  # a frame that cannot be scaled or converted
                raise unreadable_error(self._path, os_error_message(error)) from error
            if keyframes:
                if self._decoded_count < keyframes.count:
                    raise _IncompleteKeyframesError
                self.end = max(self.end, keyframes.end)
            if self.end == 0.0 and self._start == 0.0:
                raise unreadable_error(self._path, "no frame in it can be decoded")
            if declared is not None:
                self._check_complete(container, stream, min(declared, self._stop))

    def _sufficient_keyframes(self) -> Keyframes | None:
        """Return the keyframes if they suffice for the requested frames."""
        if self._rate is None or self._motion is not None or (self._start, self._stop) != (0.0, math.inf):
            return None
        return find_sufficient_keyframes(self._path, self._rate, self._limits)

    def _select(
        self, container: InputContainer, stream: VideoStream, keyframes_only: bool, seek: bool
    ) -> Iterator[Frame]:
        """Yield the first frame of each interval."""
        scale = Scaler(stream, self._size, self._limits)
        motion_images = None
        if self._motion:
            motion_images = MotionImageBuilder(Scaler(stream, (self._motion, self._motion), self._limits, "gray"))
        for time, frame in self._part(container, stream, keyframes_only, seek):
            # Numbering intervals from the start of the file avoids drift, whatever the frame rate of the file.
            interval = time if self._rate is None else math.floor(time * self._rate + 1e-6)
            is_selected, self._interval = interval > self._interval, max(self._interval, interval)
            if motion_images is None:
                if is_selected:
                    yield Frame(time, scale(frame))
                continue
            if is_selected:
                motion_images.select(time, scale(frame))
            for complete in motion_images.update(time, frame):
                yield Frame(*complete)
        if motion_images is not None:
            for complete in motion_images.flush():
                yield Frame(*complete)

    def _part(
        self, container: InputContainer, stream: VideoStream, keyframes_only: bool, seek: bool
    ) -> Iterator[tuple[float, VideoFrame]]:
        """Yield the frames that are shown in the requested part, with their times in seconds."""
        self._decoded_count = 0
        start_frame: VideoFrame | None = None  # shown at the start, unless another frame follows before it
        latest = None if seek else 0.0  # after seeking, the first time is not known
        decoded_frames = self._after_seek(container, stream) if seek else self._timed(container, stream, keyframes_only)
        for count, (time, frame) in enumerate(decoded_frames, start=1):
            if keyframes_only and frame.pict_type != PictureType.I:
                raise _IncompleteKeyframesError
            self._decoded_count += 1
            self._check(frame, count, time, latest)
            time = max(0.0, time)
            if time >= self._stop:
                self.end = max(self.end, self._stop)  # the previous frame is shown until the end of the part
                if start_frame is not None:
                    yield self._start, start_frame
                return
            latest = max(latest or 0.0, time)
            self.end = max(self.end, min(self._stop, time + _frame_duration(frame, stream)))
            if self._start > 0 and time <= self._start + _START_SLACK_SECONDS:
                start_frame, self.start_frame_time = frame, time
                continue
            if start_frame is not None:
                yield self._start, start_frame
                start_frame = None
            yield time, frame
        if start_frame is not None:
            yield from self._last(container, stream, start_frame)

    def _last(
        self, container: InputContainer, stream: VideoStream, frame: VideoFrame
    ) -> Iterator[tuple[float, VideoFrame]]:
        """Yield the last frame of the video, which is shown until the audio ends, if it is shown at the start."""
        declared = declared_duration(container, stream)
        if declared is not None:
            self._check_complete(container, stream, min(declared, self._stop))
        end = max(self.end, file_duration(container) or 0.0)
        if self._start < end:
            self.end = max(self.end, min(end, self._stop))
            yield self._start, frame

    def _after_seek(self, container: InputContainer, stream: VideoStream) -> Iterator[tuple[float, VideoFrame]]:
        """Seek and yield decoded frames, beginning with one that is shown at or before the start.

        Seeking in MPEG-TS and program streams may land after the requested time, and the next keyframe comes even
        later. Seeking is therefore repeated with earlier times.
        """
        zero = start_time(container)
        # In program streams, frames without timestamps get wrong ones directly after seeking.
        latest = self._start - _SETTLING_SECONDS if container.format.name == "mpeg" else self._start
        for earlier in _SEEK_EARLIER_SECONDS:
            if is_untimed(container) or self._start <= earlier:
                break
            try:
                container.seek(round((self._start - earlier + zero) * av.time_base))
            except OSError as error:  # the format cannot seek
                raise _SeekError from error
            frames = self._timed(container, stream, keyframes_only=False, from_start=False)
            first = next(frames, None)
            if first is not None and first[0] <= latest + _START_SLACK_SECONDS:
                return chain([first], frames)
        raise _SeekError

    def _timed(
        self, container: InputContainer, stream: VideoStream, keyframes_only: bool, *, from_start: bool = True
    ) -> Iterator[tuple[float, VideoFrame]]:
        """Yield decoded frames with their times in seconds from the start of the file.

        Frames are decoded in presentation order, so a frame without a timestamp begins where the previous one ends.
        """
        zero, untimed = start_time(container), is_untimed(container)
        by_decoding_time = has_decoding_times_only(container, stream) and not keyframes_only
        due = 0.0 if from_start else None
        base: tuple[float, int] | None = None
        for frame in decode_stream(container, stream, self._path, keyframes_only=keyframes_only):
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
        """Check a decoded frame against the limits. Frames may differ from what the header declares."""
        check_pixels(frame.width, frame.height, self._path, self._limits)
        if count > self._limits.frames:
            raise TooManyFramesError(
                f"{self._path} has too many frames",
                why=f"the limit is {self._limits.frames}",
                fix="cut it into shorter files",
            )
        if time > self._limits.duration:
            raise TooLongMediaError(
                f"{self._path} is too long",
                why=f"it has a frame at {time:.0f} s, the limit is {self._limits.duration:.0f} s",
                fix="cut it into shorter files, or repair its timestamps",
            )
        if latest is not None and not -BACKWARD_SLACK_SECONDS <= time - latest <= MAX_GAP_SECONDS:
            raise timestamps_error(self._path, time, latest)

    def _check_complete(self, container: InputContainer, stream: VideoStream, declared: float) -> None:
        """Raise TruncatedMediaError unless the frames or the audio reach the declared end."""
        slack = max(_TRUNCATION_SLACK_SECONDS, declared * _TRUNCATION_SLACK_RATIO)
        if declared - self.end <= slack or _audio_end(container, self.end) >= declared - slack:
            return
        raise TruncatedMediaError(
            f"{self._path} is truncated",
            why=f"it declares {declared:.1f} s or more but stops at {self.end:.1f} s",
            fix="copy it again, or repair it with: ffmpeg -i FILE -c copy REPAIRED.mp4",
        )


def image_at(
    path: Path, time: float, *, width: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Return the image of `frame_at`."""
    return frame_at(path, time, width=width, limits=limits).image


def frame_at(path: Path, time: float, *, width: int | None = None, limits: Limits = DEFAULT_LIMITS) -> Frame:
    """Return the frame shown at `time` seconds, with its own presentation time and aspect ratio.

    Args:
        path: a local file.
        time: seconds from the start of the file.
        width: width of the image in pixels. None: as in the file.
        limits: limits for decoding the file.

    Raises:
        UnreadableMediaError: there is no frame at or after that time.
        VarPluginError: the errors of `FrameReader`.
    """
    reader = FrameReader(path, start=max(0.0, time), limits=limits)
    for frame in reader:
        if reader.start_frame_time is not None:
            frame = replace(frame, time=reader.start_frame_time)
        if width is None:
            return frame
        height = max(2, round(frame.image.shape[0] * width / frame.image.shape[1]))
        scaled = VideoFrame.from_ndarray(frame.image, format="rgb24").reformat(width, height, interpolation="AREA")
        return replace(frame, image=np.asarray(scaled.to_ndarray(), np.uint8))
    raise UnreadableMediaError(f"{path} has no frame at {time:.3f} s", fix="choose a time within the video")


def _frame_duration(frame: VideoFrame, stream: VideoStream) -> float:
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.0


def _audio_end(container: InputContainer, start: float) -> float:
    """Return the end of the last audio packet in seconds. Packets before `start` seconds are not read."""
    tracks = [stream for stream in container.streams if stream.type == "audio"]
    zero, end = start_time(container), 0.0
    if not tracks:
        return end
    try:
        container.seek(round((start + zero) * av.time_base))
        for packet in container.demux(tracks):
            if packet.pts is not None and packet.size:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - zero)
    except OUT_OF_MEMORY:
        raise
    except (av.FFmpegError, ValueError):
        return 0.0
    return end


# Larger pixel aspect ratios are ignored as invalid.
_MAX_PIXEL_ASPECT = 8
_QUARTER_TURNS = (90, -90)
_ROTATION_FILTERS = {90: "transpose=cclock", -90: "transpose=clock", 180: "hflip,vflip", -180: "hflip,vflip"}


class Scaler:
    """A filter graph that rotates, scales and converts frames. It is rebuilt when the shape of the frames changes.

    Args:
        stream: the stream of the frames.
        size: (height, width) of the images. None: the size in which the frames are displayed, with square pixels.
        limits: limits for the displayed size.
        pixels: FFmpeg's name of the pixel format: "rgb24" for (height, width, 3), "gray" for (height, width).
    """

    def __init__(
        self, stream: VideoStream, size: tuple[int, int] | None, limits: Limits, pixels: str = "rgb24"
    ) -> None:
        self._stream, self._size, self._limits, self._pixels = stream, size, limits, pixels
        self._graph_shape: tuple[object, ...] | None = None
        self._graph: Graph

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return the frame as a uint8 array."""
        shape = (frame.width, frame.height, frame.format.name, frame.rotation)
        if shape != self._graph_shape:
            self._graph, self._graph_shape = self._build(frame), shape
        self._graph.vpush(frame)
        result = self._graph.vpull()
        if not isinstance(result, VideoFrame):  # the graph has one video sink
            raise TypeError(type(result))
        return np.asarray(result.to_ndarray(format=self._pixels), np.uint8)

    def _build(self, frame: VideoFrame) -> Graph:
        steps = [_ROTATION_FILTERS[frame.rotation]] if frame.rotation in _ROTATION_FILTERS else []
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
        """Return the rotated (height, width) in square pixels, or None if the pixels are square or invalid."""
        aspect = self._stream.sample_aspect_ratio
        if not aspect or aspect == 1 or not 1 / _MAX_PIXEL_ASPECT <= aspect <= _MAX_PIXEL_ASPECT:
            return None
        height, width = frame.height, max(1, round(frame.width * aspect))
        if height * width > self._limits.pixels:
            height, width = max(1, round(frame.height / aspect)), frame.width
        return (width, height) if frame.rotation in _QUARTER_TURNS else (height, width)


_MAX_SCAN_BYTES, _MAX_SCAN_PACKETS = 256 << 20, 1_000_000
"""Size up to which a file is scanned for keyframes. Reading a larger file might exceed `Limits.stall_seconds`."""


@dataclass(frozen=True)
class Keyframes:
    """Number and end of the keyframes of a file."""

    count: int
    end: float
    """End of the last frame in seconds."""


def find_sufficient_keyframes(path: Path, rate: float, limits: Limits) -> Keyframes | None:
    """Return the keyframes if every interval of 1/rate seconds has one, otherwise None.

    Packets are read but not decoded, up to the first interval without a keyframe. The result is also None for files
    larger than 256 MB, for files of keyframes only, and for files with corrupt or discarded packets.

    Args:
        path: a local file.
        rate: frames per second.
        limits: limits for decoding the file.

    Raises:
        VarPluginError: the errors of `open_media` and `main_video_stream`.
    """
    with open_media(path, limits) as container:
        stream = main_video_stream(container, path, limits)
        if path.stat().st_size > _MAX_SCAN_BYTES:
            return None
        zero = start_time(container)
        end, count = 0.0, 0
        latest_keyframe = latest_other = -1  # numbers of intervals
        try:
            for number, packet in enumerate(container.demux(stream)):
                if packet.size == 0:
                    continue  # the empty packet at the end
                if packet.pts is None or packet.is_corrupt or packet.is_discard or number >= _MAX_SCAN_PACKETS:
                    return None
                time = float(packet.pts * packet.time_base) - zero
                end = max(end, time + float((packet.duration or 0) * (packet.time_base or Fraction(0))))
                interval = math.floor(max(0.0, time) * rate + 1e-6)
                if packet.is_keyframe:
                    if interval > latest_keyframe + 1:
                        return None
                    latest_keyframe, count = max(latest_keyframe, interval), count + 1
                else:
                    latest_other = max(latest_other, interval)
                if latest_other > latest_keyframe + 1:
                    return None
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, ValueError):
            return None  # decoding the file raises the error
    return Keyframes(count, end) if 0 <= latest_other <= latest_keyframe and end > 0 else None
