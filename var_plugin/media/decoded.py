"""What decoding returns: frames, audio, and what the header of a file declares. No decoder is imported here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Samples per second of all decoded audio."""
SILENCE_RMS = 3e-4
"""Root mean square (full scale is 1; this is -70 dB) below which audio counts as silent."""


@dataclass(frozen=True)
class Frame:
    """A decoded image, (height, width, 3) uint8 RGB, and its presentation time in seconds from the file's start."""

    time: float
    image: NDArray[np.uint8]
    motion: NDArray[np.uint8] | None = None
    """The `motion.motion_image` of this frame, (side, side, 3) uint8, if requested."""


class FrameOptions(TypedDict, total=False):
    """Options of `FrameReader` that select the frames of a video."""

    rate: float | None
    size: tuple[int, int] | None
    motion: int | None
    start: float
    end: float


@dataclass(frozen=True)
class MediaInfo:
    """What the header of a file declares. The decoded frames may differ."""

    duration: float | None
    """Seconds. None if the container does not say."""
    width: int
    height: int
    frame_rate: float | None
    has_audio: bool
    video_codec: str
    pixel_format: str
    """FFmpeg's name of the pixel format. Empty if unknown."""
    audio_codec: str | None
    """Codec of the default track. None if there is no audio, empty if the codec is unknown."""
    created_at: str | None
    """The header's creation time, unparsed."""
    audio_tracks: int = 0
    notes: tuple[str, ...] = ()
    """Which streams are ignored, and what is assumed about timestamps."""


def cut_audio(pieces: Iterable[NDArray[np.float32]], start: float, end: float) -> NDArray[np.float32]:
    """Join consecutive pieces of audio and return the part from `start` to `end` seconds as (samples,)."""
    first = round(start * SAMPLE_RATE)
    last = None if end == math.inf else round(end * SAMPLE_RATE)
    parts = [np.zeros(0, np.float32)]  # a stream of a few samples at a low rate may yield no pieces
    position = 0
    for piece in pieces:
        parts.append(piece[max(0, first - position) : None if last is None else max(0, last - position)])
        position += len(piece)
        if last is not None and position >= last:
            break
    return np.concatenate(parts)
