"""The weights of the lite suite's ALAN: a motion stream, clip anomaly scores and vectors of whole videos.

`lite.py` has the space of stills that it stands on, `alan/residual.py` the model, `towers.py` its encoders.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import Vectors
from var_plugin.encoders.lite.image_text import LiteWeights
from var_plugin.encoders.residual import MotionClipEncoder, ResidualVideoEncoder
from var_plugin.encoders.weights import LITE, WeightFolder

if TYPE_CHECKING:
    from var_plugin.encoders.alan.residual import ResidualAlanModel

ANOMALY_SCOPE = (
    "fights between people, learned from 240 short clips of surveillance cameras; "
    "accidents, fires, thefts, weapons and falls it has not seen"
)
"""What the trained anomaly score knows."""


class LiteAlan(WeightFolder):
    """A folder with `alan.safetensors` and `alan.json`; satisfies `Towers`."""

    def __init__(self, folder: Path = LITE) -> None:
        """Remember the folder; the space of stills lies in the same."""
        super().__init__(folder, "alan", depends_on=LiteWeights(folder).fingerprint)

    @cached_property
    def model(self) -> ResidualAlanModel:
        """The model, ready for use."""
        from var_plugin.encoders.alan.residual import ResidualAlanConfig, ResidualAlanModel, from_stored_names

        model: ResidualAlanModel = ResidualAlanModel(ResidualAlanConfig(**self.configuration["model"]))
        model.load_state_dict(from_stored_names(self.part("alan")))
        model.eval()
        return model

    @property
    def dim(self) -> int:
        """Width of the space."""
        return int(self.configuration["dim"])

    @property
    def anomaly_scope(self) -> str:
        """What the trained anomaly score knows."""
        return ANOMALY_SCOPE

    @property
    def calibration(self) -> tuple[float, float]:
        """Slope and offset of the detector's logits: one half means as likely a fight as not."""
        slope, offset = self.configuration["detector_calibration"]
        return float(slope), float(offset)

    def cuts(self, clips: Vectors) -> NDArray[np.bool_]:
        """Tell for each clip vector (n, dim) whether what moves in it resembles a cut more than anything else."""
        start = self.configuration["model"]["hidden_size"]
        kinds = self.configuration["motion_classes"]
        return np.asarray(clips[:, start : start + len(kinds)].argmax(axis=1) == kinds.index("cut"))


class LiteVideo(ResidualVideoEncoder):
    """A `ResidualVideoEncoder` that takes no cut for an event."""

    def __init__(self, frames: MotionClipEncoder, alan: LiteAlan) -> None:
        super().__init__(frames, alan)
        self._alan = alan

    def anomaly(self, clips: Vectors) -> NDArray[np.float32] | None:
        """Return (n,) scores; a cut hides what moves, so there the detector is shown the nearest clip without one."""
        return self.scores(clips, _nearest(~self._alan.cuts(clips)))


def _nearest(usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each place (n,) the nearest one that is usable, or the place itself where none is."""
    places = np.arange(len(usable))
    if not usable.any():
        return places
    chosen = places[usable]
    behind = np.searchsorted(chosen, places).clip(max=len(chosen) - 1)
    before = (behind - 1).clip(min=0)
    nearer = np.abs(chosen[before] - places) < np.abs(chosen[behind] - places)
    return np.asarray(chosen[np.where(nearer, before, behind)])
