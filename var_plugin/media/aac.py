"""Encoding audio as AAC, mono at 16 kHz."""

from __future__ import annotations

from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from numpy.typing import NDArray

from var_plugin.media.audio import SAMPLE_RATE, decode_audio
from var_plugin.media.limits import DEFAULT_LIMITS, Limits

_FRAME = 1024


def audio_part(
    video: Path, start: float, end: float, limits: Limits = DEFAULT_LIMITS
) -> Generator[float, None, NDArray[np.float32]]:
    """Return the audio from `start` to `end` seconds as (samples,); yield how far it is decoded, in seconds.

    Raises:
        As `audio.decode_audio`.
    """
    first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
    parts, position = [np.zeros(0, np.float32)], 0
    for piece in decode_audio(video, limits):
        parts.append(piece[max(0, first - position) : max(0, last - position)])
        position += len(piece)
        if position >= last:
            break
        yield position / SAMPLE_RATE
    return np.concatenate(parts)


def mux_audio(container: OutputContainer, stream: AudioStream, samples: NDArray[np.float32]) -> None:
    """Encode samples (n,) at 16 kHz into a stream of a clip, from its beginning on."""
    for first in range(0, len(samples), _FRAME):
        frame = av.AudioFrame.from_ndarray(samples[None, first : first + _FRAME], "fltp", "mono")
        frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), first
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
