from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from tests.films import Film, plain
from tests.hostile_media.corpus import overwrite
from var_plugin.errors import InvalidInputError, UnreadableMediaError
from var_plugin.media.audio import read_audio
from var_plugin.media.clips import BROWSER_QUALITY, FULL_QUALITY, encode_clip, export_clip
from var_plugin.media.frames import FrameReader


def brightness_is_time(time: float) -> np.ndarray:
    return plain(*[round(20 + 20 * time)] * 3)


def shown(path: Path) -> list[tuple[float, float]]:
    """The time of each frame of a clip, and the one in the original, by its brightness."""
    return [(frame.time, (frame.image.mean() - 20) / 20) for frame in FrameReader(path)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_clip_begins_and_ends_where_it_is_told_to(film: Film, tmp_path: Path, suffix: str) -> None:
    video = film(seconds=8, fps=10, paint=brightness_is_time, tone=440.0, tone_starts=4.0)  # a key frame each second
    assert export_clip(video, 3.4, 5.2, tmp_path / "copied.mp4").start == pytest.approx(3.0), "copied: earlier"
    clip = encode_clip(video, 3.4, 5.2, tmp_path / "made" / f"clip{suffix}")
    assert (clip.start, clip.end) == (3.4, 5.2)
    found = shown(clip.path)
    assert len(found) == 18, "every frame from 3.4 to 5.1 s"
    assert [time for time, _ in found] == pytest.approx([i / 10 for i in range(18)], abs=2e-3)
    assert np.mean([original - time for time, original in found]) == pytest.approx(3.4, abs=0.06)
    sound = np.abs(read_audio(clip.path))
    assert np.flatnonzero(sound > 0.05)[0] / 16_000 == pytest.approx(4.0 - 3.4, abs=0.07)
    assert len(sound) / 16_000 == pytest.approx(1.8, abs=0.07)
    assert [file.name for file in clip.path.parent.iterdir()] == [f"clip{suffix}"], "nothing unfinished is left"


def test_it_ends_with_the_video(film: Film, tmp_path: Path) -> None:
    clip = encode_clip(film(seconds=2), 1.5, 99.0, tmp_path / "clip.mp4")
    assert (clip.start, clip.end) == (1.5, pytest.approx(2.0, abs=0.02))


def test_images_stay_as_large_as_they_are_shown(film: Film, tmp_path: Path) -> None:
    """Turned upright, not blown up to the width that they have lying down."""
    turned = film("turned.mp4", seconds=1, fps=5, paint=lambda time: plain(9, 99, 9, height=96, width=130))
    overwrite(turned, b"tkhd", 40, struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30))
    wide = film("wide.mkv", seconds=1, fps=5, paint=lambda time: plain(9, 99, 9, height=1080, width=1920))
    for video, finish, size in (
        (turned, FULL_QUALITY, (96, 130)),
        (wide, FULL_QUALITY, (1920, 1080)),
        (wide, BROWSER_QUALITY, (1280, 720)),
    ):
        with av.open(str(encode_clip(video, 0.0, 1.0, tmp_path / "clip.mp4", finish).path)) as container:
            images = container.streams.video[0].codec_context
            assert (images.width, images.height) == size


def test_frames_that_come_rarely_keep_their_times(film: Film, tmp_path: Path) -> None:
    stamps = [0.0, 2.0, 4.5, 4.6, 9.0]
    video = film("rare.mkv", times=stamps, paint=brightness_is_time)
    clip = encode_clip(video, 1.0, 10.0, tmp_path / "clip.mp4")
    assert clip.start == 1.0, "the frame of second 0 is still shown"
    assert [time + clip.start for time, _ in shown(clip.path)] == pytest.approx([1.0, *stamps[1:]], abs=2e-3)


def test_invalid_arguments_of_an_encoded_clip_are_refused(film: Film, tmp_path: Path) -> None:
    video = film(seconds=2)
    before = video.read_bytes()
    target = tmp_path / "cut" / "clip.mp4"
    for wrong, start, kind, complaint in [
        (target, 1.0, InvalidInputError, "no clip from"),
        (target, 50.0, UnreadableMediaError, "no frame at 50"),
        (target.with_suffix(".gif"), 0.0, InvalidInputError, r"as a \.gif file"),
        (target.with_suffix(".xyz"), 0.0, InvalidInputError, r"as a \.xyz file: Could not determine output format;"),
        (video, 0.0, InvalidInputError, "would replace"),
        (tmp_path, 0.0, InvalidInputError, "cannot write"),
        (video / "clip.mp4", 0.0, InvalidInputError, "cannot write"),
    ]:
        for cut in (encode_clip, export_clip):
            with pytest.raises(kind, match=complaint if cut is encode_clip else None):
                cut(video, start, start + (start != 1.0), wrong)
    assert list(target.parent.iterdir()) == []
    assert video.read_bytes() == before
