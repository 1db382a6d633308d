"""Videos with one audio event, from a small video and two recordings of tones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recipes.lite import audio_streams
from recipes.lite.audio_sources import Recording
from recipes.lite.cctv_fights import FightClip
from tests.films import Film
from var_plugin.media.audio import read_audio
from var_plugin.media.decoded import SAMPLE_RATE


@pytest.fixture(autouse=True)
def short_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_streams, "SECONDS", (12, 14))


def test_event_is_at_its_span_and_louder_than_the_background(film: Film, tmp_path: Path) -> None:
    """The background is a tone of 300 Hz, the event one of 3 kHz."""
    clip = FightClip(film("calm.mp4"), False, "a")
    background = Recording(
        film("bed.mp4", tone=300, images=False, seconds=4), "urbansound8k", "b", "air conditioner", "test"
    )
    event = Recording(film("event.mp4", tone=3000, images=False), "urbansound8k", "c", "siren", "test")
    random = np.random.default_rng(0)
    video = audio_streams.make_video([clip], [background, event], event, tmp_path / "made.mp4", random)
    samples = read_audio(video.path)
    start, end = video.sound
    assert 12 <= len(samples) / SAMPLE_RATE <= 15
    assert end - start == pytest.approx(2, abs=0.1)

    def high(first: float, last: float) -> float:
        part = samples[int(first * SAMPLE_RATE) : int(last * SAMPLE_RATE)]
        spectrum = np.abs(np.fft.rfft(part)) ** 2
        return float(spectrum[np.fft.rfftfreq(len(part), 1 / SAMPLE_RATE) > 1500].sum() / spectrum.sum())

    assert high(start + 0.2, end - 0.2) > 0.9
    elsewhere = (0.0, start) if start > end - 12 and start > 3 else (end + 0.2, len(samples) / SAMPLE_RATE)
    assert high(*elsewhere) < 0.1
    assert video.words
