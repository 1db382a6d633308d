"""A label-free anomaly score: how unusual a clip is for its own video.

Nothing was learned about fights, fires or thefts here: the score is high where a clip looks unlike the rest of the same
footage, whatever the reason. The trained anomaly detector of ALAN (paper, section III-B) is another thing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import Vectors, as_unit

SCOPE = "label-free: how unlike the rest of its own video a clip looks; no kind of event was learned"

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


def unusualness(times: NDArray[np.floating], vectors: Vectors) -> NDArray[np.float32]:
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
    reference_times, references = times[::step], as_unit(vectors[::step])
    distances = np.full(len(times), np.nan)
    for first in range(0, len(times), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        similarity = as_unit(vectors[chunk]) @ references.T
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
