"""The anomaly score: scores of event kinds and novelty, combined by one rule.

Events say what kind of event something looks like. Novelty says how unlike other footage of its camera it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import Vectors, VideoEncoder
from var_plugin.encoders.caption_memory import CaptionMemory, smooth_scores
from var_plugin.encoders.clip_features import ClipFeatures
from var_plugin.encoders.novelty import novelty_scores
from var_plugin.types import MIN_EVENT_SCORE

# Chosen on 360 videos assembled from clip features; see the model card.
_NOVELTY_EXPONENT = 3.0
_LEARNING_WEIGHT, _LEARNED_WEIGHT = 0.5, 0.9

# The scores of clips are smoothed with a Gaussian of this standard deviation.
_SMOOTHING_SECONDS = 2.0
# A clip whose first frame is presented slightly before a part begins belongs to that part.
_HALF_FRAME = 0.02

Scores = NDArray[np.float32]
"""(n,) in 0…1."""


def anomaly_score(event: Scores | None, novelty: Scores, learned: float = 0.0) -> Scores:
    """Combine the parts of the anomaly score. This is the only rule; rows, clips and rescoring use it.

    The score is the maximum of two values. The first is the event score with its odds multiplied by exp(3 * novelty),
    at most about 20. The second is the novelty times a weight: 0.5 while the history of the camera is short, 0.9 once
    it is known. During learning, a score above 0.5 therefore always comes from an event.

    Args:
        event: (n,) highest score of all event kinds. None: the suite has no kinds; the score is the novelty.
        novelty: (n,).
        learned: how well the history of the camera is known, from 0 to 1.
    """
    if event is None:
        return novelty
    raised = event * np.exp(_NOVELTY_EXPONENT * novelty)
    weight = _LEARNING_WEIGHT + (_LEARNED_WEIGHT - _LEARNING_WEIGHT) * learned
    return np.asarray(np.maximum(raised / (raised + 1 - event), weight * novelty), np.float32)


@dataclass(frozen=True)
class ClipAnomalies:
    """The anomaly scores of the clips of one video, with their parts."""

    events: Mapping[str, Scores]
    """Score of each kind of event: from the trained detector if it knows the kind, else from the caption memory if it
    is reliable for the kind (`CaptionMemory.counted`)."""
    novelty: Scores
    """How unlike the rest of the same video each clip is."""
    sentences: Mapping[str, Sequence[str]]
    """Nearest sentence of the caption memory, per kind of event and clip."""

    @cached_property
    def score(self) -> Scores:
        """(clips,) the parts combined by `anomaly_score`."""
        event = np.max(list(self.events.values()), axis=0) if self.events else None
        return anomaly_score(event, self.novelty)

    def reason(self, clip: int) -> str:
        """Return the sentence that explains the strongest event of a clip, or an empty string."""
        kind = max(self.events, key=lambda name: float(self.events[name][clip]), default="")
        return self.sentences[kind][clip] if kind in self.sentences else ""


def score_clips(clips: ClipFeatures, encoder: VideoEncoder) -> ClipAnomalies:
    """Score the clips of one video by the trained detector of its encoder and by novelty."""
    events = dict(zip(encoder.event_kinds, encoder.score_events(clips.vectors).T, strict=True))
    return ClipAnomalies(events, novelty_scores(clips.times, encoder.comparable(clips.vectors)), {})


def match_captions(
    anomalies: ClipAnomalies,
    times: NDArray[np.floating],
    memory: CaptionMemory | None,
    spans: Sequence[tuple[float, float]],
    vectors: Vectors,
) -> ClipAnomalies:
    """Add the events of the caption memory to those of the trained detector.

    Args:
        anomalies: scores of the clips.
        times: (clips,) start of each clip in seconds.
        memory: caption memory of the space of the vectors. None: there is none.
        spans: n consecutive parts of the video in seconds. A clip has the events of its part, smoothed over time.
        vectors: (n, dim) vectors of the parts.
    """
    if memory is None:
        return anomalies
    matched = memory.events(vectors)
    part = np.searchsorted([start for start, _ in spans], times + _HALF_FRAME, "right").clip(1) - 1
    smooth = smooth_scores(times, matched.scores[part], _SMOOTHING_SECONDS)
    recognised = {kind: smooth[:, column] for column, kind in enumerate(memory.kinds) if kind in memory.counted}
    # What the detector recognised is explained by a sentence only if the sentences recognise it too.
    sentences = {
        kind: [
            memory.sentence(int(index)) if kind not in anomalies.events or score >= MIN_EVENT_SCORE else ""
            for index, score in zip(matched.nearest[part, column], matched.scores[part, column], strict=True)
        ]
        for column, kind in enumerate(memory.kinds)
        if kind in recognised or kind in anomalies.events
    }
    return replace(
        anomalies,
        events={**recognised, **anomalies.events},
        sentences=sentences,
    )


NOVELTY_SCOPE = "novelty, label-free: how unlike its camera's other footage a clip looks, by half until that is known"


def describe_anomaly_scope(encoder: VideoEncoder, sentences: Sequence[str]) -> str:
    """Return a sentence on what the score covers and what it does not, to be shown beside it.

    Args:
        encoder: its detector may be trained on some kinds of events.
        sentences: kinds of events that are recognised by comparison with sentences.
    """
    parts = [NOVELTY_SCOPE]
    if sentences:
        parts.insert(0, f"events by comparison with sentences ({', '.join(sentences)}), which is less reliable")
    if encoder.anomaly_scope is not None:
        parts.insert(0, f"events by a trained detector ({encoder.anomaly_scope})")
    return "; ".join(parts)
