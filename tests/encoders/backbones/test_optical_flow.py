from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from var_plugin.encoders.backbones.i3d import FlowMethod, OpticalFlow


def landscape(*, right: int = 0, down: int = 0) -> NDArray[np.uint8]:
    """Return a smooth image (64, 80, 3), shifted by a number of pixels."""
    y, x = np.mgrid[:64, :80]
    waves = np.sin((x - right) / 6.0) + np.cos((y - down) / 5.0) + np.sin((x - right + 2 * (y - down)) / 9.0)
    return np.repeat(np.uint8((waves + 3) * 42)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("method", ["tvl1", "dis"])
def test_flow_follows_a_shift(method: FlowMethod) -> None:
    flow = OpticalFlow(method)([landscape(), landscape(right=2), landscape(right=2, down=3)])
    assert flow.shape == (2, 64, 80, 2) and flow.dtype == np.float32
    inside = flow[:, 12:-12, 12:-12]
    assert np.median(inside, axis=(1, 2)) * 20 == pytest.approx(np.array([[2, 0], [0, 3]]), abs=0.25)


@pytest.mark.parametrize("method", ["tvl1", "dis"])
def test_repeated_frame_has_no_flow(method: FlowMethod) -> None:
    assert not OpticalFlow(method)([landscape(), landscape()]).any()


class LargeFlow(OpticalFlow):
    """Optical flow that always returns a motion of 30 pixels."""

    def _between(self, earlier: NDArray[np.uint8], later: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((*earlier.shape, 2), (-30.0, 10.0), np.float32)


def test_flow_is_clipped_at_twenty_pixels() -> None:
    flow = LargeFlow("dis")([landscape(), landscape(right=1)])
    assert np.array_equal(np.unique(flow), [-1.0, 0.5])
