"""Similarity statistics of queries and unrelated footage, measured on the index itself.

They turn similarities into z-scores. Statistics that a suite ships are used as they are. For other suites (any model of
the hub) they are measured on a sample of the segments of the index. Texts: similarities to sentences about everyday
things, few of which occur in one set of footage. Images, audio and video: similarities between segments of different
videos.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import ScoreStatistics, Vectors
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.errors import InvalidInputError
from var_plugin.index.generation import VideoGeneration
from var_plugin.types import Modality

UNCALIBRATED = ScoreStatistics(0.0, 1.0)
"""Statistics that leave a similarity unchanged, used if nothing can be measured."""

MIN_ROWS = 32
_QUERIES: tuple[Modality, ...] = ("text", "image", "video")
MAX_ROWS = 1_000

# Times of day, places, things, animals, weather and events that are rare in most footage.
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
    """The score statistics of one index. They are measured on first use and after the index has doubled."""

    def __init__(self, index: VideoGeneration) -> None:
        self._index = index
        self._measured: dict[tuple[int, str, Modality, int], ScoreStatistics] = {}

    def statistics(self, encoders: SpaceEncoders, modality: Modality) -> ScoreStatistics:
        """Return the statistics for queries of one modality: from the suite, else measured, else `UNCALIBRATED`.

        Raises:
            StoreError: the store failed.
        """
        return encoders.score_statistics.get(modality) or self._measured_statistics(encoders, modality)

    def measured_statistics(self, encoders: SpaceEncoders) -> dict[Modality, ScoreStatistics]:
        """Return the statistics of queries by text, image and video that can be measured, also if the suite ships some.

        Raises:
            InvalidInputError: there are none, because the index is too small.
            StoreError: the store failed.
        """
        modalities = (modality for modality in _QUERIES if modality in encoders.space.modalities)
        statistics = {modality: self._measured_statistics(encoders, modality) for modality in modalities}
        statistics = {modality: values for modality, values in statistics.items() if values != UNCALIBRATED}
        if not statistics:
            raise InvalidInputError(
                "the index has too little footage",
                why=f"the scale of scores is measured on at least {MIN_ROWS} segments",
                fix="index more footage",
            )
        return statistics

    def _measured_statistics(self, encoders: SpaceEncoders, modality: Modality) -> ScoreStatistics:
        if modality == "audio" and encoders.audio is None:
            return UNCALIBRATED  # the space has no audio segments to compare with
        space = encoders.space.name
        rows = self._index.size()[space]
        key = (self._index.generation.number, space, modality, rows.bit_length())
        if key not in self._measured:
            self._measured[key] = self._measure(encoders, modality, rows)
        return self._measured[key]

    def _measure(self, encoders: SpaceEncoders, modality: Modality, rows: int) -> ScoreStatistics:
        sample = self._index.sample(encoders.space.name, MAX_ROWS / max(1, rows))
        if len(sample) < MIN_ROWS:
            return UNCALIBRATED
        vectors = np.array([row["vector"] for row in sample], np.float32)
        if modality == "text":
            return score_statistics(self._unrelated_texts(encoders) @ vectors.T)
        videos = np.unique([row["video_id"] for row in sample], return_inverse=True)[1]
        return score_statistics((vectors @ vectors.T)[videos[:, None] != videos])

    def _unrelated_texts(self, encoders: SpaceEncoders) -> Vectors:
        return self._index.suite.encode("text", UNRELATED, space=encoders.space.name)


def score_statistics(similarities: NDArray[np.float32]) -> ScoreStatistics:
    """Return mean and standard deviation of similarities, or `UNCALIBRATED` if they are too few or all equal."""
    if similarities.size < MIN_ROWS or float(similarities.std()) < 1e-4:
        return UNCALIBRATED
    return ScoreStatistics(float(similarities.mean()), float(similarities.std()))
