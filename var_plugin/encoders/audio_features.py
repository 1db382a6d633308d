"""Embed recordings of any length: a vector per window, pooled into a vector per span."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import AudioArray, AudioEncoder, AudioQueryEncoder, Vectors, l2_normalize
from var_plugin.encoders.clip_features import TimedFeatures, stack_chunks
from var_plugin.errors import InvalidInputError
from var_plugin.media.decoded import SAMPLE_RATE
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.sandbox.client import decode_audio
from var_plugin.types import Span

_BATCH = 32
# Added to the loudness, so that a silent span also has a vector.
_MIN_LOUDNESS = 1e-6


@dataclass(frozen=True, kw_only=True)
class AudioFeatures(TimedFeatures):
    """Features of the windows of a recording. The time of a window is its middle."""

    loudness: NDArray[np.float32]
    """(n,) root mean square; full scale is 1."""


@dataclass(frozen=True)
class AudioBatch:
    """Neighbouring windows of a recording."""

    starts: list[int]
    """Index of the first sample of each window."""
    samples: NDArray[np.float32]
    """(n, window)."""

    def encode(self, encoder: AudioEncoder) -> EncodedAudio:
        """Encode the windows."""
        (encoded,) = encode_audio_batches([self], encoder)
        return encoded


@dataclass(frozen=True)
class EncodedAudio:
    """The vectors (n, dim) and loudness (n,) of a batch of n windows."""

    starts: list[int]
    loudness: NDArray[np.float32]
    vectors: Vectors


def encode_audio_batches(batches: Sequence[AudioBatch], encoder: AudioEncoder) -> list[EncodedAudio]:
    """Encode batches, of one recording or several, in one call of the encoder."""
    vectors = encoder.encode(np.concatenate([batch.samples for batch in batches]))
    ends = np.cumsum([len(batch.starts) for batch in batches])
    return [
        EncodedAudio(batch.starts, root_mean_square(batch.samples), part)
        for batch, part in zip(batches, np.split(vectors, ends[:-1]), strict=True)
    ]


def encode_audio(
    pieces: Iterable[AudioArray], encoder: AudioEncoder, progress: Callable[[float], None] | None = None
) -> AudioFeatures:
    """Encode a recording that arrives in consecutive pieces of shape (samples,), a few windows at a time.

    Windows start every `encoder.hop` samples. The last window ends with the recording. A recording shorter than a
    window is padded with silence.

    Args:
        pieces: float32 in -1…1 at 16 kHz, at least one sample in total.
        encoder: encodes the windows.
        progress: called with the time reached, in seconds.

    Raises:
        InvalidInputError: there is no sample, or a sample is NaN or infinite.
    """
    windows = Windows(pieces, encoder.window, encoder.hop)

    def encoded() -> Iterator[EncodedAudio]:
        for batch in windows.batches():
            yield batch.encode(encoder)
            if progress:
                progress(batch.starts[-1] / SAMPLE_RATE)

    return concat_audio(encoded(), encoder.window, lambda: windows.samples)


def concat_audio(batches: Iterable[EncodedAudio], window: int, samples: Callable[[], int]) -> AudioFeatures:
    """Concatenate the encoded batches of a recording. `samples` is called after the last and returns its length."""
    starts: list[int] = []
    loudness: list[NDArray[np.float32]] = []

    def vectors() -> Iterator[Vectors]:
        for batch in batches:
            starts.extend(batch.starts)
            loudness.append(batch.loudness)
            yield batch.vectors

    joined = stack_chunks(vectors())
    return AudioFeatures(
        times=(np.array(starts) + min(window, samples()) / 2) / SAMPLE_RATE,
        vectors=joined,
        loudness=np.concatenate(loudness),
        end=samples() / SAMPLE_RATE,
    )


def pool_audio(features: AudioFeatures, spans: Sequence[tuple[float, float]]) -> Vectors:
    """Return L2-normalised vectors (len(spans), dim): means of the windows of a span, weighted by loudness."""
    vectors = [_weighted(features, features.within(start, end)) for start, end in spans]
    return l2_normalize(np.stack(vectors))


def audio_vector(item: Any, encoder: AudioEncoder | AudioQueryEncoder, limits: Limits = DEFAULT_LIMITS) -> Vectors:
    """Return the L2-normalised vector (dim,) of a recording, by `pool_audio` or by an `AudioQueryEncoder`.

    Args:
        item: a path (also of a video), a `Span`, or a pair of samples (n,) float32 in -1…1 and their sample rate.
        encoder: encodes the windows, or the whole recording.
        limits: decoding limits.

    Raises:
        InvalidInputError: wrong type, shape or dtype, no sample, or a span after the end.
        NoAudioStreamError: the file has no audio. Other errors of `media.sandbox.client.decode_audio` propagate.
    """
    features = encode_audio(_pieces(item, limits), encoder)
    if isinstance(encoder, AudioQueryEncoder):
        return encoder.embed_audio(features.vectors)
    return np.asarray(pool_audio(features, [(0.0, math.inf)])[0], np.float32)


def root_mean_square(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the root mean square (n,) of windows (n, samples)."""
    return np.asarray(np.sqrt(np.square(windows).mean(axis=1)), np.float32)


