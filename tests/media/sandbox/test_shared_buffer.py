from __future__ import annotations

import os

import numpy as np
import pytest

from tests.films import textured
from var_plugin.media.sandbox.shared_buffer import HALF_BYTES, HALVES, SharedBuffer


def test_what_is_put_down_on_one_side_is_taken_on_the_other() -> None:
    ours = SharedBuffer()
    theirs = SharedBuffer(os.dup(ours.descriptor))
    large, small = textured(1), textured(2, 16, 8)
    for half in range(HALVES):
        theirs.write(half, 0, large[::-1])
        theirs.write(half, large.nbytes, small)
    first, second = ours.read(1, [large.shape, small.shape])
    theirs.write(1, 0, np.zeros_like(large))
    assert np.array_equal(first, large[::-1]), "what was taken stays as it was"
    assert np.array_equal(second, small)
    assert np.array_equal(ours.read(0, [large.shape])[0], large[::-1])
    assert ours.read(0, []) == []


@pytest.mark.parametrize(
    ("half", "shapes"),
    [
        (HALVES, [[1]]), (-1, [[1]]), (0.5, [[1]]), (0, [[HALF_BYTES + 1]]), (0, [[HALF_BYTES], [1]]),
        (0, [[1 << 40, 1 << 40]]), (0, [[-1, -1]]),
    ],
)  # fmt: skip
def test_what_cannot_lie_in_it_is_refused(half: int, shapes: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="shared buffer"):
        SharedBuffer().read(half, shapes)


def test_its_size_is_sealed() -> None:
    """Memory that shrinks under a reader kills it."""
    buffer = SharedBuffer()
    with pytest.raises(PermissionError):
        os.ftruncate(buffer.descriptor, 0)
    buffer.close()
    assert buffer.read(0, [[4]])[0].tolist() == [0, 0, 0, 0]
