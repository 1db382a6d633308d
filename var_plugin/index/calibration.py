"""How similar queries are to footage that has nothing to do with them, measured on an index itself.

A suite that ships such statistics is taken at its word. For others (any model of the hub) they come from a sample of
the index's own segments: for texts, against sentences about everyday things, few of which are in any one footage; for
images and sounds, between segments of different videos.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import ScoreStatistics, Vectors
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.index.generation import VideoGeneration
from var_plugin.types import Modality

PLAIN = ScoreStatistics(0.0, 1.0)
"""Where nothing is known: the score is the similarity."""

MIN_ROWS = 32
MAX_ROWS = 1_000

# Times of day, places, things, animals, weather, sounds: what most footage shows or lets hear little of.
UNRELATED = (
    "a dog on a beach", "a bowl of fruit on a table", "a mountain under snow", "children playing football",
    "a cat asleep on a sofa", "an aeroplane on a runway", "a plate of spaghetti", "a concert on a stage",
    "a herd of cows in a field", "a sailing boat on the sea", "a man reading a newspaper", "a birthday cake",
    "a train leaving a station", "a woman playing the violin", "a fire in a fireplace", "a forest in autumn",
    "a bird singing in a tree", "a horse jumping a fence", "a crowd on a market", "a laptop on a desk",
    "an empty street at night", "a river under a bridge", "a surfer on a wave", "a baby laughing",
    "rain on a window", "a church with a bell", "a cook cutting vegetables", "a red sports car",
    "a person riding a bicycle", "flowers in a vase", "a map on a wall", "people dancing at a wedding",
    "a helicopter over a city", "a clock ticking", "a thunderstorm", "a shop full of shoes",
    "a goat on a rock", "a swimming pool", "a waterfall", "two people shaking hands",
)  # fmt: skip


class Calibration:
    """The backgrounds of one index; measured at the first need and again whenever the index has doubled."""

    def __init__(self, index: VideoGeneration) -> None:
        self._index = index
        self._measured: dict[tuple[int, str, Modality, int], ScoreStatistics] = {}

    def background(self, encoders: SpaceEncoders, modality: Modality) -> ScoreStatistics:
        """Return the background of queries of one modality: the suite's, else the index's, else `PLAIN`.

        Raises:
            StoreError: the store failed.
        """
        if modality in encoders.score_statistics:
            return encoders.score_statistics[modality]
        if modality == "audio" and encoders.audio is None:
            return PLAIN  # the space stores what is seen: no segment is like such a query
        space = encoders.space.name
        rows = self._index.size()[space]
        key = (self._index.generation.number, space, modality, rows.bit_length())
        if key not in self._measured:
            self._measured[key] = self._measure(encoders, modality, rows)
        return self._measured[key]

    def _measure(self, encoders: SpaceEncoders, modality: Modality, rows: int) -> ScoreStatistics:
        sample = self._index.sample(encoders.space.name, MAX_ROWS / max(1, rows))
        if len(sample) < MIN_ROWS:
            return PLAIN
        vectors = np.array([row["vector"] for row in sample], np.float32)
        if modality == "text":
            return _spread(self._unrelated_texts(encoders) @ vectors.T)
        videos = np.unique([row["video_id"] for row in sample], return_inverse=True)[1]
        return _spread((vectors @ vectors.T)[videos[:, None] != videos])

    def _unrelated_texts(self, encoders: SpaceEncoders) -> Vectors:
        return self._index.suite.encode("text", UNRELATED, space=encoders.space.name)


def _spread(similarities: NDArray[np.float32]) -> ScoreStatistics:
    # Alike throughout, or of one video alone: nothing to measure a deviation by.
    if similarities.size < MIN_ROWS or float(similarities.std()) < 1e-4:
        return PLAIN
    return ScoreStatistics(float(similarities.mean()), float(similarities.std()))
