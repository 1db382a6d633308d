from __future__ import annotations

import numpy as np
import pytest

from tests.tolerances import FLOAT32
from var_plugin.encoders.base import Space, check_vectors, ensure_normalized, l2_normalize
from var_plugin.errors import InvalidVectorError

SPACE = Space("scene", 4, "IP", frozenset({"text"}), "f")


def test_valid_vectors_are_accepted() -> None:
    check_vectors(l2_normalize(np.random.default_rng(0).normal(size=(5, 4))), SPACE)
    check_vectors(np.zeros((0, 4), np.float32), SPACE)


@pytest.mark.parametrize(
    ("vectors", "problem"),
    [
        (np.ones((2, 3)), "shape"),
        (np.ones(4), "shape"),
        (np.array([[np.nan, 0, 0, 1]]), "NaN"),
        (np.array([[np.inf, 0, 0, 1]]), "NaN or infinity"),
        (np.array([[1, 0, 0, 0], [0, 0, 0, 0]]), "norm"),
        (np.array([[1.01, 0, 0, 0]]), "norm"),
    ],
)
def test_invalid_vectors_are_refused(vectors: np.ndarray, problem: str) -> None:
    with pytest.raises(InvalidVectorError, match=problem):
        check_vectors(vectors.astype(np.float32), SPACE)


def test_a_space_without_a_norm_accepts_any_norm() -> None:
    check_vectors(np.full((1, 4), 3, np.float32), Space("alan", 4, "IP", frozenset({"text"}), "f", norm=None))


def test_normalising_keeps_zero_vectors_zero() -> None:
    assert l2_normalize(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0.0, 0.0],
    ]


def test_unit_vectors_are_not_copied() -> None:
    vectors = l2_normalize(np.random.default_rng(0).normal(size=(7, 5)))
    assert ensure_normalized(vectors) is vectors
    longer = vectors * np.float32(1.01)
    assert np.allclose(ensure_normalized(longer), vectors, atol=FLOAT32)
    assert ensure_normalized(vectors[:0]).shape == (0, 5)
