"""VGGish features of audio in the format of XD-Violence: overlapping windows, one per I3D clip."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import ModelOptions
from var_plugin.encoders.backbones.i3d import FRAMES
from var_plugin.encoders.backbones.i3d_features import RATE
from var_plugin.encoders.backbones.vggish import WIDTH, WINDOW, log_mel
from var_plugin.encoders.base import Vectors, in_batches
from var_plugin.encoders.convert import checkpoint, inference, is_converted, load_fastest
from var_plugin.media.decoded import SAMPLE_RATE

if TYPE_CHECKING:
    from torch import Tensor


class VGGishFeatures:
    """Extract VGGish features from audio windows, whitened as in AudioSet if `vggish-pca` is converted as well.

    Args:
        options: folder of models, device and dtype.

    Raises:
        MissingWeightsError: the network is not converted yet.
    """

    window = WINDOW
    hop = round(SAMPLE_RATE * FRAMES / RATE)

    def __init__(self, options: ModelOptions) -> None:
        self._options = options
        self._names = ["vggish", *(["vggish-pca"] if is_converted("vggish-pca", options) else [])]
        self.fingerprint = " ".join(checkpoint(name, options).fingerprint for name in self._names)
        """Identifies the networks."""

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        """Return (n, 128) float32 for (n, window) float32 in -1…1, 16 kHz mono."""
        return in_batches(self._encode, windows, WIDTH)

    def _encode(self, windows: NDArray[np.float32]) -> Vectors:
        import torch

        with inference(self._options) as device:
            features = self._networks[0](log_mel(torch.from_numpy(windows).to(device))).float()
        for whitening in self._networks[1:]:
            features = whitening(features)
        return np.asarray(features.numpy(force=True), np.float32)

    @cached_property
    def _networks(self) -> list[Callable[[Tensor], Tensor]]:
        return [load_fastest(name, self._options) for name in self._names]
