"""What lies along a recording as vectors, each with its time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import Vectors


@dataclass(frozen=True, kw_only=True)
class Timed:
    """n moments in order of time."""

    times: NDArray[np.float64]
    """(n,) seconds from the start of the recording to that of each moment, or to its middle."""
    vectors: Vectors
    """(n, width) float32: vectors of a space, or the features that they are made of."""
    end: float
    """Seconds from the start of the recording to its end."""

    def within(self, start: float, end: float) -> slice:
        """Return the moments in start…end, the end left out; where there is none, the nearest to the middle."""
        first, last = np.searchsorted(self.times, [start, end])
        if first == last:
            first = np.abs(self.times - (start + end) / 2).argmin()
            last = first + 1
        return slice(int(first), int(last))
