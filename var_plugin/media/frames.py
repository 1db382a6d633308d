"""Frames of a video, at a wanted rate and size, with their true presentation times.

The file is decoded once, forward, packet by packet: seeking per sample costs more than decoding everything between,
and a damaged packet must not end the video (`container.decode` would raise there). Only the chosen frames pass the
filter graph that scales, turns and converts them, so memory holds one frame at a time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from var_plugin.errors import TruncatedMediaError
from var_plugin.media.container import declared_duration, main_video_stream, open_media, start_time, unreadable

logger = logging.getLogger(__name__)

# Frame threads win from this height on; below, one thread per file costs less CPU time in all.
_THREADED_FROM_HEIGHT = 720
# Headers are often off by a few frames, or count a longer sound track.
_TRUNCATION_SLACK_SECONDS = 2.0
_TRUNCATION_SLACK_SHARE = 0.02
_TURNS = {90: "transpose=cclock", -90: "transpose=clock", 180: "hflip,vflip", -180: "hflip,vflip"}


@dataclass(frozen=True)
class Frame:
    """A decoded picture, (height, width, 3) uint8 RGB, and its presentation time in seconds from the start."""

    time: float
    picture: NDArray[np.uint8]


class FrameReader:
    """Reads the frames of one video once; afterwards `end` is where the pictures really stopped.

    Args:
        path: a local file.
        rate: frames per second wanted; at most one frame is returned for each 1/rate seconds. None: every frame.
        size: (height, width) of the pictures returned, whatever their shape in the file. None: as in the file.
        start, end: only frames in this part, in seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        rate: float | None = None,
        size: tuple[int, int] | None = None,
        start: float = 0.0,
        end: float = math.inf,
    ) -> None:
        self._path, self._rate, self._size = path, rate, size
        self._start, self._stop = start, end
        self.end = 0.0
        """Seconds from the start of the video to the end of its last decoded frame."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order of time.

        Raises:
            MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoVideoStreamError: as `open_media`.
            TruncatedMediaError: after the last frame, when the header declares a later end.
        """
        with open_media(self._path) as container:
            stream = main_video_stream(container, self._path)
            if stream.height >= _THREADED_FROM_HEIGHT:
                stream.thread_type = "AUTO"
            else:
                stream.codec_context.thread_count = 1
            declared = declared_duration(container, stream)
            yield from self._selected(container, stream)
            if self.end == 0.0 and self._start == 0.0:
                raise unreadable(self._path, "no frame in it can be decoded")
            if self._stop == math.inf and declared is not None:
                self._check_complete(declared)

    def _selected(self, container: InputContainer, stream: VideoStream) -> Iterator[Frame]:
        scaler = _Scaler(stream, self._size)
        zero = start_time(container)
        if self._start > 0:
            container.seek(round((self._start + zero) * av.time_base))
        slot = -1.0
        for frame in _decoded(container, stream, self._path):
            time = max(0.0, frame.time - zero)
            if time >= self._stop:
                return
            self.end = max(self.end, time + _frame_duration(frame, stream))
            if time < self._start:
                continue
            # One frame for each slot of 1/rate seconds: no drift, whatever the frame rate of the file.
            frame_slot = time if self._rate is None else math.floor(time * self._rate + 1e-6)
            if frame_slot <= slot:
                continue
            slot = frame_slot
            yield Frame(time, scaler(frame))

    def _check_complete(self, declared: float) -> None:
        missing = declared - self.end
        if missing > max(_TRUNCATION_SLACK_SECONDS, declared * _TRUNCATION_SLACK_SHARE):
            raise TruncatedMediaError(
                f"{self._path} is truncated",
                why=f"it declares {declared:.1f} s of pictures but stops at {self.end:.1f} s",
                fix="copy it again, or keep what is there with: ffmpeg -i FILE -c copy REPAIRED.mp4",
            )


def picture_at(path: Path, time: float, *, width: int) -> NDArray[np.uint8]:
    """Return the frame shown at `time` seconds as (height, width, 3) uint8 RGB, keeping the shape of the picture.

    Raises:
        UnreadableMediaError: there is no frame at or after that time; besides the errors of `FrameReader`.
    """
    # A frame's time was rounded to milliseconds when it was stored.
    for frame in FrameReader(path, start=max(0.0, time - 0.002)):
        height = max(2, round(frame.picture.shape[0] * width / frame.picture.shape[1]))
        scaled = VideoFrame.from_ndarray(frame.picture, format="rgb24").reformat(width, height, interpolation="AREA")
        return np.asarray(scaled.to_ndarray(), np.uint8)
    raise unreadable(path, f"no frame at {time:.3f} s")


def _decoded(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[VideoFrame]:
    """Yield every frame that has a time, passing over damaged packets."""
    damaged = 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            damaged += 1
            continue
        for frame in frames:
            if isinstance(frame, VideoFrame) and frame.pts is not None:
                yield frame
    if damaged:
        logger.warning("%s: %d damaged packets were passed over", path, damaged)


def _frame_duration(frame: VideoFrame, stream: VideoStream) -> float:
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.0


class _Scaler:
    """The filter graph from a decoded frame to an RGB array; built again when the frames change their shape."""

    def __init__(self, stream: VideoStream, size: tuple[int, int] | None) -> None:
        self._stream, self._size = stream, size
        self._made_for: tuple[object, ...] | None = None
        self._graph: Graph

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        shape = (frame.width, frame.height, frame.format.name, frame.rotation)
        if shape != self._made_for:
            self._graph, self._made_for = self._build(frame), shape
        self._graph.vpush(frame)
        result = self._graph.vpull()
        if not isinstance(result, VideoFrame):  # the graph has one video sink
            raise TypeError(type(result))
        return np.asarray(result.to_ndarray(format="rgb24"), np.uint8)

    def _build(self, frame: VideoFrame) -> Graph:
        steps = [_TURNS[frame.rotation]] if frame.rotation in _TURNS else []
        if self._size:
            height, width = self._size
            steps.append(f"scale={width}:{height}:flags=area")
        steps.append("format=rgb24")
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
