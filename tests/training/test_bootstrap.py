from __future__ import annotations

import numpy as np
import pytest

from var_plugin.evaluation.metrics import from_ranks
from var_plugin.training.bootstrap import points, surely_more, surely_told_apart


def test_points_are_what_pairs_add_to_sum_r() -> None:
    random = np.random.default_rng(0)
    forward, backward = random.integers(1, 20, (2, 50)).astype(float)
    assert points(forward, backward).mean() == pytest.approx(from_ranks(forward, backward).recall_sum)


def test_a_gain_by_chance_is_none() -> None:
    """Of trainings that change nothing but noise, few pass; of those that help every third pair, most."""
    random = np.random.default_rng(1)
    groups = np.repeat(np.arange(30), 2)
    passed = {0.0: 0, 150.0: 0}
    for help_ in passed:
        for _ in range(40):
            before = random.choice([0.0, 300.0, 600.0], 60)
            after = (
                random.permutation(before)
                if help_ == 0
                else np.minimum(before + 2 * help_ * (random.random(60) < 0.33), 600)
            )
            passed[help_] += surely_more(before, after, groups)
    assert passed[0.0] <= 6
    assert passed[150.0] >= 36


def test_many_pairs_of_one_video_are_one_piece_of_evidence() -> None:
    before, after = np.zeros(40), np.r_[np.full(20, 600.0), np.full(20, -1.0)]
    assert surely_more(before, after, np.arange(40))
    assert not surely_more(before, after, np.repeat([0, 1], 20))


def test_scores_tell_apart_only_beyond_chance() -> None:
    truth = np.arange(12) % 2 == 0
    assert surely_told_apart(truth, truth.astype(float))
    assert not surely_told_apart(truth, np.random.default_rng(0).random(12))
    assert not surely_told_apart(truth[:2], np.array([1.0, 0.0])), "two videos say nothing"
