"""Anomaly scores of clips: a trained event score, a label-free novelty score, and the rule that combines them.

The anomaly score is the maximum of two values. The first is the event score with its odds multiplied by
exp(3 * novelty), at most about 20. The second is half the novelty. A score above 0.5 therefore always comes from the
trained detector. Without a trained detector, the anomaly score is the novelty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import Vectors, VideoEncoder, ensure_normalized
from var_plugin.encoders.clip_features import ClipFeatures

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

# Clips within this time count as the same event and are not compared.
_SAME_EVENT_SECONDS = 30.0
_NEIGHBOURS = 5
# Long videos are compared with an evenly spaced sample of their clips: the cost stays linear.
_MAX_REFERENCES = 2_000
_CHUNK = 512
# Minimum spread: on a static scene, smaller cosine differences are noise.
_MIN_SPREAD = 0.02
# This z-score maps to 0.5.
_HALF_AT = 4.0


def novelty_scores(times: NDArray[np.floating], vectors: Vectors) -> NDArray[np.float32]:
    """Return the novelty of each clip: its distance to the most similar clips at other times of the video.

    The distance is one minus the mean cosine to the five nearest clips at least 30 s away. Its robust z-score z (median
    and MAD over the video) is mapped to z / (z + 4). Distances below the median score 0. A video shorter than 30 s
    scores 0 throughout.

    Args:
        times: (n,) seconds, ascending.
        vectors: (n, dim), of any norm.

    Returns:
        (n,) float32 in 0…1.
    """
    step = max(1, -(-len(times) // _MAX_REFERENCES))
    reference_times, references = times[::step], ensure_normalized(vectors[::step])
    distances = np.full(len(times), np.nan)
    for first in range(0, len(times), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        similarity = ensure_normalized(vectors[chunk]) @ references.T
        elsewhere = np.abs(times[chunk, None] - reference_times[None]) >= _SAME_EVENT_SECONDS
        similarity[~elsewhere] = -np.inf
        nearest = -np.partition(-similarity, min(_NEIGHBOURS, len(references)) - 1, axis=1)[:, :_NEIGHBOURS]
        valid = np.isfinite(nearest)
        sums = np.where(valid, nearest, 0.0).sum(axis=1)
        with np.errstate(invalid="ignore"):
            distances[chunk] = 1.0 - sums / valid.sum(axis=1)
    has_neighbours = np.isfinite(distances)
    if not has_neighbours.any():
        return np.zeros(len(times), np.float32)
    median = np.median(distances[has_neighbours])
    spread = max(1.4826 * float(np.median(np.abs(distances[has_neighbours] - median))), _MIN_SPREAD)
    deviations = np.where(has_neighbours, np.maximum(distances - median, 0.0), 0.0) / spread
    return (deviations / (deviations + _HALF_AT)).astype(np.float32)
