"""Limits for decoding one media file. The defaults admit footage of any camera and stop malicious files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits for decoding one file. Exceeding a limit raises the error in parentheses."""

    pixels: int = 7680 * 4320
    """Pixels of one image (TooManyPixelsError)."""
    frames: int = 10_000_000
    """Decoded frames of one video, including those that the caller does not request (TooManyFramesError)."""
    duration: float = 48 * 3600.0
    """Seconds of footage (TooLongMediaError)."""
    streams: int = 64
    """Streams of one file (TooManyStreamsError)."""
    memory: int = 4 << 30
    """Bytes of address space of the decoding process (DecodingMemoryError)."""
    output: int = 64 << 30
    """Bytes of a clip (InvalidInputError)."""
    stall_seconds: float = 30.0
    """Wall seconds without a new result (DecodingTimeoutError). Only time in which the caller waits counts."""
    realtime_factor: float = 10.0
    """Average wall seconds per second of footage (DecodingTimeoutError)."""
    total_seconds: float = 24 * 3600.0
    """Wall seconds for one file (DecodingTimeoutError)."""


DEFAULT_LIMITS = Limits()
