"""Memory that `media.guard` and its child share, so that pictures need not pass through a socket one by one.

It has two halves: the child fills one while its parent empties the other. The parent copies what it takes, so the child
cannot change a picture that was handed over; the memory's size is sealed, so it cannot vanish under the parent's hands.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HALVES = 2
HALF_BYTES = 2 << 20


class Tray:
    """One process's view of the shared memory.

    Args:
        descriptor: the memory as the other process made it; None: make it.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create("var-plugin-tray", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(descriptor, HALVES * HALF_BYTES)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.descriptor = descriptor
        self._memory = np.frombuffer(mmap.mmap(descriptor, HALVES * HALF_BYTES), np.uint8).reshape(HALVES, HALF_BYTES)

    def put(self, half: int, place: int, picture: NDArray[np.uint8]) -> None:
        """Lay a picture down behind `place` others of its size."""
        start = place * picture.nbytes
        self._memory[half, start : start + picture.nbytes] = picture.reshape(-1)

    def take(self, half: int, shape: Sequence[int]) -> NDArray[np.uint8]:
        """Return a copy of what lies in a half.

        Raises:
            ValueError: it cannot hold that.
        """
        size = math.prod(shape)
        if half not in range(HALVES) or min(shape, default=0) < 0 or size > HALF_BYTES:
            raise ValueError("pictures that are not in the tray")
        return self._memory[half, :size].copy().reshape(shape)

    def close(self) -> None:
        """Give the descriptor back; the memory goes with the last view of it."""
        os.close(self.descriptor)
