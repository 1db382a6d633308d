"""From a decoded frame to an array of a wanted size and pixel format, through FFmpeg's filters."""

from __future__ import annotations

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from var_plugin.media.limits import Limits

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
