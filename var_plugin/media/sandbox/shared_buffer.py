"""Memory that `media.sandbox.client` and its child share, so that images need not pass through a socket one by one.

It has two halves: the child fills one while its parent empties the other. The parent copies what it takes, so the child
cannot change an image that was handed over; the memory's size is sealed, so it cannot vanish under the parent's hands.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

HALVES = 2
HALF_BYTES = 2 << 20


class SharedBuffer:
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

    def put(self, half: int, start: int, image: NDArray[np.uint8]) -> None:
        """Lay an image down, `start` bytes from the beginning of a half."""
        self._memory[half, start : start + image.nbytes] = image.reshape(-1)

    def take(self, half: int, shapes: Sequence[Sequence[int]]) -> list[NDArray[np.uint8]]:
        """Return a copy of the images of these shapes that lie in a half one behind the other.

        Raises:
            ValueError: it cannot hold those.
        """
        sizes = [math.prod(shape) for shape in shapes]
        if half not in range(HALVES) or any(length < 0 for shape in shapes for length in shape):
            raise ValueError("images that are not in the tray")
        ends = list(accumulate(sizes, initial=0))
        if ends[-1] > HALF_BYTES:
            raise ValueError("more images than the tray holds")
        taken = self._memory[half, : ends[-1]].copy()
        return [
            taken[start : start + size].reshape(shape)
            for start, size, shape in zip(ends[:-1], sizes, shapes, strict=True)
        ]

    def close(self) -> None:
        """Give the descriptor back; the memory goes with the last view of it."""
        os.close(self.descriptor)
