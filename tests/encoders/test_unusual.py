from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from var_plugin.encoders.anomaly import novelty_scores
from var_plugin.encoders.base import l2_normalize


def footage(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clips every half second of one scene with noise."""
    rng = np.random.default_rng(seed)
    return np.arange(n) / 2, l2_normalize(np.eye(16)[np.zeros(n, int)] + 0.05 * rng.normal(size=(n, 16)))


def test_what_happens_once_stands_out() -> None:
    times, vectors = footage(600)
    vectors[200:220] = l2_normalize(np.eye(16)[np.full(20, 5)] + 0.05 * np.random.default_rng(1).normal(size=(20, 16)))
    scores = novelty_scores(times, vectors)
    assert scores[200:220].min() > 0.8
    assert np.delete(scores, slice(200, 220)).max() < 0.4


def test_features_may_have_any_length() -> None:
    times, vectors = footage(300)
    lengths = np.random.default_rng(2).uniform(0.1, 9, (300, 1)).astype(np.float32)
    assert novelty_scores(times, vectors * lengths) == pytest.approx(novelty_scores(times, vectors), abs=1e-4)


def test_what_happens_again_and_again_does_not() -> None:
    times, vectors = footage(600)
    for first in range(0, 600, 100):
        vectors[first : first + 20] = np.eye(16)[5]
    assert novelty_scores(times, vectors).max() < 0.5


def test_a_still_scene_is_usual_throughout() -> None:
    assert novelty_scores(*footage(300)).max() < 0.4


@pytest.mark.parametrize("n", [0, 1, 10, 60])
def test_a_video_too_short_to_compare_scores_nothing(n: int) -> None:
    assert novelty_scores(*footage(n)).tolist() == [0.0] * n


def test_hours_are_compared_with_a_sample() -> None:
    times, vectors = footage(12_000)
    vectors[7_000:7_020] = np.eye(16)[5]
    scores = novelty_scores(times, vectors)
    assert scores[7_000:7_020].min() > 0.8
    assert scores[:6_900].max() < 0.4


@given(st.integers(1, 200), st.integers(0, 9))
def test_scores_are_finite_and_in_range(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = novelty_scores(np.sort(rng.uniform(0, 500, n)), l2_normalize(rng.normal(size=(n, 4))))
    assert scores.shape == (n,)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores < 1)).all()
