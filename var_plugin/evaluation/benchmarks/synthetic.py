"""A synthetic benchmark whose relevant clips are known, for use when the original features are not available.

A video is a long sequence of clips that shows one activity after another. An activity is six words: *a tall man quickly
opens the red door*. The clip features are the sum of the word prototypes plus noise. Words for who and what are in the
object stream, words for how in the motion stream. All object clips of a video share an offset for the scene of a fixed
camera; a static background has no motion. The prototypes of the anomalous verbs have a common component.

- A **normal** video shows its captioned activity for about half of the time, and other everyday activities in between.
- An **anomalous** video shows its captioned activity, with an anomalous verb, once and for a few clips. The other clips
  are distractors with the same people and things, which its caption does not mention.

Retrieving an anomalous video requires its few relevant clips. Finding them requires the detector, which is trained with
one label per video. The clip labels are used for evaluation only. `SyntheticParameters` holds all parameters. They were
committed before any model was trained on them. This is the second version: in the first, with 600 videos, scenes in
both streams and no common component of anomalies, the detector memorised the scenes (docs/alan.md).
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
    """One activity: who does what to what, and how."""

    stature: str
    actor: str
    manner: str
    verb: str
    colour: str
    thing: str

    @property
    def caption(self) -> str:
        """A caption with two noun phrases and one verb phrase."""
        return f"A {self.stature} {self.actor} {self.manner} {self.verb} the {self.colour} {self.thing}."

    @property
    def object_words(self) -> tuple[str, ...]:
        """The words in the object stream."""
        return self.stature, self.actor, self.colour, self.thing

    @property
    def motion_words(self) -> tuple[str, ...]:
        """The words in the motion stream."""
        return self.manner, self.verb


@dataclass(frozen=True)
class SyntheticParameters:
    """Parameters of the benchmark.

    Attributes:
        train_videos: Number of training videos, half of them anomalous.
        test_videos: Number of test videos, half of them anomalous.
        dim: Dimension of both streams.
        length: Minimum and maximum length of a video, in clips.
        anomaly: Minimum and maximum length of an anomaly, in clips.
        episode: Minimum and maximum length of an episode of one everyday activity, in clips.
        normal_share: Probability that an episode of a normal video shows its captioned activity.
        noise: Standard deviation of the noise per coordinate. The clean features have a norm of about one.
        scene: Norm of the offset that all object clips of a video share.
        abruptness: Norm of the common component of the anomalous verbs, before normalisation.
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
class SyntheticSplit:
    """Pairs, half of them anomalous, and per pair which clips show the captioned activity, ``(time,)`` bool."""

    pairs: list[Pair]
    evidence: list[NDArray[np.bool_]]

    @property
    def anomalous_clips(self) -> list[NDArray[np.bool_]]:
        """Ground truth of the detector: the evidence in anomalous videos, no clip in normal ones."""
        return [evidence & pair.anomalous for pair, evidence in zip(self.pairs, self.evidence, strict=True)]


@dataclass(frozen=True)
class World:
    """Unit-norm prototypes of all words, shared by the training and the test split."""

    prototypes: dict[str, Clips]

    def features(self, words: tuple[str, ...]) -> Clips:
        """Return the clean features of a clip that shows some words, ``(dim,)``, with a norm of about one."""
        total: Clips = np.sum([self.prototypes[word] for word in words], axis=0) / np.sqrt(len(words))
        return total


@dataclass(frozen=True)
class SyntheticBenchmark:
    """One realisation of the benchmark."""

    world: World
    train: SyntheticSplit
    test: SyntheticSplit


def generate_benchmark(parameters: SyntheticParameters, seed: int) -> SyntheticBenchmark:
    """Generate the benchmark from a seed. No two videos share a caption."""
    rng = np.random.default_rng(seed)
    prototypes = {word: _direction(parameters, rng) for word in OBJECT_WORDS + MOTION_WORDS}
    abrupt = parameters.abruptness * _direction(parameters, rng)
    for verb in ANOMALOUS_VERBS:
        prototypes[verb] = l2_normalize(prototypes[verb] + abrupt)
    world = World(prototypes)
    videos = _videos(parameters, world, rng)
    train, test = (
        SyntheticSplit(*map(list, zip(*(next(videos) for _ in range(count)), strict=True)))
        for count in (parameters.train_videos, parameters.test_videos)
    )
    return SyntheticBenchmark(world, train, test)


def _direction(parameters: SyntheticParameters, rng: np.random.Generator) -> Clips:
    return l2_normalize(rng.normal(size=parameters.dim))


