from __future__ import annotations

import numpy as np
import pytest

from var_plugin.encoders.clip_features import stack_chunks


@pytest.mark.parametrize("sizes", [[], [3], [16] * 700, [5_000, 1, 0, 5_000]])
def test_rows_come_together_in_order(sizes: list[int]) -> None:
    rows = np.random.default_rng(0).standard_normal((sum(sizes), 3)).astype(np.float32)
    parts = np.split(rows, np.cumsum(sizes)[:-1]) if sizes else []
    found = stack_chunks(iter(parts))
    assert found.dtype == np.float32
    assert len(found) == len(rows)
    assert (found == rows).all() if sizes else found.shape == (0, 0)
    assert found.nbytes == found.size * 4  # nothing is left of the room to grow
