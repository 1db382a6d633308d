from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.films import Film, textured
from tests.media.test_frame_times import coded
from var_plugin.errors import BrokenTimestampsError, UnreadableMediaError
from var_plugin.media.audio import decode_audio
from var_plugin.media.container import probe
from var_plugin.media.frames import FrameReader


def test_video_that_begins_late_is_not_truncated(film: Film) -> None:
    """Matroska counts its duration from zero, not from its first frame."""
    path = film("late.mkv", times=[20 + i / 10 for i in range(50)], paint=lambda time: textured(round(time * 10)))
    reader = FrameReader(path)
    assert len(list(reader)) == 50
    assert reader.end == pytest.approx(5.0, abs=0.05)
    assert probe(path).duration == pytest.approx(5.0, abs=0.1)


def test_creation_time_is_read_from_the_header(film: Film) -> None:
    assert probe(film()).created_at is None
    assert probe(film("dated.mkv", metadata={"creation_time": "2025-11-01T12:00:00Z"})).created_at == (
        "2025-11-01T12:00:00.000000Z"
    )


def test_audio_that_begins_hours_late_is_refused(film: Film) -> None:
    path = film("late.mp4", seconds=90_002, times=[0.0, 0.1], tone=440, tone_starts=90_000)
    with pytest.raises(BrokenTimestampsError):
        list(decode_audio(path))


def test_frames_long_before_the_declared_start_are_refused(film: Film) -> None:
    """FFmpeg takes the late audio for the start of this file. The frames must not all be placed at zero."""
    path = film("late.mkv", seconds=90_002, times=[0.0, 0.1], tone=440, tone_starts=90_000)
    with pytest.raises(BrokenTimestampsError):
        list(FrameReader(path))


def test_unused_streams_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=10, width=w, height=h) for w, h in ((32, 32), (96, 64))]
        for stream in streams:
            stream.pix_fmt = "yuv420p"
        tracks = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        for stream in streams:
            image = np.zeros((stream.height, stream.width, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        for track in tracks:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), "s16", "mono")
            frame.sample_rate = 16_000
            container.mux(track.encode(frame))
    assert probe(path).notes == (
        "only the largest of its 2 video streams is used (96 x 64)",
        "only one of its 2 audio tracks is used, the first that is not silent",
    )


def test_frame_rate_of_an_elementary_stream_is_noted(tmp_path: Path) -> None:
    path = coded(tmp_path / "a.h264", "libx264", {})
    assert probe(path).notes == ("it has no timestamps: its frames are placed at 25 frames a second",)


def test_ordinary_file_has_no_notes(film: Film) -> None:
    assert probe(film(tone=440)).notes == ()


def test_unsupported_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ivf"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=10, width=64, height=48)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(UnreadableMediaError, match="its format is not supported"):
        probe(path)
