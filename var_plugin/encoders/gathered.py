"""Vectors that arrive a few at a time, in one array that grows where it stands: hours of them are not held twice."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import Vectors

_GROWS_BY = 4_096  # rows


def gathered(parts: Iterable[Vectors]) -> Vectors:
    """Return the rows of all parts (n, width) in order; without a part, (0, 0)."""
    rows: NDArray[np.float32] = np.zeros((0, 0), np.float32)
    count = 0
    for part in parts:
        needed = count + len(part)
        if needed > len(rows):
            # Nobody else has seen the array, and the system moves one so large without copying it.
            rows.resize((needed + _GROWS_BY, part.shape[1]), refcheck=False)
        rows[count:needed] = part
        count = needed
    rows.resize((count, rows.shape[1]), refcheck=False)
    return rows
