"""The sound of a file as 16 kHz mono float32, on the same clock as its pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from var_plugin.errors import NoAudioStreamError, TooLongMediaError, said
from var_plugin.media.container import (
    LONGEST_GAP_SECONDS,
    OUT_OF_MEMORY,
    clock_jumps,
    decoded,
    open_media,
    start_time,
    unreadable,
)
from var_plugin.media.limits import DEFAULT_LIMITS, Limits

SAMPLE_RATE = 16_000
"""Samples per second, for every sound in the package."""


def decode_audio(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[NDArray[np.float32]]:
    """Yield the sound in pieces of (samples,) float32 in -1…1; sample i plays i / 16000 s after the video's start.

    Stereo becomes the mean of its channels. Sound that starts late is preceded by silence.

    Raises:
        MediaNotFoundError, EmptyMediaError, PlaylistError, UnreadableMediaError, TooManyStreamsError: as `open_media`.
        NoAudioStreamError: the file has no sound.
        TooLongMediaError: at the sample that passes the limit.
        BrokenTimestampsError: it begins more than an hour after the pictures.
    """
    position = 0
    for piece in _pieces(path, limits):
        position += len(piece)
        if position > limits.duration * SAMPLE_RATE:
            raise TooLongMediaError(
                f"the sound of {path} goes on for too long",
                why=f"the limit is {limits.duration:.0f} s",
                fix="cut it into shorter files, or mend its timestamps",
            )
        yield piece


def read_audio(path: Path, *, start: float = 0.0, end: float = math.inf) -> NDArray[np.float32]:
    """Return the sound from `start` to `end` seconds as one array (samples,); errors as `decode_audio`."""
    return cut(decode_audio(path), start, end)


def cut(pieces: Iterable[NDArray[np.float32]], start: float, end: float) -> NDArray[np.float32]:
    """Join neighbouring pieces of sound from `start` to `end` seconds into one array (samples,)."""
    first = round(start * SAMPLE_RATE)
    last = None if end == math.inf else round(end * SAMPLE_RATE)
    wanted = [np.zeros(0, np.float32)]  # a stream of a few samples at a low rate gives none at all
    position = 0
    for piece in pieces:
        wanted.append(piece[max(0, first - position) : None if last is None else max(0, last - position)])
        position += len(piece)
        if last is not None and position >= last:
            break
    return np.concatenate(wanted)


def _pieces(path: Path, limits: Limits) -> Iterator[NDArray[np.float32]]:
    with open_media(path, limits) as container:
        if not container.streams.audio:
            raise NoAudioStreamError(f"{path} has no sound", why="it holds no audio stream", fix="name another file")
        stream = container.streams.best("audio") or container.streams.audio[0]
        if not isinstance(stream, AudioStream) or not stream.codec_context:
            raise unreadable(path, "its sound is of no known kind")
        # In s16, FFmpeg's downmix is the mean of the channels; in float it is 3 dB louder and can pass 1.0.
        resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        begun = False
        try:
            for frame in decoded(container, stream, path):
                if not isinstance(frame, AudioFrame):
                    continue
                if not begun and frame.time is not None:
                    yield from _silence(path, frame.time - start_time(container))
                begun = True
                yield from _samples(resampler, frame)
            if not begun:
                raise unreadable(path, "no sound in it can be decoded")
            yield from _samples(resampler, None)
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, ValueError) as error:  # the sound changes its shape on the way
            raise unreadable(path, said(error)) from error


def _silence(path: Path, seconds: float) -> Iterator[NDArray[np.float32]]:
    if seconds > LONGEST_GAP_SECONDS:
        raise clock_jumps(path, seconds, 0.0)
    samples = max(0, round(seconds * SAMPLE_RATE))
    for position in range(0, samples, SAMPLE_RATE):
        yield np.zeros(min(SAMPLE_RATE, samples - position), np.float32)


def _samples(resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[NDArray[np.float32]]:
    for resampled in resampler.resample(frame):
        yield resampled.to_ndarray().reshape(-1).astype(np.float32) / 32768.0
