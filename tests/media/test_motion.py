from __future__ import annotations

import numpy as np
import pytest

from tests.films import Film, plain, textured
from var_plugin.media.decoded import Frame
from var_plugin.media.frames import FrameReader
from var_plugin.media.motion import motion_image
from var_plugin.media.sandbox import client as sandbox


def walking_square(time: float) -> np.ndarray:
    """Return an image of a white square that moves 40 pixels per second to the right."""
    image = plain(0, 0, 0, height=96, width=96)
    left = round(10 + 40 * time) % 80
    image[40:56, left : left + 16] = 255
    return image


def moving(film: Film, **options: object) -> list[Frame]:
    return list(FrameReader(film(seconds=2, fps=25, **options), rate=2, motion=96))


def test_static_video_gives_gray_motion_images(film: Film) -> None:
    frames = moving(film, paint=lambda time: textured(4, 96, 96))
    assert all(np.abs(frame.motion.astype(int) - 128).max() <= 8 for frame in frames)


def test_with_motionobject_leaves_edges_in_channel_order(film: Film) -> None:
    motion = moving(film, paint=walking_square)[1].motion.astype(int)
    row = motion[48]
    assert motion.shape == (96, 96, 3)
    assert (np.abs(motion[:30] - 128) <= 8).all()
    # Each difference brightens where the square arrives, further to the right from channel to channel.
    arrivals = [np.flatnonzero(row[:, channel] > 180).mean() for channel in range(3)]
    assert arrivals == sorted(arrivals)
    assert arrivals[2] - arrivals[0] > 4


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_motion_image_is_twice_the_differences_around_gray(count: int) -> None:
    grays = list(np.random.default_rng(count).integers(0, 256, (count, 8, 8), np.uint8))
    padded = np.array([*grays, *[grays[-1]] * (4 - count)], int)
    expected = np.clip(128 + 2 * np.diff(padded, axis=0), 0, 255)
    assert (motion_image(grays) == np.moveaxis(expected, 0, -1)).all()


def test_motion_images_do_not_change_frames_and_times(film: Film) -> None:
    path = film(seconds=2, fps=25, paint=walking_square)
    without, with_motion = (list(FrameReader(path, rate=2, size=(32, 32), motion=motion)) for motion in (None, 64))
    assert [frame.time for frame in without] == [frame.time for frame in with_motion]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(without, with_motion, strict=True))
    assert all(frame.motion is None for frame in without)


def test_motion_image_at_the_end_of_the_video_is_gray(film: Film) -> None:
    frames = list(FrameReader(film(seconds=1.04, fps=25, paint=walking_square), rate=2, motion=96))
    assert len(frames) == 3
    assert (frames[-1].motion == 128).all()


@pytest.mark.parametrize("fps", [1, 5, 10, 30, 60])
def test_every_frame_rate_has_motion_images(film: Film, fps: int) -> None:
    frames = list(FrameReader(film(seconds=4, fps=fps, paint=walking_square), rate=2, motion=96))
    assert [frame.time for frame in frames] == sorted(frame.time for frame in frames)
    assert all(frame.motion is not None for frame in frames)
    moved = [np.abs(frame.motion.astype(int) - 128).max() > 50 for frame in frames[:-1]]
    assert all(moved) if fps >= 5 else not any(moved)  # frames one second apart are not compared


def test_missing_images_repeat_the_last() -> None:
    first, second = np.full((2, 2), 10, np.uint8), np.full((2, 2), 40, np.uint8)
    assert motion_image([first, second])[0, 0].tolist() == [188, 128, 128]


def test_sandbox_returns_the_same_motion_images(film: Film) -> None:
    path = film(seconds=2, fps=25, paint=walking_square)
    direct = list(FrameReader(path, rate=2, size=(32, 32), motion=64))
    sandboxed = list(sandbox.Frames(path, rate=2, size=(32, 32), motion=64))
    assert [frame.time for frame in direct] == [frame.time for frame in sandboxed]
    for a, b in zip(direct, sandboxed, strict=True):
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.motion, b.motion)
