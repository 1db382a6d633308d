"""Video encoder of the lite suite: motion, clip anomaly scores and whole-video vectors by a residual ALAN model.

The model extends the image and text space of `lite.image_text`. `alan.residual` defines the model and
`encoders.residual` its encoders.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones.motion import MotionBackbone
from var_plugin.encoders.base import Vectors, in_batches
from var_plugin.encoders.clip_features import mean_pool
from var_plugin.encoders.lite.events import EventHeads, append_events, smooth_logits
from var_plugin.encoders.lite.image_text import LiteImageEncoder, LiteWeights
from var_plugin.encoders.residual import MotionClipEncoder, ResidualVideoEncoder
from var_plugin.encoders.weights import LITE, WeightFolder
from var_plugin.media.decoded import Frame

if TYPE_CHECKING:
    from var_plugin.encoders.alan.residual import ResidualAlanModel

ANOMALY_SCOPE = (
    "fights, fire, smoke, traffic accidents and armed people, learned from a few hundred clips and images of cameras; "
    "it was trained on no thefts and no burglaries, and does not recognise falls"
)
"""Training data of the anomaly score and what it does not cover."""

_FIGHT_MARGIN = 1.0
"""Half of the clips that calibrate the detector are fights. Footage has far fewer: fights need this much more."""
_MIN_SCORE = 1e-6


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
        """The kind of event that the detector of the model recognises."""
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


class LiteClipEncoder(MotionClipEncoder):
    """A `MotionClipEncoder` whose clip features are the vector of the clip, followed by the logits of the event heads.

    Args:
        images: encodes the frames.
        alan: the model.
        heads: the event heads.
        motion: backbone for the motion of each clip.
    """

    def __init__(self, images: LiteImageEncoder, alan: LiteAlan, heads: EventHeads, motion: MotionBackbone) -> None:
        super().__init__(images, alan, motion)
        self._images, self._heads, self._alan = images, heads, alan

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return clip features (n, dim + number of heads) float32."""
        return in_batches(self._encode, frames, self._alan.dim + len(self._heads.kinds))

    def _encode(self, frames: Sequence[Frame]) -> Vectors:
        objects, maps = self._images.encode_with_maps([frame.image for frame in frames])
        return np.hstack([self.add_motion(objects, frames), self._heads.logits(maps)])

    def embed_spans(self, clips: Vectors, spans: Sequence[slice]) -> Vectors:
        """Return the mean-pooled, L2-normalised vectors (len(spans), dim) of spans of clips."""
        return mean_pool(self.comparable(clips), spans)

    def comparable(self, clips: Vectors) -> Vectors:
        """Return the vectors (n, dim) of the clips."""
        return clips[:, : self._alan.dim]


class LiteVideo(ResidualVideoEncoder):
    """A `ResidualVideoEncoder` that recognises fights by motion, and other events by the event heads.

    The vectors of spans and of videos end with the events that the heads see in them.

    Args:
        frames: encodes the clips.
        alan: the model.
        heads: the event heads. One of them says whether a scene looks like a fight.
    """

    def __init__(self, frames: LiteClipEncoder, alan: LiteAlan, heads: EventHeads) -> None:
        super().__init__(frames, alan)
        self._alan, self._heads = alan, heads

    @property
    def event_kinds(self) -> tuple[str, ...]:
        """The kinds of the event heads, among them `fighting`."""
        return self._heads.kinds

    def embed_spans(self, clips: Vectors, spans: Sequence[slice]) -> Vectors:
        """Return L2-normalised vectors (len(spans), dim): the mean of the clips, and the clearest events."""
        return append_events(super().embed_spans(clips, spans), self._visible_events(clips, spans))

    def embed_video(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return the L2-normalised vector (dim,) of a video: ALAN's, and the clearest events."""
        vector = super().embed_video(clips, scores)
        return np.asarray(append_events(vector[None], self._visible_events(clips, [slice(None)]))[0])

    def _visible_events(self, clips: Vectors, spans: Sequence[slice]) -> NDArray[np.float32]:
        events = self._heads.visible_events(smooth_logits(clips[:, self._alan.dim :]))
        return np.stack([events[span].max(axis=0) for span in spans])

    def score_events(self, clips: Vectors) -> NDArray[np.float32]:
        """Return the scores (n, kinds) of clip features.

        A fight needs both the motion and the look of a fight: its logit is the lower one of the detector's and the
        head's. For the detector, a clip with a cut is replaced by the nearest clip without a cut.
        """
        logits = self._heads.lower_scenes(smooth_logits(clips[:, self._alan.dim :]))
        by_motion = self.scores(clips, _nearest(~self._alan.cuts(clips))).clip(_MIN_SCORE, 1 - _MIN_SCORE)
        motion_logits = np.log(by_motion / (1 - by_motion))
        fighting = self.event_kinds.index(self._alan.event_kind)
        logits[:, fighting] = smooth_logits(np.minimum(logits[:, fighting], motion_logits)) - _FIGHT_MARGIN
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


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
