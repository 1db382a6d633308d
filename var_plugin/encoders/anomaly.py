"""Anomaly scores of clips: a trained event score, a label-free novelty score, and the rule that combines them.

The anomaly score is the maximum of two values. The first is the event score with its odds multiplied by
exp(3 * novelty), at most about 20. The second is half the novelty. A score above 0.5 therefore always comes from the
trained detector. Without a trained detector, the anomaly score is the novelty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import VideoEncoder
from var_plugin.encoders.clip_features import ClipFeatures
from var_plugin.encoders.novelty import novelty_scores

_LABEL_FREE_SHARE = 0.5
# Chosen on 360 videos assembled from clip features; see the model card.
_RAISED = 3.0

Scores = NDArray[np.float32]
"""(clips,) in 0…1."""


@dataclass(frozen=True)
class AnomalyScores:
    """The anomaly scores of the clips of a video, with both parts."""

    event: Scores | None
    """Score of the trained detector; None if the suite has none."""
    novelty: Scores
    """How unlike the rest of the same video each clip is."""

    @property
    def score(self) -> Scores:
        """Both parts combined; see the module docstring."""
        if self.event is None:
            return self.novelty
        raised = self.event * np.exp(_RAISED * self.novelty)
        event = raised / (raised + 1 - self.event)
        return np.asarray(np.maximum(event, _LABEL_FREE_SHARE * self.novelty), np.float32)


def score_clips(clips: ClipFeatures, encoder: VideoEncoder) -> AnomalyScores:
    """Score the clips of one video."""
    return AnomalyScores(encoder.anomaly(clips.vectors), novelty_scores(clips.times, clips.vectors))


def describe_anomaly_scope(encoder: VideoEncoder) -> str:
    """Return a sentence on what the score covers and what it does not, to be shown beside it."""
    if encoder.anomaly_scope is None:
        return NOVELTY_SCOPE
    trained = f"trained ({encoder.anomaly_scope}), raised where the clip is unusual"
    return f"the higher of two: {trained}; and, counted by half, {NOVELTY_SCOPE}"


NOVELTY_SCOPE = "label-free: how unlike the rest of its own video a clip looks; no kind of event was learned"
