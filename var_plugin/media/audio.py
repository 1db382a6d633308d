"""Decode the audio of a file as 16 kHz mono float32, aligned with its frames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from var_plugin.errors import (
    BrokenTimestampsError,
    NoAudioStreamError,
    TooLongMediaError,
    UnreadableMediaError,
    os_error_message,
)
from var_plugin.media.container import (
    BACKWARD_SLACK_SECONDS,
    MAX_GAP_SECONDS,
    OUT_OF_MEMORY,
    decode_stream,
    open_media,
    start_time,
    timestamps_error,
    unreadable_error,
)
from var_plugin.media.decoded import SAMPLE_RATE, SILENCE_RMS, cut_audio
from var_plugin.media.limits import DEFAULT_LIMITS, Limits

MAX_SAMPLE_RATE = 10_000_000
"""Largest sample rate of a file. The memory for resampling grows with it."""
AUDIO_ERRORS = (BrokenTimestampsError, NoAudioStreamError, TooLongMediaError, UnreadableMediaError)
"""Errors of the audio of a video whose frames may still be readable."""

# Timestamps are rounded, to milliseconds in Matroska, and packets jitter. A larger deviation is a gap or an overlap.
_TIMESTAMP_SLACK_SECONDS = 0.04
# Shorter blocks cost more calls. Longer blocks detect a phase change later.
_BLOCK_SECONDS = 0.25
# The mean of channels in opposite phase is silent. Two independent channels keep half of their power in the mean, a
# single loud channel keeps a quarter. Below this share of the power, the channels cancel each other.
_CANCELLED_POWER_RATIO = 0.01
_UNSIGNED_ZERO = 128
# Powers are compared on every third sample.
_POWER_STEP = 3


def decode_audio(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[NDArray[np.float32]]:
    """Yield the audio in pieces of (samples,) float32 in -1…1. Sample i plays i / 16000 s after the start of the file.

    Samples are placed by their timestamps. A late start and gaps become silence. Where audio overlaps, the earlier
    samples are kept. Channels are averaged. Where they cancel each other, the loudest channel is used. Of several
    tracks, the first that is not silent is used, beginning with the default track. Pieces are empty while a silent
    track is searched.

    Raises:
        MediaNotFoundError, EmptyMediaError, PlaylistError, UnreadableMediaError, TooManyStreamsError: as `open_media`.
        NoAudioStreamError: the file has no audio.
        TooLongMediaError: the audio exceeds the limit. Raised at the first sample beyond it.
        BrokenTimestampsError: a timestamp is more than an hour after, or more than 2 s before, the end of the audio
            decoded so far.
    """
    *others, last = _tracks(path, limits)
    for track in others:
        pieces = _pieces(path, track, limits)
        silent = 0
        for piece in pieces:
            if _is_silent(piece):
                silent += len(piece)
                yield np.zeros(0, np.float32)
                continue
            yield from _silence(silent)
            yield piece
            yield from pieces
            return
    yield from _pieces(path, last, limits)


def read_audio(path: Path, *, start: float = 0.0, end: float = math.inf) -> NDArray[np.float32]:
    """Return the audio from `start` to `end` seconds as one array (samples,). Raise the errors of `decode_audio`."""
    return cut_audio(decode_audio(path), start, end)


def audio_streams(container: InputContainer) -> list[AudioStream]:
    """Return the audio streams with a known codec, the default one first."""
    streams = [stream for stream in container.streams.audio if stream.codec_context]
    best = container.streams.best("audio")
    return sorted(streams, key=lambda stream: stream is not best)


def _tracks(path: Path, limits: Limits) -> list[int]:
    """Return the indices of the audio streams, at least one."""
    with open_media(path, limits) as container:
        if not container.streams.audio:
            raise NoAudioStreamError(f"{path} has no audio", why="it has no audio stream", fix="choose another file")
        tracks = [stream.index for stream in audio_streams(container)]
    if not tracks:
        raise unreadable_error(path, "its audio codec is unknown")
    return tracks


def _pieces(path: Path, track: int, limits: Limits) -> Iterator[NDArray[np.float32]]:
    """Decode one track."""
    with open_media(path, limits) as container:
        stream = container.streams[track]
        if not isinstance(stream, AudioStream):
            raise unreadable_error(path, "its streams changed while it was read")
        timeline = _Timeline(path)
        zero = start_time(container)
        is_empty = True
        try:
            for frame in decode_stream(container, stream, path):
                if not isinstance(frame, AudioFrame):
                    continue
                is_empty = False
                if not 1 <= frame.sample_rate <= MAX_SAMPLE_RATE:
                    raise unreadable_error(path, f"its sample rate of {frame.sample_rate} Hz is invalid")
                for piece in timeline.place(frame, None if frame.time is None else frame.time - zero):
                    _check_length(path, timeline.position, limits)
                    yield piece
            if is_empty:
                raise unreadable_error(path, "no audio in it can be decoded")
            yield from timeline.flush()
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, ValueError) as error:  # frames of a format that cannot be resampled
            raise unreadable_error(path, os_error_message(error)) from error


def _check_length(path: Path, samples: int, limits: Limits) -> None:
    if samples > limits.duration * SAMPLE_RATE:
        raise TooLongMediaError(
            f"the audio of {path} is too long",
            why=f"the limit is {limits.duration:.0f} s",
            fix="cut it into shorter files, or repair its timestamps",
        )


class _Timeline:
    """Places decoded frames at their timestamps and resamples them.

    Frames without a gap, an overlap or a change of format between them form a run. The frames of a run are joined into
    blocks before they are resampled, because a frame holds about 20 ms and each call costs more than its samples.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.position = 0
        """Samples yielded so far."""
        self._frames = AudioFifo()
        """Frames of the run that are not yet resampled."""
        self._resampler: AudioResampler | None = None
        self._format: tuple[str, str, int] | None = None
        self._layout = ""
        """Channel layout of the resampler's input."""
        self._due = 0.0
        """Seconds at which the next frame of the run should begin."""
        self._block_start = 0.0
        """Seconds at which the next block begins."""
        self._overlap = 0
        """Samples at the start of the run that overlap with an earlier run, which are dropped."""

    def place(self, frame: AudioFrame, time: float | None) -> Iterator[NDArray[np.float32]]:
        """Add a frame. Yield the silence before it and the samples that are complete.

        Args:
            frame: the next decoded frame.
            time: seconds from the start of the file. None: the end of the previous frame.
        """
        format_ = (frame.format.name, frame.layout.name, frame.sample_rate)
        time = self._due if time is None else time
        is_contiguous = abs(time - self._due) <= _TIMESTAMP_SLACK_SECONDS
        if format_ != self._format or not is_contiguous:
            yield from self.flush()
            backward = -math.inf if self._format is None else -BACKWARD_SLACK_SECONDS
            if not backward <= time - self._due <= MAX_GAP_SECONDS:
                raise timestamps_error(self._path, time, self._due)
            self._due = self._block_start = self._due if is_contiguous else time
            self._frames, self._format = AudioFifo(), format_
        self._due += frame.samples / frame.sample_rate
        frame.pts = None  # the time of the run is known
        self._frames.write(frame)
        if self._frames.samples >= _BLOCK_SECONDS * frame.sample_rate:
            yield from self._resample_block()

    def flush(self) -> Iterator[NDArray[np.float32]]:
        """End the run. Yield its remaining samples."""
        yield from self._resample_block()
        yield from self._drain()

    def _resample_block(self) -> Iterator[NDArray[np.float32]]:
        block = self._frames.read()
        if block is None:
            return
        seconds = block.samples / block.sample_rate
        block = _avoid_cancellation(block)
        if self._resampler is None or block.layout.name != self._layout:
            yield from self._drain()
            yield from self._fill_gap()
            # In s16, FFmpeg's downmix is the mean of the channels; in float it is 3 dB louder and can pass 1.0.
            self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            self._layout = block.layout.name
        yield from self._samples(self._resampler.resample(block))
        self._block_start += seconds

    def _drain(self) -> Iterator[NDArray[np.float32]]:
        if self._resampler:
            yield from self._samples(self._resampler.resample(None))
        self._resampler = None

    def _fill_gap(self) -> Iterator[NDArray[np.float32]]:
        """Yield the silence before the next block, or store how far the block overlaps with earlier samples."""
        # Resampling may add one sample to a run by rounding. That is not an overlap.
        missing = round(self._block_start * SAMPLE_RATE) - self.position
        if missing > 1:
            self.position += missing
            yield from _silence(missing)
        self._overlap = -missing if missing < -1 else 0

    def _samples(self, frames: Iterable[AudioFrame]) -> Iterator[NDArray[np.float32]]:
        for frame in frames:
            samples = frame.to_ndarray().reshape(-1).astype(np.float32) / 32768.0
            new = samples[self._overlap :]
            self._overlap -= len(samples) - len(new)
            self.position += len(new)
            if len(new):
                yield new


