"""Video encoder of the lite suite: motion, clip anomaly scores and whole-video vectors by a residual ALAN model.

The model extends the image and text space of `lite.image_text`. `alan.residual` defines the model and
`encoders.residual` its encoders.
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
    "it was trained on no accidents, fires, thefts, weapons or falls"
)
"""Training data of the anomaly score and what it does not cover."""


class LiteAlan(WeightFolder):
    """A folder with `alan.safetensors` and `alan.json`; satisfies `Towers`."""

    def __init__(self, folder: Path = LITE) -> None:
        """Store the folder, which also holds the weights of the image and text towers."""
        super().__init__(folder, "alan", depends_on=LiteWeights(folder).fingerprint)

    @cached_property
    def model(self) -> ResidualAlanModel:
        """The model in evaluation mode."""
        from var_plugin.encoders.alan.residual import ResidualAlanConfig, ResidualAlanModel, from_stored_names

        model = ResidualAlanModel(ResidualAlanConfig(**self.configuration["model"]))
        model.load_state_dict(from_stored_names(self.part("alan")))
        return model.eval()

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return int(self.configuration["dim"])

    @property
    def anomaly_scope(self) -> str:
        """Training data of the anomaly score and what it does not cover."""
        return ANOMALY_SCOPE

    @property
    def event_kind(self) -> str:
        """The kind of event that the anomaly score recognises."""
        return "fighting"

    @property
    def calibration(self) -> tuple[float, float]:
        """Slope and offset of Platt scaling for the detector's logits. A score of 0.5 means even odds of a fight."""
        slope, offset = self.configuration["detector_calibration"]
        return float(slope), float(offset)

    def cuts(self, clips: Vectors) -> NDArray[np.bool_]:
        """Return per clip vector (n, dim) whether "cut" is its most likely motion class."""
        start = self.configuration["model"]["hidden_size"]
        kinds = self.configuration["motion_classes"]
        return np.asarray(clips[:, start : start + len(kinds)].argmax(axis=1) == kinds.index("cut"))


class LiteVideo(ResidualVideoEncoder):
    """A `ResidualVideoEncoder` whose anomaly score ignores cuts.

    Args:
        frames: encodes the clips.
        alan: the model.
    """

    def __init__(self, frames: MotionClipEncoder, alan: LiteAlan) -> None:
        super().__init__(frames, alan)
        self._alan = alan

    def score_events(self, clips: Vectors) -> NDArray[np.float32]:
        """Return the detector's scores (n, 1). A clip with a cut is replaced by the nearest clip without a cut."""
        return self.scores(clips, _nearest(~self._alan.cuts(clips)))[:, None]


def _nearest(usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return per index (n,) the nearest usable index, or the index itself if none is usable."""
    places = np.arange(len(usable))
    if not usable.any():
        return places
    chosen = places[usable]
    behind = np.searchsorted(chosen, places).clip(max=len(chosen) - 1)
    before = (behind - 1).clip(min=0)
    nearer = np.abs(chosen[before] - places) < np.abs(chosen[behind] - places)
    return np.asarray(chosen[np.where(nearer, before, behind)])
