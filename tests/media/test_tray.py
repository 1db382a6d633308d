from __future__ import annotations

import os

import numpy as np
import pytest

from tests.films import textured
from var_plugin.media.tray import HALF_BYTES, HALVES, Tray


def test_what_is_put_down_on_one_side_is_taken_on_the_other() -> None:
    ours = Tray()
    theirs = Tray(os.dup(ours.descriptor))
    pictures = np.stack([textured(seed) for seed in range(3)])
    for half in range(HALVES):
        for place, picture in enumerate(pictures):
            theirs.put(half, place, picture[::-1])
    taken = ours.take(1, [3, 48, 64, 3])
    theirs.put(1, 0, np.zeros((48, 64, 3), np.uint8))
    assert np.array_equal(taken, pictures[:, ::-1]), "what was taken stays as it was"
    assert np.array_equal(ours.take(0, [1, 48, 64, 3])[0], pictures[0, ::-1])


@pytest.mark.parametrize(
    ("half", "shape"),
    [(HALVES, [1]), (-1, [1]), (0.5, [1]), (0, [HALF_BYTES + 1]), (0, [1 << 40, 1 << 40]), (0, [-1, -1])],
)
def test_what_cannot_lie_in_it_is_refused(half: int, shape: list[int]) -> None:
    with pytest.raises(ValueError, match="not in the tray"):
        Tray().take(half, shape)


def test_its_size_is_sealed() -> None:
    """Memory that shrinks under a reader kills it."""
    tray = Tray()
    with pytest.raises(PermissionError):
        os.ftruncate(tray.descriptor, 0)
    tray.close()
    assert tray.take(0, [4]).tolist() == [0, 0, 0, 0]
