"""Shared memory through which the sandbox hands small images to its parent.

The memory has two halves: the child fills one while the parent reads the other. The parent copies what it reads, so the
child cannot change an image afterwards. The size of the memory is sealed, so the child cannot shrink it under a reader.
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
        descriptor: file descriptor of the memory that the other process created. None: create it.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create("var-plugin-images", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(descriptor, HALVES * HALF_BYTES)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.descriptor = descriptor
        self._memory = np.frombuffer(mmap.mmap(descriptor, HALVES * HALF_BYTES), np.uint8).reshape(HALVES, HALF_BYTES)

    def write(self, half: int, start: int, image: NDArray[np.uint8]) -> None:
        """Write an image into a half, `start` bytes from the beginning of that half."""
        self._memory[half, start : start + image.nbytes] = image.reshape(-1)

    def read(self, half: int, shapes: Sequence[Sequence[int]]) -> list[NDArray[np.uint8]]:
        """Return copies of the images that lie one after the other in a half.

        Args:
            half: index of the half.
            shapes: shape of each image.

        Raises:
            ValueError: the half does not exist or cannot hold images of these shapes.
        """
        sizes = [math.prod(shape) for shape in shapes]
        if half not in range(HALVES) or any(length < 0 for shape in shapes for length in shape):
            raise ValueError("no such images in the shared buffer")
        ends = list(accumulate(sizes, initial=0))
        if ends[-1] > HALF_BYTES:
            raise ValueError("the images are larger than the shared buffer")
        content = self._memory[half, : ends[-1]].copy()
        return [
            content[start : start + size].reshape(shape)
            for start, size, shape in zip(ends[:-1], sizes, shapes, strict=True)
        ]

    def close(self) -> None:
        """Close the descriptor. The memory is freed with its last view."""
        os.close(self.descriptor)
