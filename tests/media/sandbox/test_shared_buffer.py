from __future__ import annotations

import os

import numpy as np
import pytest

from tests.films import textured
from var_plugin.media.sandbox.shared_buffer import HALF_BYTES, HALVES, SharedBuffer


def test_images_written_on_one_side_are_read_on_the_other() -> None:
    parent = SharedBuffer()
    child = SharedBuffer(os.dup(parent.descriptor))
    large, small = textured(1), textured(2, 16, 8)
    for half in range(HALVES):
        child.write(half, 0, large[::-1])
        child.write(half, large.nbytes, small)
    first, second = parent.read(1, [large.shape, small.shape])
    child.write(1, 0, np.zeros_like(large))
    assert np.array_equal(first, large[::-1]), "images that were read do not change"
    assert np.array_equal(second, small)
    assert np.array_equal(parent.read(0, [large.shape])[0], large[::-1])
    assert parent.read(0, []) == []


@pytest.mark.parametrize(
    ("half", "shapes"),
    [
        (HALVES, [[1]]), (-1, [[1]]), (0.5, [[1]]), (0, [[HALF_BYTES + 1]]), (0, [[HALF_BYTES], [1]]),
        (0, [[1 << 40, 1 << 40]]), (0, [[-1, -1]]),
    ],
)  # fmt: skip
def test_invalid_halves_and_shapes_are_refused(half: int, shapes: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="shared buffer"):
        SharedBuffer().read(half, shapes)


def test_size_of_the_buffer_is_sealed() -> None:
    """Memory that shrinks while it is read crashes the reader."""
    buffer = SharedBuffer()
    with pytest.raises(PermissionError):
        os.ftruncate(buffer.descriptor, 0)
    buffer.close()
    assert buffer.read(0, [[4]])[0].tolist() == [0, 0, 0, 0]
