"""How much one media file may ask for. The defaults admit any camera's footage and stop files made to do harm."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits for decoding one file; beyond each of them decoding ends with an error of its own."""

    pixels: int = 7680 * 4320
    """Pixels of one image (TooManyPixelsError)."""
    frames: int = 10_000_000
    """Frames of one video, decoded, whether they were asked for or not (TooManyFramesError)."""
    duration: float = 48 * 3600.0
    """Seconds of footage (TooLongMediaError)."""
    streams: int = 64
    """Streams of one file (TooManyStreamsError)."""
    memory: int = 4 << 30
    """Bytes of address space of the decoding process (DecodingMemoryError)."""
    output: int = 64 << 30
    """Bytes of a clip that is cut out of the file (InvalidInputError)."""
    stall_seconds: float = 30.0
    """Wall seconds without a new result (DecodingTimeoutError). Time in which nobody asks for one does not count."""
    realtime_factor: float = 10.0
    """Wall seconds spent on each second of footage, on average (DecodingTimeoutError)."""
    total_seconds: float = 24 * 3600.0
    """Wall seconds spent on one file (DecodingTimeoutError)."""


DEFAULT_LIMITS = Limits()
