from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.films import Film
from tests.tones import LowOrHigh, sine
from var_plugin.encoders.audio_features import Windows, audio_vector, encode_audio, encode_audio_batches, pool_audio
from var_plugin.errors import InvalidInputError, MediaNotFoundError, NoAudioStreamError
from var_plugin.types import Span


@pytest.mark.parametrize("length", [1, 1_599, 1_600, 1_601, 2_400, 5_003, 16_000])
@pytest.mark.parametrize("piece", [7, 1_024, 100_000])
def test_windows_cover_the_audio_for_any_block_size(length: int, piece: int) -> None:
    sound = np.arange(1, length + 1, dtype=np.float32)
    cut = Windows([sound[first : first + piece] for first in range(0, length, piece)], 1_600, 800)
    windows = list(cut)
    assert cut.samples == length
    starts = [start for start, _ in windows]
    assert starts == sorted(set(starts)) and starts[0] == 0
    assert starts[-1] + 1_600 == max(length, 1_600)
    assert all(second - first <= 800 for first, second in pairwise(starts))
    for start, window in windows:
        expected = sound[start : start + 1_600]
        assert np.array_equal(window[: len(expected)], expected) and not window[len(expected) :].any()


def test_batches_of_several_files_are_encoded_together() -> None:
    encoder = LowOrHigh()
    sounds = [sine(300, 3), sine(3_000, 2)]
    runs = [run for sound in sounds for run in Windows([sound], encoder.window, encoder.hop).batches()]
    for encoded, run in zip(encode_audio_batches(runs, encoder), runs, strict=True):
        expected = run.encode(encoder)
        assert encoded.starts == expected.starts
        np.testing.assert_array_equal(encoded.loudness, expected.loudness)
        np.testing.assert_array_equal(encoded.vectors, expected.vectors)


def test_loud_windows_have_more_weight() -> None:
    sound = np.concatenate([sine(300, 10, amplitude=0.01), sine(3_000, 1.0), sine(300, 10, amplitude=0.01)])
    features = encode_audio([sound], LowOrHigh())
    assert features.end == pytest.approx(21.0)
    whole, quiet = pool_audio(features, [(0.0, math.inf), (0.0, 9.0)])
    assert whole[1] > 0.8 > whole[0]
    assert quiet[0] > 0.99


def test_the_sample_rate_does_not_change_the_vector() -> None:
    at_16, at_44 = (audio_vector((sine(3_000, 2, rate=rate), rate), LowOrHigh()) for rate in (16_000, 44_100))
    assert at_16 @ at_44 > 0.999
    double = audio_vector((sine(3_000, 2).astype(np.float64), 16_000), LowOrHigh())
    assert np.allclose(double, at_16, atol=1e-5)


def test_videos_and_spans_are_audio_inputs(film: Film) -> None:
    path = film("late.mkv", seconds=6, tone=3_000, tone_starts=3.0)
    whole = audio_vector(path, LowOrHigh())
    late = audio_vector(Span(path, 3.5, 5.5), LowOrHigh())
    assert whole[1] > 0.9 and late[1] > 0.99
    assert np.array_equal(whole, audio_vector(str(path), LowOrHigh()))


@pytest.mark.parametrize(
    "wrong",
    [
        3,
        (sine(300, 1), 0),
        (sine(300, 1), 16_000.5),
        (np.zeros((2, 16_000), np.float32), 16_000),
        (np.zeros(16_000, np.int16), 16_000),
        ([0.0, 0.1], 16_000),
        (np.zeros(0, np.float32), 16_000),
        (np.full(16_000, np.nan, np.float32), 16_000),
    ],
)
def test_inputs_that_are_not_audio_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidInputError):
        audio_vector(wrong, LowOrHigh())


def test_files_without_audio_are_an_error(film: Film, tmp_path: Path) -> None:
    with pytest.raises(NoAudioStreamError):
        audio_vector(film(seconds=1), LowOrHigh())
    with pytest.raises(MediaNotFoundError):
        audio_vector(tmp_path / "nothing.wav", LowOrHigh())
    with pytest.raises(InvalidInputError, match="no audio from 50"):
        audio_vector(Span(film("tone.mp4", seconds=2, tone=440), 50.0, 60.0), LowOrHigh())