def _avoid_cancellation(frame: AudioFrame) -> AudioFrame:
    """Return the frame, or only its loudest channel if the channels cancel each other in the mean."""
    count = frame.layout.nb_channels
    if count < 2 or frame.format.name.rstrip("p") not in ("u8", "s16", "s32", "flt", "dbl"):
        return frame
    samples = frame.to_ndarray()
    channels = samples if frame.format.is_planar else samples.reshape(-1, count).T
    centred = channels[:, ::_POWER_STEP].astype(np.float32) - (_UNSIGNED_ZERO if channels.dtype == np.uint8 else 0)
    products = centred @ centred.T
    powers = products.diagonal()
    if products.sum() / count**2 >= _CANCELLED_POWER_RATIO * powers.mean():
        return frame
    loudest = np.ascontiguousarray(channels[powers.argmax()][None])
    single = AudioFrame.from_ndarray(loudest, frame.format.name, "mono")
    single.sample_rate, single.pts, single.time_base = frame.sample_rate, frame.pts, frame.time_base
    return single


def _is_silent(piece: NDArray[np.float32]) -> bool:
    return bool(np.square(piece).mean() < SILENCE_RMS**2)


def _silence(samples: int) -> Iterator[NDArray[np.float32]]:
    """Yield silence in pieces of at most one second."""
    for position in range(0, samples, SAMPLE_RATE):
        yield np.zeros(min(SAMPLE_RATE, samples - position), np.float32)
