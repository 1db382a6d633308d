"""Long untrimmed streams put together from short clips, with at most one fight at a known place, as clip features.

What gives a fight away must be the fight: there are cuts everywhere, still stretches and moving cameras among the
normal footage, and both kinds of clip come from the same sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipes.lite.alan_examples import RATE, Examples, Samples

CLIP_RATE = 2
"""Samples per second of a stream, as footage is looked at."""

_STEP = RATE // CLIP_RATE
# A cut falls into one of the quarter seconds that are looked at, twice a second, about every other time.
_SEEN_CUTS = 0.5
_LONGEST_FIGHT = 3  # clips


@dataclass(frozen=True)
class Stream:
    """One stream of n samples."""

    samples: Samples
    fight: NDArray[np.bool_]
    """(n,) which of them show the fight."""


class StreamMaker:
    """Makes streams out of the chosen clips only.

    Args:
        examples: all there is.
        chosen: indices of the clips that may be used.
        random: where the mixture comes from.
    """

    def __init__(self, examples: Examples, chosen: Sequence[int], random: np.random.Generator) -> None:
        self._examples, self._random = examples, random
        self._fights = [index for index in chosen if examples.clips[index].fight]
        self._calm = [index for index in chosen if not examples.clips[index].fight]
        self._cuts = np.flatnonzero(np.isin(examples.cut_between, chosen).all(axis=1))

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
        """Return one clip by itself."""
        return self._joined([(self._clip(self._fights if fight else self._calm), fight)])

    def _ordinary(self) -> Samples:
        draw = self._random.random()
        if draw < 0.7:
            return self._clip(self._calm)
        scenes = self._examples.still if draw < 0.9 else self._examples.camera
        row = int(self._random.integers(len(scenes)))
        return _repeated(scenes, row, int(self._random.integers(4, 24)))

    def _fight(self) -> Samples:
        """One to three fights of one source, one after the other."""
        first = int(self._random.choice(self._fights))
        source = self._examples.clips[first].source
        others = [index for index in self._fights if self._examples.clips[index].source == source and index != first]
        more = self._random.permutation(others)[: self._random.integers(0, _LONGEST_FIGHT)]
        return _concatenated([self._clip([int(index)]) for index in (first, *more)])

    def _clip(self, among: Sequence[int]) -> Samples:
        samples = self._examples.samples[int(self._random.choice(among))]
        return samples[slice(int(self._random.integers(_STEP)), None, _STEP)]

    def _joined(self, parts: Sequence[tuple[Samples, bool]]) -> Stream:
        samples = _concatenated([part for part, _ in parts])
        fight = np.concatenate([np.full(len(part), kind) for part, kind in parts])
        motion = samples.motion.copy()
        ends = np.cumsum([len(part) for part, _ in parts])[:-1] - 1
        for end in ends[self._random.random(len(ends)) < _SEEN_CUTS] if len(self._cuts) else ():
            motion[end] = self._examples.cuts.motion[self._random.choice(self._cuts)]
        return Stream(Samples(samples.objects, motion), fight)


def _repeated(samples: Samples, row: int, times: int) -> Samples:
    return samples[np.full(times, row)]


def _concatenated(parts: Sequence[Samples]) -> Samples:
    return Samples(np.concatenate([part.objects for part in parts]), np.concatenate([part.motion for part in parts]))
