"""Windows of video and audio, for models that encode the whole content of a window as one input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.audio_features import root_mean_square
from var_plugin.encoders.base import AudioArray, AudioEncoder, NoDetectorMixin, Vectors, l2_normalize
from var_plugin.encoders.clip_features import PerFrameMixin, mean_pool
from var_plugin.media.decoded import SAMPLE_RATE, Frame

WINDOW_SECONDS = 8
"""Seconds of video or audio in one input: the default length of a segment."""

# A window that ends with padding is cut to its samples, but not below half a second.
_MIN_SAMPLES = SAMPLE_RATE // 2


class VideoWindowsMixin(PerFrameMixin, NoDetectorMixin):
    """Base of video encoders that encode the frames of a window together. `stride` is the number of frames in one.

    Longer spans are the L2-normalised mean of their windows. The last window of a video may have fewer frames.
    """

    def windows(self, frames: Sequence[Frame]) -> list[list[Frame]]:
        """Split consecutive frames into windows, without the repeated frames that fill an incomplete window."""
        windows = [frames[start : start + self.stride] for start in range(0, len(frames), self.stride)]
        return [_without_repetitions(window) for window in windows]

    def embed_video(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return the L2-normalised mean of the windows, (dim,)."""
        return np.asarray(mean_pool(clips, [slice(None)])[0], np.float32)


class AudioQueryWindows:
    """Encode a recording as a query for video with the encoder of its windows; an `AudioQueryEncoder`."""

    def __init__(self, encoder: AudioEncoder) -> None:
        self._encoder = encoder

    @property
    def window(self) -> int:
        """Number of samples in one window."""
        return self._encoder.window

    @property
    def hop(self) -> int:
        """Number of samples between the starts of neighbouring windows."""
        return self._encoder.hop

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        """Return features (n, dim + 1): the vectors of the windows, followed by their loudness."""
        return np.hstack([self._encoder.encode(windows), root_mean_square(windows)[:, None]])

    def embed_audio(self, windows: Vectors) -> Vectors:
        """Return the vector (dim,) of a recording: the L2-normalised mean of its windows, weighted by loudness."""
        return np.asarray(l2_normalize((windows[:, -1] + 1e-6) @ windows[:, :-1]), np.float32)


def without_silent_end(window: AudioArray) -> AudioArray:
    """Return a window without the zeros that fill it, or the whole window if it is silent."""
    audible = np.flatnonzero(window)
    return window[: max(_MIN_SAMPLES, int(audible[-1]) + 1)] if len(audible) else window


def resampled(samples: AudioArray, rate: int) -> AudioArray:
    """Return audio of 16 kHz at another sample rate in Hz."""
    if rate == SAMPLE_RATE:
        return samples
    import torch
    from torchaudio.functional import resample

    return np.asarray(resample(torch.from_numpy(samples), SAMPLE_RATE, rate).numpy())


def _without_repetitions(window: Sequence[Frame]) -> list[Frame]:
    return [frame for number, frame in enumerate(window) if number == 0 or frame.time > window[number - 1].time]
