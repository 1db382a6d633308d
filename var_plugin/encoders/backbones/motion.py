"""Motion features at low cost: the image network on motion images (`media.motion`).

Each motion image is encoded twice at 160 × 160 pixels: the whole image at half its size, and the most active crop at
full size, because people are small in a camera's view.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from var_plugin.encoders.backbones.efficientnet_lite import OUTPUTS, EfficientNetLite
from var_plugin.encoders.base import ImageArray, Vectors

SIDE = 320
"""Height and width of the motion images in pixels."""
WIDTH = 4 * OUTPUTS["features"][0]
"""Dimension of a motion feature: mean and maximum over the most active crop, then over the whole image, 1280 each."""

_SIZE = SIDE // 2
_CELL = 10  # pixels; grid of the crop position
_GREY = np.uint8(128)


class MotionBackbone:
    """The image network for motion images, created on first use.

    Args:
        cache: folder for derived files; the graph of the network is stored there.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def features(self, motions: Sequence[ImageArray]) -> Vectors:
        """Return (n, 5120) float32 for motion images of (320, 320, 3) uint8."""
        if not len(motions):
            return np.empty((0, WIDTH), np.float32)
        crops = [motion[most_active_crop(motion)] for motion in motions]
        wholes = [downsample(motion) for motion in motions]
        (maps,) = self._network.features([*crops, *wholes], ["features"])
        pooled = np.hstack([maps.mean(axis=(2, 3)), maps.max(axis=(2, 3))])
        return np.hstack([pooled[: len(motions)], pooled[len(motions) :]])

    @cached_property
    def _network(self) -> EfficientNetLite:
        return EfficientNetLite(self._cache, size=_SIZE)


def most_active_crop(motion: ImageArray) -> tuple[slice, slice]:
    """Return rows and columns of the quarter of a motion image (320, 320, 3) with the most motion.

    The median over the cells is noise or camera motion and is subtracted.
    """
    cells = SIDE // _CELL
    change = np.maximum(motion, _GREY) - np.minimum(motion, _GREY)
    # Summing rows first in uint16 is much faster than one sum over all axes.
    lines = change.reshape(cells, _CELL, -1).sum(axis=1, dtype=np.uint16)
    energy = lines.reshape(cells, cells, -1).sum(axis=2, dtype=np.int64)
    sums = np.pad(np.maximum(energy - np.median(energy), 0), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    half = cells // 2
    inside = sums[half:, half:] - sums[:-half, half:] - sums[half:, :-half] + sums[:-half, :-half]
    if inside.max() <= 0:  # no motion: centre crop
        row = column = half // 2
    else:
        row, column = np.unravel_index(inside.argmax(), inside.shape)
    top, left = int(row) * _CELL, int(column) * _CELL
    return slice(top, top + _SIZE), slice(left, left + _SIZE)


def downsample(motion: ImageArray) -> ImageArray:
    """Return a motion image (320, 320, 3) at half its size: means of four pixels, rounded half to even."""
    lines = motion[::2].astype(np.uint16) + motion[1::2]
    sums = lines[:, ::2] + lines[:, 1::2]
    return np.asarray(np.rint(sums * np.float32(0.25)), np.uint8)
