"""Join clip features to long untrimmed streams with at most one fight at a known position.

There are cuts everywhere, and the normal footage has static stretches and moving cameras. Fights and other clips come
from the same sources. So only the fight itself distinguishes a stream with a fight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipes.lite.alan_examples import RATE, Examples, Samples

CLIP_RATE = 2
"""Samples per second of a stream, the rate of indexing."""

_STEP = RATE // CLIP_RATE
# Half of the cuts fall between two samples of a motion image, because motion covers a quarter of a second.
_VISIBLE_CUT_PROBABILITY = 0.5
_MAX_FIGHT_CLIPS = 3  # clips


@dataclass(frozen=True)
class Stream:
    """A stream of n samples and a mask (n,) of the samples that show the fight."""

    samples: Samples
    fight: NDArray[np.bool_]


class StreamMaker:
    """Makes random streams from the given clips only.

    Args:
        examples: the features of all clips.
        indices: indices of the clips to use.
        random: the random generator.
    """

    def __init__(self, examples: Examples, indices: Sequence[int], random: np.random.Generator) -> None:
        self._examples, self._random = examples, random
        self._fights = [index for index in indices if examples.clips[index].fight]
        self._calm = [index for index in indices if not examples.clips[index].fight]
        self._cuts = np.flatnonzero(np.isin(examples.cut_between, indices).all(axis=1))

    def stream(self, seconds: float, *, fight: bool) -> Stream:
        """Return a stream of about that length, with or without a fight."""
        parts: list[tuple[Samples, bool]] = []
        length = 0
        while length < seconds * CLIP_RATE:
            parts.append((self._ordinary(), False))
            length += len(parts[-1][0])
        if fight:
            parts.insert(int(self._random.integers(len(parts) + 1)), (self._fight(), True))
        return self._joined(parts)

    def single(self, *, fight: bool) -> Stream:
        """Return a single clip as a stream."""
        return self._joined([(self._clip(self._fights if fight else self._calm), fight)])

    def _ordinary(self) -> Samples:
        draw = self._random.random()
        if draw < 0.7:
            return self._clip(self._calm)
        scenes = self._examples.still if draw < 0.9 else self._examples.camera
        row = int(self._random.integers(len(scenes)))
        return _repeated(scenes, row, int(self._random.integers(4, 24)))

    def _fight(self) -> Samples:
        """Return one to three fights of one source in sequence."""
        first = int(self._random.choice(self._fights))
        source = self._examples.clips[first].source
        others = [index for index in self._fights if self._examples.clips[index].source == source and index != first]
        more = self._random.permutation(others)[: self._random.integers(0, _MAX_FIGHT_CLIPS)]
        return _concatenated([self._clip([int(index)]) for index in (first, *more)])

    def _clip(self, among: Sequence[int]) -> Samples:
        samples = self._examples.samples[int(self._random.choice(among))]
        return samples[slice(int(self._random.integers(_STEP)), None, _STEP)]

    def _joined(self, parts: Sequence[tuple[Samples, bool]]) -> Stream:
        samples = _concatenated([part for part, _ in parts])
        fight = np.concatenate([np.full(len(part), kind) for part, kind in parts])
        motion = samples.motion.copy()
        ends = np.cumsum([len(part) for part, _ in parts])[:-1] - 1
        for end in ends[self._random.random(len(ends)) < _VISIBLE_CUT_PROBABILITY] if len(self._cuts) else ():
            motion[end] = self._examples.cuts.motion[self._random.choice(self._cuts)]
        return Stream(Samples(samples.objects, motion), fight)


def _repeated(samples: Samples, row: int, times: int) -> Samples:
    return samples[np.full(times, row)]


def _concatenated(parts: Sequence[Samples]) -> Samples:
    return Samples(np.concatenate([part.objects for part in parts]), np.concatenate([part.motion for part in parts]))
