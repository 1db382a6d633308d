"""Small real videos, encoded with PyAV: known colours at known times, with or without audio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Painter = Callable[[float], NDArray[np.uint8]]
"""From a time in seconds to an image (height, width, 3)."""

TIME_BASE = Fraction(1, 90_000)


def plain(*color: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """An image of one colour."""
    return np.full((height, width, 3), color, np.uint8)


def textured(seed: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """An image of coarse random blocks that depends on the seed."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))


class Film:
    """Writes videos to one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        name: str = "film.mp4",
        *,
        seconds: float = 2.0,
        fps: int = 10,
        paint: Painter = lambda time: textured(1),
        times: Sequence[float] | None = None,
        tone: float | None = None,
        tone_starts: float = 0.0,
        images: bool = True,
        options: dict[str, str] | None = None,
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        metadata: dict[str, str] | None = None,
    ) -> Path:
        """Encode a film.

        Args:
            name: file name; its ending chooses the container.
            times: presentation times of the frames; default: a constant rate.
            tone: frequency of a sine in the right channel of a stereo track, the left one silent; None: no sound.
            tone_starts: seconds at which the sound track begins.
            images: False for a film of sound only.
        """
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", options=options or {}) as container:
            container.metadata.update(metadata or {})
            stamps = [i / fps for i in range(round(seconds * fps))] if times is None else list(times)
            video = None
            if images:
                height, width, _ = paint(0.0).shape
                video = container.add_stream(codec, rate=fps, width=width, height=height)
                video.pix_fmt = "yuvj420p" if codec == "mjpeg" else pixel_format
                video.codec_context.time_base = TIME_BASE
                video.codec_context.gop_size = fps
            audio = container.add_stream("aac", rate=44_100, layout="stereo") if tone else None
            if video is not None:
                for stamp in stamps:
                    frame = av.VideoFrame.from_ndarray(paint(stamp), format="rgb24")
                    frame.pts, frame.time_base = round(stamp / TIME_BASE), TIME_BASE
                    container.mux(video.encode(frame))
                container.mux(video.encode(None))
            if audio is not None:
                for frame in _sine(tone, seconds - tone_starts, tone_starts):
                    container.mux(audio.encode(frame))
                container.mux(audio.encode(None))
        return path


def _sine(frequency: float, seconds: float, start: float) -> list[av.AudioFrame]:
    rate, size = 44_100, 1024
    samples = np.arange(round(seconds * rate))
    right = 0.5 * np.sin(2 * np.pi * frequency * samples / rate)
    stereo = np.stack([np.zeros_like(right), right]).astype(np.float32)
    frames = []
    for first in range(0, len(samples), size):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(stereo[:, first : first + size]), "fltp", "stereo")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = round(start * rate) + first
        frames.append(frame)
    return frames
