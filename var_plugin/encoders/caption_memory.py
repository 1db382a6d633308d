"""Zero-shot event scores: match vectors to sentences about anomalous and normal scenes.

The method follows Flashback (arXiv 2505.15205): sentences are embedded once, and a vector is scored by the sentences
nearest to it. It differs in two points. A score depends on one vector only, and an owner's example changes only the
scores of vectors near it, so that few stored vectors change when an example is added.

The score of a kind of event for a vector:

1. The similarities of the vector to all sentences are standardised over the sentences. This removes the offset and the
   scale of the space, so that the constants below do not depend on the encoder.
2. The evidence is the mean of the `_NEAREST` highest values among the sentences of the kind, minus the same mean among
   the normal sentences. The normal sentences include hard negatives, such as hugs, sunsets and brake lights.
3. The evidence is calibrated without footage. The normal sentences stand in for vectors of normal footage, and the
   95 % quantile of their evidence is subtracted, per kind.
4. A logistic function maps the evidence to 0…1. Evidence of `_MARGIN` maps to 0.5.

`benchmarks/caption_memory.py` measures the scores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import Space, TextEncoder, Vectors, ensure_normalized
from var_plugin.errors import InvalidVectorError
from var_plugin.media.files import atomic_write
from var_plugin.private_files import open_regular_file

if TYPE_CHECKING:
    from var_plugin.encoders.suite import SpaceEncoders

Scores = NDArray[np.float32]
Indices = NDArray[np.intp]

NORMAL = "normal"
ALARM = "alarm"
"""The kind of the events that an owner describes."""

_FILE = Path(__file__).with_name("captions.json")
SHIPPED_CAPTIONS = Path(__file__).parent / "lite" / "weights" / "captions"
"""Vectors of the sentences in the spaces of the suite lite. `recipes/lite/captions.py` makes them."""

_NEAREST = 5
_QUANTILE = 0.95
# Chosen on the validation half of the footage; see docs/benchmarks/events.md.
_MARGIN = 0.7
_SLOPE = 6.0
# Nearness of footage to an example is 0 up to this cosine, which footage of other cameras rarely exceeds. It is raised,
# up to a limit, in a space whose unrelated footage is more similar: to three standard deviations above the mean.
_FAR, _MAX_FAR = 0.8, 0.95
_FAR_DEVIATIONS = 3.0
# At or below this standard deviation of its similarities, a vector has no content and no event.
_MIN_SPREAD = 1e-6
_NO_EVIDENCE = -10.0
_BLOCK = 1_024
# Decimals of similarities: rounded, they do not depend on the other rows of a matrix product.
_DECIMALS = 6


@dataclass(frozen=True)
class Example:
    """An owner's example of a normal or an alarming scene: a sentence, or a vector of footage with a description."""

    kind: Literal["normal", "alarm"]
    text: str
    vector: NDArray[np.float32] | None = None
    """(dim,) vector of footage, as stored. None: the text is embedded."""


@dataclass(frozen=True)
class CaptionEvents:
    """Event scores of n vectors and the sentences that explain them."""

    scores: Scores
    """(n, kinds) in 0…1. An event with 0.5 or more counts as detected."""
    nearest: NDArray[np.int32]
    """(n, kinds) index of the nearest sentence of the kind, for `CaptionMemory.sentence`."""


@dataclass(frozen=True)
class _Captions:
    """The sentences of a space and their vectors (n, dim). `groups` holds the kind of each sentence, or `NORMAL`."""

    texts: tuple[str, ...]
    groups: tuple[str, ...]
    vectors: Vectors

    def rows(self, group: str, *, negate: bool = False) -> Indices:
        """Return the indices of the sentences of a group, or of all others."""
        return np.flatnonzero((np.array(self.groups) == group) != negate)


@dataclass(frozen=True)
class _Selection:
    """Some of the examples: their indices (n,) among all examples, and their vectors (n, dim)."""

    indices: Indices
    vectors: Vectors


@dataclass(frozen=True)
class _Standardised:
    """Vectors, their standardised similarities to all sentences, and what these were standardised by."""

    vectors: Vectors
    captions: Scores
    """(n, sentences)"""
    mean: NDArray[np.float64]
    """(n, 1)"""
    spread: NDArray[np.float64]
    """(n, 1)"""

    def similarity(self, sentences: Vectors) -> Scores:
        """Return the z-scores of the similarities to sentences, (n, sentences)."""
        return np.asarray((_similarity(self.vectors, sentences) - self.mean) / self.spread, np.float32)