def _weighted(features: AudioFeatures, windows: slice) -> Vectors:
    return np.asarray((features.loudness[windows] + _MIN_LOUDNESS) @ features.vectors[windows])


class Windows:
    """Cut a recording that arrives in pieces into windows. After iteration, `samples` is its length."""

    def __init__(self, pieces: Iterable[AudioArray], window: int, hop: int) -> None:
        self._pieces, self._window, self._hop = pieces, window, hop
        self.samples = 0

    def batches(self) -> Iterator[AudioBatch]:
        """Yield the windows, a few at a time; raises as `encode_audio`."""
        cut = iter(self)
        while batch := list(islice(cut, _BATCH)):
            yield AudioBatch([start for start, _ in batch], np.stack([window for _, window in batch]))

    def __iter__(self) -> Iterator[tuple[int, AudioArray]]:
        """Yield (first sample, (window,) float32) in order; raises as `encode_audio`."""
        buffer, first = np.zeros(0, np.float32), 0  # the samples from `first` on
        start = covered = 0
        for piece in self._pieces:
            if not np.isfinite(piece).all():
                raise InvalidInputError(
                    "the audio contains NaN or infinity", fix="check the program that made the samples"
                )
            self.samples += len(piece)
            buffer = np.concatenate([buffer, piece])
            while start + self._window <= self.samples:
                yield start, buffer[start - first :][: self._window]
                covered = start + self._window
                start += self._hop
            needed = min(start, max(0, self.samples - self._window))
            buffer, first = buffer[needed - first :], needed
        if self.samples == 0:
            raise InvalidInputError("the audio has no samples", fix="pass at least one")
        if covered < self.samples:
            last = buffer[-self._window :]
            yield max(0, self.samples - self._window), np.pad(last, (0, self._window - len(last)))


def _pieces(item: Any, limits: Limits) -> Iterator[AudioArray]:
    if isinstance(item, str | Path):
        yield from decode_audio(Path(item), limits)
    elif isinstance(item, Span):
        yield from _part(item, limits)
    elif isinstance(item, tuple) and len(item) == 2:
        yield _resampled(*item)
    else:
        raise InvalidInputError(
            f"not an audio input: {type(item).__name__}",
            fix="pass a path, a var_plugin.Span, or a pair (samples, rate)",
        )


def _part(span: Span, limits: Limits) -> Iterator[AudioArray]:
    first, last = round(span.start * SAMPLE_RATE), round(span.end * SAMPLE_RATE)
    position = 0
    for piece in decode_audio(Path(span.path), limits):
        selected = piece[max(0, first - position) : max(0, last - position)]
        if len(selected):
            yield selected
        position += len(piece)
        if position >= last:
            return
    if position <= first:
        raise InvalidInputError(
            f"{span.path} has no audio from {span.start} to {span.end} s", fix="choose a span inside it"
        )


def _resampled(samples: Any, rate: Any) -> AudioArray:
    """Return the samples resampled to 16 kHz.

    Raises:
        InvalidInputError: the samples are not a floating-point array (samples,), or the rate is out of range.
    """
    if not (isinstance(samples, np.ndarray) and samples.ndim == 1 and np.issubdtype(samples.dtype, np.floating)):
        kind = f"{samples.shape} {samples.dtype}" if isinstance(samples, np.ndarray) else type(samples).__name__
        raise InvalidInputError(
            f"unsupported samples: {kind}",
            why="audio is one channel, a float array (samples,) in -1…1",
            fix="average the channels and divide 16-bit integers by 32768",
        )
    if not 1_000 <= rate <= 768_000 or rate != int(rate):
        raise InvalidInputError(f"the sample rate {rate} is out of range", fix="give it in Hz, 1,000 to 768,000")
    if rate == SAMPLE_RATE or not len(samples):
        return np.asarray(samples, np.float32)
    import torch
    from torchaudio.functional import resample

    tensor = torch.from_numpy(np.asarray(samples, np.float32))
    return np.asarray(resample(tensor, int(rate), SAMPLE_RATE).numpy())
