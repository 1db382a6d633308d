"""A generated benchmark with planted structure, for evidence where the original features cannot be had.

Every video is a long sequence of clips that shows one everyday activity after another. An activity is six words: *a
tall man quickly opens the red door*. Its clips carry the sum of the words' prototypes plus noise: the words for who and
what in the object stream, the words for how in the motion stream. A fixed camera sees one scene, so all object clips of
a video share an offset; a still background has no motion. The anomalous verbs are abrupt: their prototypes have a part
in common.

- A **normal** video shows its captioned activity for about half of the time, other everyday activities in between.
- An **anomalous** video shows its captioned activity, whose verb is one of the anomalous ones, once and for a few clips
  only; all the rest are distractors, made from the same people and things, that its caption does not mention.

So retrieving an anomalous video needs the few clips that matter, and finding those needs the detector, which sees one
bit per video. The ground truth of the clips is there for measuring, never for training. `Planted` holds all parameters;
they were committed before any model was trained on them. It is the second version: the first had 600 videos, scenes in
both streams and nothing in common between anomalies, and the detector learned the scenes by heart (docs/alan.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import l2_normalize
from var_plugin.evaluation.benchmarks.pairs import Clips, Pair

STATURES = ("tall", "short", "young", "old", "thin", "bald")
ACTORS = ("man", "woman", "boy", "girl", "guard", "worker")
MANNERS = ("quickly", "slowly", "quietly", "suddenly")
NORMAL_VERBS = ("opens", "carries", "cleans", "moves", "holds", "paints")
ANOMALOUS_VERBS = ("smashes", "burns", "steals", "kicks", "breaks", "throws")
COLOURS = ("red", "green", "blue", "white", "black", "yellow")
THINGS = ("window", "car", "door", "bag", "bicycle", "fence", "shelf", "box")

OBJECT_WORDS = STATURES + ACTORS + COLOURS + THINGS
MOTION_WORDS = MANNERS + NORMAL_VERBS + ANOMALOUS_VERBS


class Activity(NamedTuple):
    """Who does what to what, and how."""

    stature: str
    actor: str
    manner: str
    verb: str
    colour: str
    thing: str

    @property
    def caption(self) -> str:
        """Two noun phrases and one verb phrase."""
        return f"A {self.stature} {self.actor} {self.manner} {self.verb} the {self.colour} {self.thing}."

    @property
    def object_words(self) -> tuple[str, ...]:
        """The words that the object stream shows."""
        return self.stature, self.actor, self.colour, self.thing

    @property
    def motion_words(self) -> tuple[str, ...]:
        """The words that the motion stream shows."""
        return self.manner, self.verb


@dataclass(frozen=True)
class Planted:
    """All parameters of the benchmark.

    Attributes:
        train_videos: Videos to train on, half of them anomalous.
        test_videos: Videos to measure on, half of them anomalous.
        dim: Width of both streams.
        length: Shortest and longest video, in clips.
        anomaly: Shortest and longest anomaly, in clips.
        episode: Shortest and longest episode of an everyday activity, in clips.
        normal_share: Chance that an episode of a normal video shows its captioned activity.
        noise: Standard deviation of the noise in every coordinate; what a clip shows has about length one.
        scene: Length of the offset that the object clips of a video share.
        abruptness: Length of the common part of the anomalous verbs' prototypes, before they are made unit vectors.
    """

    train_videos: int = 1200
    test_videos: int = 200
    dim: int = 32
    length: tuple[int, int] = (64, 160)
    anomaly: tuple[int, int] = (4, 8)
    episode: tuple[int, int] = (4, 12)
    normal_share: float = 0.5
    noise: float = 0.15
    scene: float = 0.5
    abruptness: float = 1.0


@dataclass(frozen=True)
class PlantedSplit:
    """Pairs, half of them anomalous, and per pair which clips show the captioned activity, ``(time,)`` bool."""

    pairs: list[Pair]
    evidence: list[NDArray[np.bool_]]

    @property
    def anomalous_clips(self) -> list[NDArray[np.bool_]]:
        """Ground truth of the anomaly detector: the evidence of anomalous videos, nothing in normal ones."""
        return [shown & pair.anomalous for pair, shown in zip(self.pairs, self.evidence, strict=True)]


@dataclass(frozen=True)
class World:
    """The prototype of every word, a unit vector; train and test share it."""

    prototypes: dict[str, Clips]

    def show(self, words: tuple[str, ...]) -> Clips:
        """What a clip shows of some words, ``(dim,)``: their mean direction, of length about one."""
        total: Clips = np.sum([self.prototypes[word] for word in words], axis=0) / np.sqrt(len(words))
        return total


@dataclass(frozen=True)
class PlantedBenchmark:
    """One drawing of the benchmark."""

    world: World
    train: PlantedSplit
    test: PlantedSplit


def plant(parameters: Planted, seed: int) -> PlantedBenchmark:
    """Draw a world and its videos; the same seed draws the same. No two videos share a caption."""
    rng = np.random.default_rng(seed)
    prototypes = {word: _direction(parameters, rng) for word in OBJECT_WORDS + MOTION_WORDS}
    abrupt = parameters.abruptness * _direction(parameters, rng)
    for verb in ANOMALOUS_VERBS:
        prototypes[verb] = l2_normalize(prototypes[verb] + abrupt)
    world = World(prototypes)
    videos = _videos(parameters, world, rng)
    train, test = (
        PlantedSplit(*map(list, zip(*(next(videos) for _ in range(count)), strict=True)))
        for count in (parameters.train_videos, parameters.test_videos)
    )
    return PlantedBenchmark(world, train, test)


def _direction(parameters: Planted, rng: np.random.Generator) -> Clips:
    return l2_normalize(rng.normal(size=parameters.dim))


def _videos(parameters: Planted, world: World, rng: np.random.Generator) -> Iterator[tuple[Pair, NDArray[np.bool_]]]:
    """Endlessly: anomalous and normal videos in turn, each with its evidence."""
    captioned: set[Activity] = set()
    while True:
        anomalous = len(captioned) % 2 == 0
        activity = _activity(ANOMALOUS_VERBS if anomalous else NORMAL_VERBS, rng)
        if activity in captioned:
            continue
        captioned.add(activity)
        timeline = (_anomalous_timeline if anomalous else _normal_timeline)(parameters, activity, rng)
        pair = Pair(
            video_id=f"planted_{len(captioned):04d}",
            anomalous=anomalous,
            object_clips=parameters.scene * _direction(parameters, rng)
            + _film(parameters, world, [shown.object_words for shown in timeline], rng),
            motion_clips=_film(parameters, world, [shown.motion_words for shown in timeline], rng),
            caption=activity.caption,
        )
        yield pair, np.array([shown == activity for shown in timeline])


def _activity(verbs: tuple[str, ...], rng: np.random.Generator) -> Activity:
    return Activity(*(words[rng.integers(len(words))] for words in (STATURES, ACTORS, MANNERS, verbs, COLOURS, THINGS)))


def _everyday(parameters: Planted, length: int, rng: np.random.Generator) -> list[Activity]:
    """Everyday activities, one episode after another, for `length` clips."""
    timeline: list[Activity] = []
    while len(timeline) < length:
        timeline += [_activity(NORMAL_VERBS, rng)] * int(rng.integers(*parameters.episode, endpoint=True))
    return timeline[:length]


def _anomalous_timeline(parameters: Planted, activity: Activity, rng: np.random.Generator) -> list[Activity]:
    timeline = _everyday(parameters, int(rng.integers(*parameters.length, endpoint=True)), rng)
    span = int(rng.integers(*parameters.anomaly, endpoint=True))
    start = int(rng.integers(len(timeline) - span + 1))
    timeline[start : start + span] = [activity] * span
    return timeline


def _normal_timeline(parameters: Planted, activity: Activity, rng: np.random.Generator) -> list[Activity]:
    length = int(rng.integers(*parameters.length, endpoint=True))
    timeline: list[Activity] = []
    while len(timeline) < length:
        shown = activity if rng.random() < parameters.normal_share else _activity(NORMAL_VERBS, rng)
        timeline += [shown] * int(rng.integers(*parameters.episode, endpoint=True))
    timeline = timeline[:length]
    if activity not in timeline:
        timeline[: parameters.episode[0]] = [activity] * parameters.episode[0]
    return timeline


def _film(parameters: Planted, world: World, words: list[tuple[str, ...]], rng: np.random.Generator) -> Clips:
    """(time, dim) features of one stream: what is shown, and noise."""
    noise = rng.normal(scale=parameters.noise, size=(len(words), parameters.dim))
    seen = {shown: world.show(shown) for shown in set(words)}
    film: Clips = (np.stack([seen[shown] for shown in words]) + noise).astype(np.float32)
    return film


def prototype_scores(benchmark: PlantedBenchmark, *, evidence_only: bool) -> NDArray[np.float64]:
    """Scores (queries, videos) of an observer who knows every prototype, on the test videos.

    It compares what a caption should look like with the mean of a video's clips, by cosine in both streams. With
    ``evidence_only`` the mean is taken over the clips that matter: the most that perfect localisation could add.
    """
    split = benchmark.test
    queries, videos = [], []
    for pair, shown in zip(split.pairs, split.evidence, strict=True):
        words = (pair.caption or "").removesuffix(".").split()
        kept = shown if evidence_only else np.ones_like(shown)
        queries.append(
            [
                benchmark.world.show(tuple(word for word in words if word in known))
                for known in (OBJECT_WORDS, MOTION_WORDS)
            ]
        )
        videos.append([np.asarray(clips)[kept].mean(axis=0) for clips in (pair.object_clips, pair.motion_clips)])
    query, video = np.array(queries, dtype=np.float64), np.array(videos, dtype=np.float64)
    query /= np.linalg.norm(query, axis=-1, keepdims=True)
    video /= np.linalg.norm(video, axis=-1, keepdims=True)
    scores: NDArray[np.float64] = np.einsum("qsd,vsd->qv", query, video)
    return scores