class CaptionMemory:
    """Sentences about each kind of event, embedded into one space. Create it with `load`.

    Attributes:
        kinds: the kinds of events, in the order of the columns of the scores. `ALARM` is last, if there is an example.
        counted: the kinds that are reliable enough in this space to be stored and to raise the anomaly score.
    """

    def __init__(self, encoders: SpaceEncoders, captions: _Captions, examples: Sequence[Example] = ()) -> None:
        self._encoders, self._captions, self._examples = encoders, captions, tuple(examples)
        kinds = tuple(dict.fromkeys(group for group in captions.groups if group != NORMAL))
        self.kinds = kinds + ((ALARM,) if any(example.kind == ALARM for example in examples) else ())
        self.counted = frozenset(self.kinds) - encoders.uncounted_kinds
        self._columns = [captions.rows(kind) for kind in kinds]
        self._normal_rows = captions.rows(NORMAL)
        self._normal_texts, self._alarm_texts = self._select_texts(NORMAL), self._select_texts(ALARM)
        self._quantiles, self._alarm_quantiles = self._calibrate()
        self._normal_footage, self._alarm_footage = self._select_footage(NORMAL), self._select_footage(ALARM)
        self._normal_evidence = np.maximum(
            self._evidence_of_captions(self._standardise(self._normal_footage.vectors))[0], 0
        )

    @classmethod
    def load(cls, encoders: SpaceEncoders, cache: Path | None) -> CaptionMemory | None:
        """Return the memory of a space. Spaces of images or video use sentences about scenes, others about sounds.

        Args:
            encoders: the encoders of the space.
            cache: folder for the vectors of the sentences. None: embed them.

        Returns:
            The memory, or None if the space has no text encoder.

        Raises:
            InvalidVectorError: the text encoder returned invalid vectors.
            InvalidInputError: the cache cannot be written.
        """
        if encoders.text is None:
            return None
        texts, groups = read_captions(caption_field(encoders.space))
        return cls(encoders, _Captions(texts, groups, _vectors(encoders.space, encoders.text, texts, cache)))

    def extended(self, examples: Sequence[Example]) -> CaptionMemory:
        """Return a memory with an owner's examples instead of those of this memory.

        A normal sentence lowers the scores of vectors that match it better than the other normal sentences. A normal
        vector lowers the scores of similar vectors: a kind of event counts only as far as its evidence exceeds that of
        the example. Alarm examples give scores of the kind `ALARM`.

        Raises:
            InvalidVectorError: the text encoder returned invalid vectors.
        """
        return CaptionMemory(self._encoders, self._captions, examples)

    def sentence(self, index: int) -> str:
        """Return the text of a sentence or example, by its index in `CaptionEvents.nearest`."""
        captions = len(self._captions.texts)
        return self._captions.texts[index] if index < captions else self._examples[index - captions].text

    def events(self, vectors: Vectors) -> CaptionEvents:
        """Score vectors of the space.

        Args:
            vectors: (n, dim) float32, as stored.

        Returns:
            Scores and nearest sentences, (n, len(kinds)) each.
        """
        scores = np.zeros((len(vectors), len(self.kinds)), np.float32)
        nearest = np.zeros((len(vectors), len(self.kinds)), np.int32)
        for first in range(0, len(vectors), _BLOCK):
            part = slice(first, first + _BLOCK)
            evidence, nearest[part] = self._evidence(vectors[part])
            scores[part] = _logistic(evidence)
        return CaptionEvents(scores, nearest)

    def suppression(self, vectors: Vectors) -> Scores:
        """Return how well vectors match the owner's normal examples, (n,) in 0…1. 1: nothing about them is anomalous.

        It also applies to novelty and to trained detectors, which read no sentences. A sentence suppresses as far as it
        matches a vector better than the sentences of every kind of event do.

        Args:
            vectors: (n, dim) float32, as stored.
        """
        result = np.zeros(len(vectors), np.float32)
        if len(self._normal_footage.indices):
            result = self._nearness(vectors, self._normal_footage).max(axis=1)
        if len(self._normal_texts.indices):
            rows = self._standardise(vectors)
            anomalous = rows.captions[:, self._captions.rows(NORMAL, negate=True)].max(axis=1)
            matched = rows.similarity(self._normal_texts.vectors).max(axis=1)
            result = np.maximum(result, np.clip(matched - anomalous, 0, 1))
        return result

    def _evidence(self, vectors: Vectors) -> tuple[Scores, Indices]:
        """Return the evidence and the nearest sentences (n, kinds)."""
        rows = self._standardise(vectors)
        evidence, nearest = self._evidence_of_captions(rows)
        if len(self._normal_footage.indices):
            nearness = self._nearness(vectors, self._normal_footage)
            evidence -= (nearness[:, :, None] * self._normal_evidence).max(axis=1)
        if ALARM in self.kinds:
            alarm, index = self._evidence_of_alarms(rows)
            evidence, nearest = np.column_stack([evidence, alarm]), np.column_stack([nearest, index])
        return evidence, nearest

    def _evidence_of_captions(self, rows: _Standardised) -> tuple[Scores, Indices]:
        values = rows.captions
        evidence = self._contrast(values, self._normal_level(rows)) - self._quantiles
        evidence[rows.spread[:, 0] <= _MIN_SPREAD] = _NO_EVIDENCE
        nearest = np.stack([column[values[:, column].argmax(axis=1)] for column in self._columns], axis=1)
        return evidence, nearest

    def _evidence_of_alarms(self, rows: _Standardised) -> tuple[Scores, Indices]:
        """Return the evidence (n,) of the owner's alarm examples, and the index of the strongest example."""
        texts = rows.similarity(self._alarm_texts.vectors) - self._normal_level(rows)[:, None] - self._alarm_quantiles
        footage = _MARGIN - 1 + 2 * self._nearness(rows.vectors, self._alarm_footage)
        evidence = np.hstack([texts, footage])
        indices = np.concatenate([self._alarm_texts.indices, self._alarm_footage.indices])
        return evidence.max(axis=1), len(self._captions.texts) + indices[evidence.argmax(axis=1)]

    def _standardise(self, vectors: Vectors) -> _Standardised:
        similarity = _similarity(vectors, self._captions.vectors)
        mean, spread = similarity.mean(axis=1, keepdims=True), similarity.std(axis=1, keepdims=True)
        spread = np.maximum(spread, _MIN_SPREAD)
        return _Standardised(vectors, np.asarray((similarity - mean) / spread, np.float32), mean, spread)

    def _normal_level(self, rows: _Standardised) -> Scores:
        """Return how well vectors match normal sentences (n,): those of the data file, or one of the owner."""
        level = _top_mean(rows.captions[:, self._normal_rows])
        if len(self._normal_texts.indices):
            level = np.maximum(level, rows.similarity(self._normal_texts.vectors).max(axis=1))
        return level

    def _contrast(self, values: Scores, normal: Scores) -> Scores:
        return np.stack([_top_mean(values[:, column]) - normal for column in self._columns], axis=1)

    def _calibrate(self) -> tuple[Scores, Scores]:
        """Return the quantiles of the evidence in the normal sentences, per kind and per alarm sentence."""
        rows = self._standardise(self._captions.vectors[self._normal_rows])
        others = rows.captions[:, self._normal_rows].copy()
        np.fill_diagonal(others, -np.inf)
        normal = _top_mean(others)
        contrast = self._contrast(rows.captions, normal)
        alarms = rows.similarity(self._alarm_texts.vectors) - normal[:, None]
        quantiles = (np.quantile(part, _QUANTILE, axis=0) for part in (contrast, alarms))
        of_kinds, of_alarms = (np.asarray(part, np.float32) for part in quantiles)
        return of_kinds, of_alarms

    def _select_texts(self, kind: str) -> _Selection:
        indices = [i for i, example in enumerate(self._examples) if example.kind == kind and example.vector is None]
        vectors = np.zeros((0, self._encoders.space.dim), np.float32)
        if indices and self._encoders.text:
            vectors = _embed(self._encoders.space, self._encoders.text, [self._examples[i].text for i in indices])
        return _Selection(np.array(indices, np.intp), vectors)

    def _select_footage(self, kind: str) -> _Selection:
        pairs = [
            (i, example.vector)
            for i, example in enumerate(self._examples)
            if example.kind == kind and example.vector is not None
        ]
        vectors = np.zeros((len(pairs), self._encoders.space.dim), np.float32)
        for row, (_, vector) in enumerate(pairs):
            vectors[row] = vector
        return _Selection(np.array([i for i, _ in pairs], np.intp), vectors)

    def _nearness(self, vectors: Vectors, examples: _Selection) -> Scores:
        """Return how near vectors are to examples of footage, (n, examples): 1 for a copy, 0 for other scenes."""
        statistics = self._encoders.score_statistics
        unrelated = next(
            (statistics[modality] for modality in ("video", "audio", "image") if modality in statistics), None
        )
        far = _FAR
        if unrelated:
            far = min(max(far, unrelated.mean + _FAR_DEVIATIONS * unrelated.std), _MAX_FAR)
        cosine = _similarity(ensure_normalized(vectors), ensure_normalized(examples.vectors))
        return np.asarray(np.clip((cosine - far) / (1 - far), 0, 1), np.float32)


