"""Event heads of the lite suite: logistic regressions on the feature maps of the image network.

The maps are computed for the vectors anyway, so the heads cost nothing. They hold more about small flames, smoke and
weapons than the vectors, which are trained on captions. `recipes.lite.events` trains the heads.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from var_plugin.encoders.backbones.efficientnet_lite import WEIGHTS_SHA256
from var_plugin.encoders.weights import LITE, WeightFolder

if TYPE_CHECKING:
    from torch import Tensor

SMOOTHED_CLIPS = 3
"""Logits are smoothed over as many clips, so that a single frame raises no alarm."""
_SCENE_QUANTILE = 0.25


class EventHeads(WeightFolder):
    """A folder with `events.safetensors` and `events.json`, read on first use.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path = LITE) -> None:
        super().__init__(folder, "events", depends_on=WEIGHTS_SHA256)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of events, in the order of the logits."""
        return tuple(self.configuration["kinds"])

    def logits(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return calibrated logits (n, kinds) for feature maps (n, channels, height, width). 0 is the threshold."""
        return np.asarray(pool_maps(maps) @ self._parameters["weight"].numpy().T + self._parameters["bias"].numpy())

    def lower_scenes(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (n, kinds) of one video, without the part that belongs to its scene.

        Some heads also recognise scenes: a street corner may look like an accident all day. The lower quartile of the
        video is the logit of its scene. What it exceeds the logit of an ordinary scene by is subtracted.
        """
        lowered = logits.copy()
        for kind, ordinary in self.configuration["ordinary_scenes"].items():
            column = lowered[:, self.kinds.index(kind)]
            column -= max(0.0, float(np.quantile(column, _SCENE_QUANTILE)) - ordinary)
        return lowered

    @cached_property
    def _parameters(self) -> dict[str, Tensor]:
        return self.part("heads")


def pool_maps(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return mean and maximum (n, 2 * channels) of feature maps (n, channels, height, width)."""
    return np.hstack([maps.mean(axis=(2, 3)), maps.max(axis=(2, 3))])


def smooth_logits(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits (n, ...) of consecutive clips, smoothed over time."""
    margins = [(SMOOTHED_CLIPS // 2, SMOOTHED_CLIPS // 2), *[(0, 0)] * (logits.ndim - 1)]
    windows = sliding_window_view(np.pad(logits, margins, "edge"), SMOOTHED_CLIPS, axis=0)
    return np.asarray(windows.mean(axis=-1))
