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

from var_plugin.encoders.base import Vectors, VideoEncoder, ensure_normalized
from var_plugin.encoders.clip_features import ClipFeatures

_LABEL_FREE_SHARE = 0.5
# Chosen on 360 films put together from the features of clips; the model card tells more.
_RAISED = 3.0

Scores = NDArray[np.float32]
"""(clips,) in 0…1."""


@dataclass(frozen=True)
class AnomalyScores:
    """The scores of a video's clips; the two parts are kept apart."""

    event: Scores | None
    """What the trained detector says; None where the suite has none."""
    novelty: Scores
    """How unlike the rest of its own video each clip looks."""

    @property
    def score(self) -> Scores:
        """Both parts by the rule above."""
        if self.event is None:
            return self.novelty
        raised = self.event * np.exp(_RAISED * self.novelty)
        event = raised / (raised + 1 - self.event)
        return np.asarray(np.maximum(event, _LABEL_FREE_SHARE * self.novelty), np.float32)


def score_clips(clips: ClipFeatures, encoder: VideoEncoder) -> AnomalyScores:
    """Score the clips of one video."""
    return AnomalyScores(encoder.anomaly(clips.vectors), novelty_scores(clips.times, clips.vectors))


def describe_anomaly_scope(encoder: VideoEncoder) -> str:
    """Say what the score knows and what it does not; to be shown with it."""
    if encoder.anomaly_scope is None:
        return NOVELTY_SCOPE
    trained = f"trained ({encoder.anomaly_scope}), raised where the clip is unusual"
    return f"the higher of two: {trained}; and, counted by half, {NOVELTY_SCOPE}"


NOVELTY_SCOPE = "label-free: how unlike the rest of its own video a clip looks; no kind of event was learned"

# What happens within this time of a clip is the same event and does not make it usual.
_SAME_EVENT_SECONDS = 30.0
_NEIGHBOURS = 5
# Hours of footage are compared with an even sample of themselves, so that the cost stays linear.
_MOST_REFERENCES = 2_000
_CHUNK = 512
# On a static scene the spread is next to nothing; differences below this cosine are noise.
_LEAST_SPREAD = 0.02
# So many deviations above the median score one half.
_HALF_AT = 4.0


def novelty_scores(times: NDArray[np.floating], vectors: Vectors) -> NDArray[np.float32]:
    """Score each clip in 0…1 by how far it is from the clips it resembles most at other times of the video.

    The distance (one minus the mean cosine to the five nearest clips at least 30 s away) is measured in robust
    deviations above the video's median z, and squashed to z / (z + 4); what is nearer than the median scores 0. A video
    too short to have another time scores 0 throughout.

    Args:
        times: (n,) seconds, ascending.
        vectors: (n, dim) of any length.

    Returns:
        (n,) float32.
    """
    step = max(1, -(-len(times) // _MOST_REFERENCES))
    reference_times, references = times[::step], ensure_normalized(vectors[::step])
    distances = np.full(len(times), np.nan)
    for first in range(0, len(times), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        similarity = ensure_normalized(vectors[chunk]) @ references.T
        elsewhere = np.abs(times[chunk, None] - reference_times[None]) >= _SAME_EVENT_SECONDS
        similarity[~elsewhere] = -np.inf
        nearest = -np.partition(-similarity, min(_NEIGHBOURS, len(references)) - 1, axis=1)[:, :_NEIGHBOURS]
        found = np.isfinite(nearest)
        sums = np.where(found, nearest, 0.0).sum(axis=1)
        with np.errstate(invalid="ignore"):
            distances[chunk] = 1.0 - sums / found.sum(axis=1)
    known = np.isfinite(distances)
    if not known.any():
        return np.zeros(len(times), np.float32)
    median = np.median(distances[known])
    spread = max(1.4826 * float(np.median(np.abs(distances[known] - median))), _LEAST_SPREAD)
    deviations = np.where(known, np.maximum(distances - median, 0.0), 0.0) / spread
    return (deviations / (deviations + _HALF_AT)).astype(np.float32)