def caption_field(space: Space) -> Literal["scene", "sound"]:
    """Return which sentences suit a space: those about scenes if it takes images or video, else those about sounds."""
    return "scene" if space.modalities & {"image", "video"} else "sound"


def caption_kinds(space: Space) -> tuple[str, ...]:
    """Return the kinds of events that the sentences of a space describe."""
    return tuple(dict.fromkeys(group for group in read_captions(caption_field(space))[1] if group != NORMAL))


@lru_cache
def read_captions(field: Literal["scene", "sound"]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the sentences about scenes or sounds, and the kind of event of each, or `NORMAL`."""
    content = json.loads(_FILE.read_text("utf-8"))
    pairs = [(text, kind) for kind, fields in content["kinds"].items() for text in fields.get(field, ())]
    normal = (
        content["normal_sounds"] if field == "sound" else [t for place in content["normal"].values() for t in place]
    )
    texts, groups = zip(*pairs, *((text, NORMAL) for text in normal), strict=True)
    return texts, groups


def smooth_scores(times: NDArray[np.floating], scores: Scores, seconds: float) -> Scores:
    """Smooth the scores of the clips of one video over time with a Gaussian kernel.

    Args:
        times: (n,) seconds, ascending.
        scores: (n,) or (n, kinds).
        seconds: standard deviation of the kernel. It is cut off at three standard deviations.

    Returns:
        Weighted means of the shape of `scores`.
    """
    values = np.asarray(scores if scores.ndim > 1 else scores[:, None], np.float64)
    total, weights = values.copy(), np.ones((len(times), 1))
    farthest = int((np.arange(len(times)) - np.searchsorted(times, times - 3 * seconds)).max(initial=0))
    for offset in range(1, farthest + 1):
        distance = (times[offset:] - times[:-offset])[:, None] / seconds
        weight = np.where(distance <= 3, np.exp(-0.5 * distance**2), 0.0)
        total[offset:] += weight * values[:-offset]
        total[:-offset] += weight * values[offset:]
        weights[offset:] += weight
        weights[:-offset] += weight
    return np.asarray((total / weights).reshape(scores.shape), np.float32)


def caption_file(space: Space, texts: Sequence[str]) -> str:
    """Return the name of the file with the vectors of sentences in a space. It changes with both."""
    key = hashlib.sha256("\n".join((space.fingerprint, *texts)).encode()).hexdigest()[:16]
    return f"{space.name}-{key}.npy"


def _vectors(space: Space, encoder: TextEncoder, texts: Sequence[str], cache: Path | None) -> Vectors:
    """Return the vectors (n, dim) of the sentences, from the cache if it holds them."""
    name, shape = caption_file(space, texts), (len(texts), space.dim)
    if (shipped := _read_cache(SHIPPED_CAPTIONS / name, shape)) is not None:
        return shipped
    if cache is None:
        return _embed(space, encoder, texts)
    file = cache / "captions" / name
    vectors = _read_cache(file, shape)
    if vectors is None:
        vectors = _embed(space, encoder, texts)
        with atomic_write(file, private=True) as temporary, temporary.open("wb") as stream:
            np.save(stream, vectors, allow_pickle=False)
    return vectors


def _read_cache(file: Path, shape: tuple[int, int]) -> Vectors | None:
    """Return the cached vectors, or None if the file is missing or damaged."""
    try:
        with open_regular_file(file) as stream:
            vectors: Vectors = np.load(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if vectors.shape != shape or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
        return None
    return vectors


def _embed(space: Space, encoder: TextEncoder, texts: Sequence[str]) -> Vectors:
    vectors = np.asarray(encoder.encode(texts), np.float32)
    if vectors.shape != (len(texts), space.dim) or not np.isfinite(vectors).all():
        raise InvalidVectorError(
            f"the text encoder of space '{space.name}' returned invalid vectors for the sentences about events",
            why=f"they have the shape {vectors.shape}, or contain NaN or infinity",
            fix="check that the suite's weights belong together",
        )
    return vectors


def _similarity(vectors: Vectors, sentences: Vectors) -> NDArray[np.float64]:
    return np.round(vectors.astype(np.float64) @ sentences.T.astype(np.float64), _DECIMALS)


def _top_mean(values: Scores) -> Scores:
    """Return the mean (n,) of the highest values of each row, at most `_NEAREST`."""
    count = min(_NEAREST, values.shape[1])
    return np.asarray(-np.partition(-values, count - 1, axis=1)[:, :count].mean(axis=1), np.float32)


def _logistic(evidence: Scores) -> Scores:
    return np.asarray(1 / (1 + np.exp(-_SLOPE * (evidence - _MARGIN))), np.float32)
