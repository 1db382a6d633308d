from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.films import Film, plain
from var_plugin.errors import InvalidInputError, MediaNotFoundError
from var_plugin.media.audio import read_audio
from var_plugin.media.clips import playable_clip, plays_in_browsers
from var_plugin.media.frames import FrameReader


def brightness_is_time(time: float) -> np.ndarray:
    return plain(*[round(20 + 20 * time)] * 3)


OTHERS = [
    ("film.mov", "mjpeg", "yuvj420p"),
    ("film.asf", "wmv2", "yuv420p"),
    ("film.mkv", "libx265", "yuv420p"),
    ("film.mkv", "libx264", "yuv444p"),
]


@pytest.mark.parametrize(("name", "codec", "pixels"), OTHERS)
def test_what_no_browser_plays_is_made_anew(name: str, codec: str, pixels: str, film: Film, tmp_path: Path) -> None:
    video = film(name, seconds=6, fps=10, paint=brightness_is_time, codec=codec, pixel_format=pixels, tone=440.0)
    assert not plays_in_browsers(video)
    clip = playable_clip(video, 2.0, 4.0, tmp_path / "made" / "clip.mp4")
    assert plays_in_browsers(clip.path)
    assert (clip.start, clip.end) == pytest.approx((2.0, 4.0), abs=0.11)
    shown = [(frame.time, (frame.image.mean() - 20) / 20) for frame in FrameReader(clip.path)]
    assert len(shown) == pytest.approx(20, abs=1)
    assert [original - time for time, original in shown] == pytest.approx([2.0] * len(shown), abs=0.2)
    assert np.abs(read_audio(clip.path)).max() > 0.1
    assert [file.name for file in clip.path.parent.iterdir()] == ["clip.mp4"], "nothing unfinished is left"


def test_what_browsers_play_is_copied(film: Film, tmp_path: Path) -> None:
    video = film(seconds=6, fps=10, paint=brightness_is_time)
    clip = playable_clip(video, 2.5, 4.0, tmp_path / "clip.mp4")
    assert clip.start == pytest.approx(2.0, abs=1e-3), "at a key frame: nothing was encoded"
    with av.open(str(clip.path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_wide_images_become_narrower(film: Film, tmp_path: Path) -> None:
    video = film(
        "wide.mov", seconds=1, fps=5, codec="mjpeg", paint=lambda time: plain(9, 99, 9, height=1080, width=1920)
    )
    with av.open(str(playable_clip(video, 0.0, 1.0, tmp_path / "clip.mp4").path)) as container:
        images = container.streams.video[0].codec_context
        assert (images.width, images.height) == (1280, 720)


def test_invalid_arguments_of_a_playable_clip_are_refused(film: Film, tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        playable_clip(tmp_path / "none.mp4", 0, 1, tmp_path / "clip.mp4")
    with pytest.raises(InvalidInputError):
        playable_clip(film(), 1, 1, tmp_path / "clip.mp4")
