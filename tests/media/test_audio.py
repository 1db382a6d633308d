from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from tests.films import Film
from var_plugin.errors import NoAudioStreamError, UnreadableMediaError
from var_plugin.media.audio import SAMPLE_RATE, decode_audio, read_audio


def strongest_frequency(sound: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(spectrum.argmax() * SAMPLE_RATE / len(sound))


def test_sound_is_mono_float_at_16_khz(film: Film) -> None:
    sound = read_audio(film(seconds=3, tone=440))
    assert sound.dtype == np.float32
    assert sound.ndim == 1
    assert len(sound) == pytest.approx(3 * SAMPLE_RATE, rel=0.03)
    assert strongest_frequency(sound[SAMPLE_RATE : 2 * SAMPLE_RATE]) == pytest.approx(440, abs=2)


def test_stereo_becomes_the_mean_of_its_channels(film: Film) -> None:
    """One channel is silent, the other a sine of amplitude 0.5: the mean has amplitude 0.25."""
    middle = read_audio(film(seconds=3, tone=440))[SAMPLE_RATE : 2 * SAMPLE_RATE]
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.25, rel=0.03)


def test_late_sound_is_preceded_by_silence(film: Film) -> None:
    """Sample i plays at i / 16000 s of the video, also where the track begins late."""
    sound = read_audio(film("late.mkv", seconds=4, tone=440, tone_starts=1.5))
    loud = np.abs(sound) > 0.05
    assert loud.argmax() / SAMPLE_RATE == pytest.approx(1.5, abs=0.05)


def test_the_part_asked_for(film: Film) -> None:
    path = film(seconds=4, tone=440)
    whole, part = read_audio(path), read_audio(path, start=1.0, end=2.5)
    assert np.array_equal(part, whole[SAMPLE_RATE : round(2.5 * SAMPLE_RATE)])


def test_sound_comes_in_pieces(film: Film) -> None:
    pieces = list(decode_audio(film(seconds=5, tone=440)))
    assert len(pieces) > 10
    assert max(map(len, pieces)) < SAMPLE_RATE


def test_no_sound_and_broken_sound_are_told_apart(film: Film) -> None:
    with pytest.raises(NoAudioStreamError, match=r"silent\.mp4"):
        read_audio(film("silent.mp4"))
    text = film.folder / "text.wav"
    text.write_text("no sound " * 100)
    with pytest.raises(UnreadableMediaError):
        read_audio(text)


def test_a_sound_of_one_sample_at_a_lower_rate_is_empty(tmp_path: Path) -> None:
    """The resampler gives nothing for it; that was once an error out of NumPy."""
    path = tmp_path / "click.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        file.writeframes(b"\1\0")
    assert read_audio(path).shape == (0,)
