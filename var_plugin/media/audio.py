"""The sound of a file as 16 kHz mono float32, on the same clock as its pictures."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from var_plugin.errors import NoAudioStreamError
from var_plugin.media.container import open_media, start_time, unreadable

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
"""Samples per second, for every sound in the package."""


def decode_audio(path: Path) -> Iterator[NDArray[np.float32]]:
    """Yield the sound in pieces of (samples,) float32 in -1…1; sample i plays i / 16000 s after the video's start.

    Stereo becomes the mean of its channels. Sound that starts late is preceded by silence.

    Raises:
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError: as `open_media`.
        NoAudioStreamError: the file has no sound.
    """
    with open_media(path) as container:
        if not container.streams.audio:
            raise NoAudioStreamError(f"{path} has no sound", why="it holds no audio stream", fix="name another file")
        stream = container.streams.best("audio") or container.streams.audio[0]
        if not isinstance(stream, AudioStream):  # `best` is typed for any stream
            raise TypeError(type(stream))
        # In s16, FFmpeg's downmix is the mean of the channels; in float it is 3 dB louder and can pass 1.0.
        resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        decoded = False
        for frame in _decoded(container, stream, path):
            if not decoded and frame.time is not None:
                late = round((frame.time - start_time(container)) * SAMPLE_RATE)
                if late > 0:
                    yield np.zeros(late, np.float32)
            decoded = True
            yield from _samples(resampler, frame)
        if not decoded:
            raise unreadable(path, "no sound in it can be decoded")
        yield from _samples(resampler, None)


def read_audio(path: Path, *, start: float = 0.0, end: float = math.inf) -> NDArray[np.float32]:
    """Return the sound from `start` to `end` seconds as one array (samples,); errors as `decode_audio`."""
    first = round(start * SAMPLE_RATE)
    last = None if end == math.inf else round(end * SAMPLE_RATE)
    pieces: list[NDArray[np.float32]] = []
    position = 0
    for piece in decode_audio(path):
        pieces.append(piece[max(0, first - position) : None if last is None else max(0, last - position)])
        position += len(piece)
        if last is not None and position >= last:
            break
    return np.concatenate(pieces)


def _decoded(container: InputContainer, stream: AudioStream, path: Path) -> Iterator[AudioFrame]:
    """Yield every audio frame, passing over damaged packets."""
    damaged = 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            damaged += 1
            continue
        yield from (frame for frame in frames if isinstance(frame, AudioFrame))
    if damaged:
        logger.warning("%s: %d damaged packets of sound were passed over", path, damaged)


def _samples(resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[NDArray[np.float32]]:
    for resampled in resampler.resample(frame):
        yield resampled.to_ndarray().reshape(-1).astype(np.float32) / 32768.0
