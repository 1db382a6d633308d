"""Audio level of a part of a video, for "louder" and "quieter"."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from var_plugin.media.decoded import SAMPLE_RATE
from var_plugin.media.sandbox.client import decode_audio, probe

SILENCE = -120.0
"""Level of silence in dBFS."""


def audio_level(video: Path, start: float, end: float) -> float:
    """Return the mean audio level from `start` to `end` seconds in dBFS; `SILENCE` without an audio track.

    Raises:
        VarPluginError: the file cannot be read.
    """
    powers = _powers(video, video.stat().st_mtime_ns)
    part = powers[math.floor(start) : max(math.floor(start) + 1, math.ceil(end))]
    power = float(part.mean()) if len(part) else 0.0
    return max(SILENCE, 10 * math.log10(power)) if power > 0 else SILENCE


@lru_cache(maxsize=64)
def _powers(video: Path, modified_ns: int) -> NDArray[np.float32]:
    """Return the mean power of each second as (seconds,). The cache key includes the modification time."""
    if not probe(video).has_audio:
        return np.zeros(0, np.float32)
    return np.fromiter((float(np.square(second).mean()) for second in _seconds(video)), np.float32)


def _seconds(video: Path) -> Iterator[NDArray[np.float32]]:
    """Yield the samples of each second as (samples,); the last one may be shorter."""
    buffer = np.zeros(0, np.float32)
    for block in decode_audio(video):
        buffer = np.concatenate([buffer, block])
        while len(buffer) >= SAMPLE_RATE:
            yield buffer[:SAMPLE_RATE]
            buffer = buffer[SAMPLE_RATE:]
    if len(buffer):
        yield buffer
