from __future__ import annotations

import numpy as np

from var_plugin.config import settings
from var_plugin.encoders.backbones.motion import SIDE, WIDTH, MotionBackbone, downsample, most_active_crop


def grey(seed: int = 0, noise: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.clip(128 + random.integers(-noise, noise + 1, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def test_most_active_crop_contains_the_motion() -> None:
    motion = grey()
    motion[250:300, 20:60] = 255
    rows, columns = most_active_crop(motion)
    assert rows.start <= 250
    assert rows.stop >= 300
    assert columns.start <= 20
    assert columns.stop >= 60
    assert rows.stop - rows.start == columns.stop - columns.start == SIDE // 2


def test_crop_without_motion_is_the_centre() -> None:
    static = np.full((SIDE, SIDE, 3), 128, np.uint8)
    assert most_active_crop(static) == (slice(80, 240), slice(80, 240))


def test_crop_has_the_largest_sum_above_the_median() -> None:
    random = np.random.default_rng(7)
    motion = grey(noise=20)
    for top, left in random.integers(0, SIDE - 40, (5, 2)):
        motion[top : top + 40, left : left + 30] = random.integers(0, 256, (40, 30, 3))
    cells = np.abs(motion.astype(float) - 128).mean(axis=2).reshape(32, 10, 32, 10).mean(axis=(1, 3))
    energy = np.maximum(cells - np.median(cells), 0)
    sums = {
        (row, column): energy[row : row + 16, column : column + 16].sum() for row in range(17) for column in range(17)
    }
    row, column = max(sums, key=sums.__getitem__)
    rows, columns = most_active_crop(motion)
    assert (rows.start, columns.start) == (10 * row, 10 * column)


def test_downsampling_averages_four_pixels() -> None:
    motion = np.random.default_rng(8).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    means = motion.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean(axis=(1, 3))
    assert (downsample(motion) == np.rint(means)).all()


def test_feature_contains_the_crop_and_the_whole_image() -> None:
    here, there = (np.full((SIDE, SIDE, 3), 128, np.uint8) for _ in range(2))
    moving = np.random.default_rng(5).integers(0, 256, (SIDE // 2, SIDE // 2, 3), np.uint8)
    here[: SIDE // 2, : SIDE // 2] = there[SIDE // 2 :, SIDE // 2 :] = moving
    first, second = MotionBackbone(settings().cache).features([here, there])
    half = WIDTH // 2
    assert np.abs(first[:half] - second[:half]).max() < 1e-4  # the crop follows the motion
    assert np.abs(first[half:] - second[half:]).max() > 0.1


def test_features_do_not_depend_on_the_batch() -> None:
    motions = [grey(seed, 60) for seed in range(5)]
    together = MotionBackbone(settings().cache).features(motions)
    assert together.shape == (5, WIDTH)
    assert (
        np.abs(together - np.vstack([MotionBackbone(settings().cache).features([motion]) for motion in motions])).max()
        < 1e-4
    )


def test_no_images_give_no_features() -> None:
    assert MotionBackbone(settings().cache).features([]).shape == (0, WIDTH)
