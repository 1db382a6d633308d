from __future__ import annotations

import numpy as np

from var_plugin.encoders.backbones.motion import SIDE, WIDTH, MotionBackbone, liveliest_part


def grey(seed: int = 0, noise: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.clip(128 + random.integers(-noise, noise + 1, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def test_the_part_is_where_most_moves() -> None:
    motion = grey()
    motion[250:300, 20:60] = 255
    rows, columns = liveliest_part(motion)
    assert rows.start <= 250
    assert rows.stop >= 300
    assert columns.start <= 20
    assert columns.stop >= 60
    assert rows.stop - rows.start == columns.stop - columns.start == SIDE // 2


def test_where_nothing_moves_it_is_the_middle() -> None:
    still = np.full((SIDE, SIDE, 3), 128, np.uint8)
    assert liveliest_part(still) == (slice(80, 240), slice(80, 240))


def test_a_feature_holds_the_part_and_the_whole() -> None:
    here, there = (np.full((SIDE, SIDE, 3), 128, np.uint8) for _ in range(2))
    moving = np.random.default_rng(5).integers(0, 256, (SIDE // 2, SIDE // 2, 3), np.uint8)
    here[: SIDE // 2, : SIDE // 2] = there[SIDE // 2 :, SIDE // 2 :] = moving
    first, second = MotionBackbone().features([here, there])
    half = WIDTH // 2
    assert np.abs(first[:half] - second[:half]).max() < 1e-4  # the part follows what moves
    assert np.abs(first[half:] - second[half:]).max() > 0.1


def test_features_do_not_depend_on_the_batch() -> None:
    motions = [grey(seed, 60) for seed in range(5)]
    together = MotionBackbone().features(motions)
    assert together.shape == (5, WIDTH)
    assert np.abs(together - np.vstack([MotionBackbone().features([motion]) for motion in motions])).max() < 1e-4


def test_nothing_gives_nothing() -> None:
    assert MotionBackbone().features([]).shape == (0, WIDTH)
