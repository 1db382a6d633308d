from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.films import Film, plain
from var_plugin.errors import InvalidInputError, MediaNotFoundError, UnreadableMediaError
from var_plugin.media.audio import read_audio
from var_plugin.media.container import probe
from var_plugin.media.encode import encode_clip
from var_plugin.media.export import Clip, clip_suffix, export_clip
from var_plugin.media.frames import FrameReader
from var_plugin.media.limits import DEFAULT_LIMITS


def brightness_is_time(time: float) -> np.ndarray:
    return plain(*[round(20 + 20 * time)] * 3)


def shown_times(path: Path) -> list[float]:
    """The times of the original that the frames of a clip show, by their brightness."""
    return [(frame.picture.mean() - 20) / 20 for frame in FrameReader(path)]


def test_a_clip_says_where_it_really_begins(film: Film, tmp_path: Path) -> None:
    video = film(seconds=8, fps=10, paint=brightness_is_time)  # a key frame each second
    clip = export_clip(video, 3.4, 5.0, tmp_path / "made" / "clip.mp4")
    assert clip.start == pytest.approx(3.0, abs=1e-3)
    assert 5.0 <= clip.end <= 5.4
    frames = list(FrameReader(clip.path))
    assert frames[0].time == pytest.approx(0.0, abs=1e-3), "a clip has a clock of its own"
    for frame in frames:
        assert (frame.picture.mean() - 20) / 20 == pytest.approx(clip.start + frame.time, abs=0.15)
    assert [file.name for file in clip.path.parent.iterdir()] == ["clip.mp4"], "nothing unfinished is left"


def test_sound_comes_along_and_stays_in_time(film: Film, tmp_path: Path) -> None:
    video = film(seconds=8, paint=brightness_is_time, tone=440.0, tone_starts=4.0)
    clip = export_clip(video, 3.0, 6.0, tmp_path / "clip.mp4")
    sound = np.abs(read_audio(clip.path))
    loud = np.flatnonzero(sound > 0.05) / 16_000
    assert loud[0] == pytest.approx(4.0 - clip.start, abs=0.1)
    assert loud[-1] == pytest.approx(clip.end - clip.start, abs=0.3)


@pytest.mark.parametrize(
    ("name", "codec", "suffix"),
    [
        ("a.mp4", "libx264", ".mp4"),
        ("a.ts", "libx264", ".mp4"),
        ("a.mkv", "libx264", ".mp4"),
        ("a.avi", "mjpeg", ".mkv"),
    ],
)
def test_the_container_fits_the_streams(film: Film, tmp_path: Path, name: str, codec: str, suffix: str) -> None:
    video = film(name, seconds=4, codec=codec, paint=brightness_is_time)
    assert clip_suffix(video) == suffix
    clip = export_clip(video, 1.5, 2.5, tmp_path / f"clip{suffix}")
    shown = shown_times(clip.path)
    assert shown[0] == pytest.approx(clip.start, abs=0.15)
    assert shown[-1] == pytest.approx(clip.end, abs=0.35)
    assert 0.9 <= clip.start <= 1.5
    assert probe(clip.path).duration == pytest.approx(clip.end - clip.start, abs=0.2)


def test_the_whole_video_can_be_a_clip(film: Film, tmp_path: Path) -> None:
    video = film(seconds=3, paint=brightness_is_time)
    clip = export_clip(video, 0.0, 99.0, tmp_path / "clip.mp4")
    assert (clip.start, clip.end) == (0.0, pytest.approx(3.0, abs=0.02))
    assert len(list(FrameReader(clip.path))) == 30


def test_what_cannot_be_cut(film: Film, tmp_path: Path) -> None:
    video = film(seconds=2)
    target = tmp_path / "cut" / "clip.mp4"
    with pytest.raises(InvalidInputError, match="no clip from"):
        export_clip(video, 2.0, 1.0, target)
    with pytest.raises(MediaNotFoundError):
        export_clip(tmp_path / "gone.mp4", 0.0, 1.0, target)
    with pytest.raises(InvalidInputError, match=r"ends in \.mkv"):
        export_clip(video, 0.0, 1.0, target.with_suffix(".gif"))
    with pytest.raises(UnreadableMediaError, match="no picture from 50"):
        export_clip(video, 50.0, 51.0, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("cut", [export_clip, encode_clip])
def test_a_clip_has_a_largest_size(film: Film, tmp_path: Path, cut: Callable[..., Clip]) -> None:
    target = tmp_path / "cut" / "clip.mp4"
    video = film(seconds=4, paint=brightness_is_time)
    with pytest.raises(InvalidInputError, match=r"too large: the limit is 1000 bytes"):
        cut(video, 0.0, 4.0, target, limits=replace(DEFAULT_LIMITS, output=1000))
    assert list(target.parent.iterdir()) == []
    assert cut(video, 0.0, 4.0, target).path.stat().st_size > 1000


@pytest.mark.parametrize("suffix", [".m3u8", ".mpd", ".jpg", ".ffconcat", ""])
def test_a_clip_is_one_file_of_one_container(film: Film, tmp_path: Path, suffix: str) -> None:
    """Muxers of playlists write further files beside."""
    target = tmp_path / "cut" / f"clip{suffix}"
    with pytest.raises(InvalidInputError, match="cannot write a clip"):
        export_clip(film(seconds=4, paint=brightness_is_time), 0.0, 4.0, target)
    assert list(target.parent.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(film: Film, tmp_path: Path) -> None:
    """Here the largest file that the process may write stands for the disk."""
    video = film(seconds=4, paint=brightness_is_time)
    code = """
import resource, sys
from pathlib import Path
from var_plugin.errors import InvalidInputError
from var_plugin.media.export import export_clip
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    export_clip(Path(sys.argv[1]), 0.0, 4.0, Path(sys.argv[2]))
except InvalidInputError as error:
    print(error)
"""
    target = tmp_path / "cut" / "clip.mp4"
    words = [sys.executable, "-c", code, str(video), str(target)]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert printed.startswith(f"cannot write {target}: File too large")
    assert list(target.parent.iterdir()) == []
