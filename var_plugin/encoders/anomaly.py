"""Anomaly scores of clips: a part that was trained on events, a label-free part, and the rule that combines them.

The rule: what a trained detector finds counts for more where the clip is unlike the rest of its own footage, its odds
are multiplied by up to e^3, about 20; what is merely unlike the rest counts by half; the higher of the two is the
score. So from one half on, the trained detector has spoken. A suite without one has the label-free score alone, in
full.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import VideoEncoder
from var_plugin.encoders.unusual import SCOPE as UNUSUAL_SCOPE
from var_plugin.encoders.unusual import unusualness
from var_plugin.encoders.video import Clips

_LABEL_FREE_SHARE = 0.5
# Chosen on 360 films put together from the features of clips; the model card tells more.
_RAISED = 3.0

Scores = NDArray[np.float32]
"""(clips,) in 0…1."""


@dataclass(frozen=True)
class Anomaly:
    """The scores of a video's clips; the two parts are kept apart."""

    event: Scores | None
    """What the trained detector says; None where the suite has none."""
    unusual: Scores
    """How unlike the rest of its own video each clip looks."""

    @property
    def score(self) -> Scores:
        """Both parts by the rule above."""
        if self.event is None:
            return self.unusual
        raised = self.event * np.exp(_RAISED * self.unusual)
        event = raised / (raised + 1 - self.event)
        return np.asarray(np.maximum(event, _LABEL_FREE_SHARE * self.unusual), np.float32)


def score_clips(clips: Clips, encoder: VideoEncoder) -> Anomaly:
    """Score the clips of one video."""
    return Anomaly(encoder.anomaly(clips.vectors), unusualness(clips.times, clips.vectors))


def scope(encoder: VideoEncoder) -> str:
    """Say what the score knows and what it does not; to be shown with it."""
    if encoder.scope is None:
        return UNUSUAL_SCOPE
    trained = f"trained ({encoder.scope}), raised where the clip is unusual"
    return f"the higher of two: {trained}; and, counted by half, {UNUSUAL_SCOPE}"
