from __future__ import annotations

import numpy as np
import pytest

from var_plugin.evaluation.metrics import from_ranks
from var_plugin.training.bootstrap import is_better_than_chance, is_significant_gain, recall_points


def test_mean_of_recall_points_is_sum_r() -> None:
    random = np.random.default_rng(0)
    forward, backward = random.integers(1, 20, (2, 50)).astype(float)
    assert recall_points(forward, backward).mean() == pytest.approx(from_ranks(forward, backward).recall_sum)


def test_random_change_is_rarely_significant() -> None:
    """Random changes rarely pass the test. Gains on a third of the pairs mostly pass."""
    random = np.random.default_rng(1)
    groups = np.repeat(np.arange(30), 2)
    significant = {0.0: 0, 150.0: 0}
    for gain in significant:
        for _ in range(40):
            before = random.choice([0.0, 300.0, 600.0], 60)
            after = (
                random.permutation(before)
                if gain == 0
                else np.minimum(before + 2 * gain * (random.random(60) < 0.33), 600)
            )
            significant[gain] += is_significant_gain(before, after, groups)
    assert significant[0.0] <= 6
    assert significant[150.0] >= 36


def test_captions_of_one_video_are_one_group() -> None:
    before, after = np.zeros(40), np.r_[np.full(20, 600.0), np.full(20, -1.0)]
    assert is_significant_gain(before, after, np.arange(40))
    assert not is_significant_gain(before, after, np.repeat([0, 1], 20))


def test_scores_must_rank_better_than_chance() -> None:
    truth = np.arange(12) % 2 == 0
    assert is_better_than_chance(truth, truth.astype(float))
    assert not is_better_than_chance(truth, np.random.default_rng(0).random(12))
    assert not is_better_than_chance(truth[:2], np.array([1.0, 0.0])), "two videos are not enough"
