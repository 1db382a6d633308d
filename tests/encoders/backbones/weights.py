"""Deterministic weights from a formula, equal on every machine and with every library version."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def weights_of(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Return float32 weights that preserve the scale of activations. Normalisation statistics are not the identity."""
    return {name: torch.from_numpy(np.asarray(_weight(name, tuple(shape)))) for name, shape in shapes.items()}


def _weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = _uniform(zlib.crc32(name.encode()), shape)
    if len(shape) > 1:
        return values * np.float32((6 / np.prod(shape[1:])) ** 0.5)
    scales = len(shape) == 1 and name.endswith(("weight", "running_var"))  # normalisation, else bias
    return values * np.float32(0.5) + 1 if scales else values * np.float32(0.1)


def _uniform(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 in -1…1. NumPy guarantees the raw stream of this generator across versions, not its samples."""
    count = int(np.prod(shape))
    words = np.random.PCG64(seed).random_raw(-(-count // 4)).astype("<u8").view("<u2")[:count]
    return ((words.astype(np.float32) - 32_767.5) / 32_767.5).reshape(shape)
