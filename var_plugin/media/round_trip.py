"""Check that the installed PyAV encodes and decodes correctly."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from var_plugin.errors import UnreadableMediaError
from var_plugin.media.sandbox.client import Frames

_RATE = 10
_BRIGHTNESS = (60, 180)
_TOLERANCE = 12.0


def check_round_trip() -> None:
    """Encode two grey frames as H.264 and decode them in the sandbox.

    Raises:
        UnreadableMediaError: the decoded frames differ from the encoded ones.
        VarPluginError: decoding fails.
        av.FFmpegError: encoding fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "clip.mp4")
        write_clip(clip, [np.full((48, 64, 3), brightness, np.uint8) for brightness in _BRIGHTNESS], _RATE)
        frames = [(frame.time, float(frame.image.mean())) for frame in Frames(clip)]
    expected = [(number / _RATE, brightness) for number, brightness in enumerate(_BRIGHTNESS)]
    if not np.shape(frames) == np.shape(expected) or not np.allclose(frames, expected, rtol=0, atol=(0.01, _TOLERANCE)):
        raise UnreadableMediaError(
            "the decoded frames differ from the encoded ones",
            why=f"(time, brightness) are {frames} instead of {expected}",
            fix="install a version of PyAV that var-plugin is tested with",
        )


def write_clip(path: Path, images: Sequence[NDArray[np.uint8]], rate: int) -> None:
    """Write images (height, width, 3) as an H.264 video with `rate` frames per second.

    Raises:
        av.FFmpegError: encoding fails.
    """
    height, width = images[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, width=width, height=height)
        stream.pix_fmt = "yuv420p"
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