def _videos(
    parameters: SyntheticParameters, world: World, rng: np.random.Generator
) -> Iterator[tuple[Pair, NDArray[np.bool_]]]:
    """Yield anomalous and normal videos in turn, each with its evidence, without end."""
    captioned: set[Activity] = set()
    while True:
        anomalous = len(captioned) % 2 == 0
        activity = _activity(ANOMALOUS_VERBS if anomalous else NORMAL_VERBS, rng)
        if activity in captioned:
            continue
        captioned.add(activity)
        timeline = (_anomalous_timeline if anomalous else _normal_timeline)(parameters, activity, rng)
        pair = Pair(
            video_id=f"synthetic_{len(captioned):04d}",
            anomalous=anomalous,
            object_clips=parameters.scene * _direction(parameters, rng)
            + _stream(parameters, world, [entry.object_words for entry in timeline], rng),
            motion_clips=_stream(parameters, world, [entry.motion_words for entry in timeline], rng),
            caption=activity.caption,
        )
        yield pair, np.array([entry == activity for entry in timeline])


def _activity(verbs: tuple[str, ...], rng: np.random.Generator) -> Activity:
    return Activity(*(words[rng.integers(len(words))] for words in (STATURES, ACTORS, MANNERS, verbs, COLOURS, THINGS)))


def _everyday(parameters: SyntheticParameters, length: int, rng: np.random.Generator) -> list[Activity]:
    """Return a timeline of everyday activities with `length` clips."""
    timeline: list[Activity] = []
    while len(timeline) < length:
        timeline += [_activity(NORMAL_VERBS, rng)] * int(rng.integers(*parameters.episode, endpoint=True))
    return timeline[:length]


def _anomalous_timeline(
    parameters: SyntheticParameters, activity: Activity, rng: np.random.Generator
) -> list[Activity]:
    timeline = _everyday(parameters, int(rng.integers(*parameters.length, endpoint=True)), rng)
    span = int(rng.integers(*parameters.anomaly, endpoint=True))
    start = int(rng.integers(len(timeline) - span + 1))
    timeline[start : start + span] = [activity] * span
    return timeline


def _normal_timeline(parameters: SyntheticParameters, activity: Activity, rng: np.random.Generator) -> list[Activity]:
    length = int(rng.integers(*parameters.length, endpoint=True))
    timeline: list[Activity] = []
    while len(timeline) < length:
        episode = activity if rng.random() < parameters.normal_share else _activity(NORMAL_VERBS, rng)
        timeline += [episode] * int(rng.integers(*parameters.episode, endpoint=True))
    timeline = timeline[:length]
    if activity not in timeline:
        timeline[: parameters.episode[0]] = [activity] * parameters.episode[0]
    return timeline


def _stream(
    parameters: SyntheticParameters, world: World, words: list[tuple[str, ...]], rng: np.random.Generator
) -> Clips:
    """Return the features (time, dim) of one stream: prototypes plus noise."""
    noise = rng.normal(scale=parameters.noise, size=(len(words), parameters.dim))
    clean = {clip_words: world.features(clip_words) for clip_words in set(words)}
    clips: Clips = (np.stack([clean[clip_words] for clip_words in words]) + noise).astype(np.float32)
    return clips


def prototype_scores(benchmark: SyntheticBenchmark, *, evidence_only: bool) -> NDArray[np.float64]:
    """Return the scores (queries, videos) of an oracle that knows all prototypes, on the test videos.

    The oracle compares the expected features of a caption with the mean of a video's clips, by cosine in both streams.
    With ``evidence_only`` the mean is over the relevant clips only, which is the upper bound of perfect localisation.
    """
    split = benchmark.test
    queries, videos = [], []
    for pair, evidence in zip(split.pairs, split.evidence, strict=True):
        words = (pair.caption or "").removesuffix(".").split()
        mask = evidence if evidence_only else np.ones_like(evidence)
        queries.append(
            [
                benchmark.world.features(tuple(word for word in words if word in vocabulary))
                for vocabulary in (OBJECT_WORDS, MOTION_WORDS)
            ]
        )
        videos.append([np.asarray(clips)[mask].mean(axis=0) for clips in (pair.object_clips, pair.motion_clips)])
    query, video = np.array(queries, dtype=np.float64), np.array(videos, dtype=np.float64)
    query /= np.linalg.norm(query, axis=-1, keepdims=True)
    video /= np.linalg.norm(video, axis=-1, keepdims=True)
    scores: NDArray[np.float64] = np.einsum("qsd,vsd->qv", query, video)
    return scores
