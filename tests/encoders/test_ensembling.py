from __future__ import annotations

import numpy as np
import pytest

from tests.colors import ColorNames, MeanColor
from tests.films import plain
from tests.tolerances import FLOAT32
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.ensembling import CroppedImages, PromptedText


def test_a_text_is_the_mean_of_its_prompts() -> None:
    names = ColorNames()
    prompted = PromptedText(names, ["{}", "{} and blue", "a picture of something {} ."])
    red, green = prompted.encode(["red", "green"])
    expected = names.encode(["red", "red blue", "red"]).mean(axis=0)
    np.testing.assert_allclose(red, l2_normalize(expected), atol=FLOAT32)
    assert green @ red < 0.5


@pytest.mark.parametrize(("crops", "corners"), [(1, {(2, 2)}), (5, {(2, 2), (0, 0), (0, 4), (4, 0), (4, 4)})])
def test_crops_are_centre_and_corners(crops: int, corners: set[tuple[int, int]]) -> None:
    """Pixels encode their position, so the first pixel of a crop gives the position of the crop."""
    looked_at: list[np.ndarray] = []

    class Watching(MeanColor):
        size = (28, 28)

        def encode(self, pictures: list[np.ndarray]) -> np.ndarray:
            looked_at.extend(pictures)
            return super().encode(pictures)

    encoder = CroppedImages(Watching(), crops)
    assert encoder.size == (32, 32), "as 256 pixels to crops of 224"
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.mgrid[:32, :32]
    assert encoder.encode([picture, picture]).shape == (2, 3)
    assert all(crop.shape == (28, 28, 3) for crop in looked_at)
    assert {tuple(crop[0, 0, :2].tolist()) for crop in looked_at} == corners
    assert len(looked_at) == 2 * crops


def test_ten_crops_include_mirrored_ones() -> None:
    class Left(MeanColor):
        size = (28, 28)

        def encode(self, pictures: list[np.ndarray]) -> np.ndarray:
            return super().encode([picture[:, :14] for picture in pictures])

    half = plain(250, 0, 0, height=32, width=32)
    half[:, 16:] = (0, 0, 250)
    np.testing.assert_allclose(
        CroppedImages(Left(), 10).encode([half]), CroppedImages(Left(), 10).encode([half[:, ::-1]]), atol=FLOAT32
    )
    assert not np.allclose(CroppedImages(Left(), 5).encode([half]), CroppedImages(Left(), 5).encode([half[:, ::-1]]))
