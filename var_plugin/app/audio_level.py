"""How loud a part of a video is: what "louder" compares."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from var_plugin.media.audio import SAMPLE_RATE
from var_plugin.media.sandbox.client import decode_audio, probe

SILENCE = -120.0
"""Decibels below full scale of what has no sound at all."""


def loudness(video: Path, start: float, end: float) -> float:
    """Return the mean level from `start` to `end` seconds in decibels below full scale; `SILENCE` without sound.

    Raises:
        VarPluginError: the file cannot be read.
    """
    powers = _powers(video, video.stat().st_mtime_ns)
    part = powers[math.floor(start) : max(math.floor(start) + 1, math.ceil(end))]
    power = float(part.mean()) if len(part) else 0.0
    return max(SILENCE, 10 * math.log10(power)) if power > 0 else SILENCE


@lru_cache(maxsize=64)
def _powers(video: Path, changed: int) -> NDArray[np.float32]:
    """Return the mean power of each second of a file, which is read once as long as it does not change."""
    if not probe(video).has_audio:
        return np.zeros(0, np.float32)
    return np.fromiter((float(np.square(second).mean()) for second in _seconds(video)), np.float32)


def _seconds(video: Path) -> Iterator[NDArray[np.float32]]:
    left = np.zeros(0, np.float32)
    for piece in decode_audio(video):
        left = np.concatenate([left, piece])
        while len(left) >= SAMPLE_RATE:
            yield left[:SAMPLE_RATE]
            left = left[SAMPLE_RATE:]
    if len(left):
        yield left
