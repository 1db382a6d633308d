from __future__ import annotations

import pytest

from tests.films import Film, textured
from var_plugin.errors import BrokenTimestampsError
from var_plugin.media.audio import decode_audio
from var_plugin.media.container import probe
from var_plugin.media.frames import FrameReader


def test_a_film_that_begins_late_is_not_truncated(film: Film) -> None:
    """Matroska counts its duration from zero, not from its first picture."""
    path = film("late.mkv", times=[20 + i / 10 for i in range(50)], paint=lambda time: textured(round(time * 10)))
    reader = FrameReader(path)
    assert len(list(reader)) == 50
    assert reader.end == pytest.approx(5.0, abs=0.05)
    assert probe(path).duration == pytest.approx(5.0, abs=0.1)


def test_what_the_recorder_wrote_into_the_header_is_read(film: Film) -> None:
    assert probe(film()).created_at is None
    assert probe(film("dated.mkv", metadata={"creation_time": "2025-11-01T12:00:00Z"})).created_at == (
        "2025-11-01T12:00:00.000000Z"
    )


def test_sound_that_begins_hours_late_is_an_error_and_no_endless_silence(film: Film) -> None:
    path = film("late.mp4", seconds=90_002, times=[0.0, 0.1], tone=440, tone_starts=90_000)
    with pytest.raises(BrokenTimestampsError):
        list(decode_audio(path))


def test_pictures_long_before_the_start_that_the_file_claims_are_an_error(film: Film) -> None:
    """FFmpeg takes the late sound for the start of this file; the pictures must not all end up at second zero."""
    path = film("late.mkv", seconds=90_002, times=[0.0, 0.1], tone=440, tone_starts=90_000)
    with pytest.raises(BrokenTimestampsError):
        list(FrameReader(path))
