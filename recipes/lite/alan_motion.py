"""Fit the motion stream: kinds of motion from motion features, and the motion part of texts from sentence vectors."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recipes.lite.alan_examples import Examples, Samples
from recipes.lite.flickr8k import CaptionedImages
from recipes.lite.motion_prompts import MOTION_WORDINGS, NOT_FIGHTS
from var_plugin.encoders.backbones.minilm import sentence_vectors
from var_plugin.encoders.base import Vectors
from var_plugin.errors import MediaNotFoundError

KINDS = tuple(MOTION_WORDINGS)
"""What the coordinates of the motion stream stand for."""

_SHARES = {"fight": 1.0, "calm": 1.0, "still": 0.5, "camera": 0.5, "cut": 0.5}
_STRENGTH = 5e-4  # inverse regularization strength of the classifier
_SCALE = 0.4  # the logits have a norm of about 2.5; scaled, most vectors stay below norm 1
_MIN_STD = 0.02

# Target direction of the texts of each kind, and the norm of their motion part; the rest is appearance.
_DIRECTIONS = {
    "fight": (1.0, -0.7, 0.0, 0.0, 0.0), "calm": (-0.5, 1.0, 0.0, 0.0, 0.0), "still": (0.0, 0.0, 1.0, 0.0, 0.0),
    "camera": (0.0, 0.0, 0.0, 1.0, 0.0), "cut": (0.0, 0.0, 0.0, 0.0, 1.0),
}  # fmt: skip
_MOTION_LENGTH = {"fight": 0.9, "calm": 0.3, "still": 0.7, "camera": 0.7, "cut": 0.7}
_RIDGE = 3.0

_VIOLENCE = re.compile(
    r"\b(fight|fights|fighting|fought|punch\w*|kick\w*|beats?|beating|slap\w*|brawl\w*|attack\w*|assault\w*|scuffl\w*|"
    r"knock\w* (him|her|down))\b",
    re.IGNORECASE,
)
_VIOLENT_CLASSES = ("Abuse", "Arrest", "Assault", "Fighting", "Normal", "Robbery")
_MAX_ORDINARY = 1500
_MAX_CAPTIONS = 1500


@dataclass(frozen=True)
class LinearMap:
    """y = weight · x + bias."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __call__(self, features: Vectors) -> Vectors:
        """Map (n, inputs) to (n, outputs)."""
        return np.asarray(features @ self.weight.T + self.bias, np.float32)


def fit_motion(examples: Examples, indices: Sequence[int]) -> LinearMap:
    """Fit a multinomial logistic regression of the kinds of motion on the given clips; every source has equal weight.

    Returns:
        The map from features (5120,) to the centred, scaled logits of `KINDS`.
    """
    from sklearn.linear_model import LogisticRegression

    rows = [*_clip_rows(examples, indices), *_scene_rows(examples, indices)]
    features = np.concatenate([row.features for row in rows])
    kinds = np.concatenate([np.full(len(row.features), KINDS.index(row.kind)) for row in rows])
    weights = np.concatenate([np.full(len(row.features), row.weight / len(row.features)) for row in rows])
    for number, kind in enumerate(KINDS):
        weights[kinds == number] *= _SHARES[kind] / weights[kinds == number].sum()
    mean = np.average(features, axis=0, weights=weights)
    spread = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weights)) + _MIN_STD
    weights *= 2 * len(indices) / weights.sum()
    fitted = LogisticRegression(C=_STRENGTH, max_iter=200).fit((features - mean) / spread, kinds, sample_weight=weights)
    weight, bias = fitted.coef_ - fitted.coef_.mean(axis=0), fitted.intercept_ - fitted.intercept_.mean()
    weight = weight / spread
    return LinearMap(np.asarray(_SCALE * weight, np.float32), np.asarray(_SCALE * (bias - weight @ mean), np.float32))


def cross_fit_motion(examples: Examples, indices: Sequence[int], parts: int = 4) -> Examples:
    """Replace the motion features of each given clip by the output of `fit_motion` on clips of other sources.

    If the detector were trained on outputs for the fitted clips themselves, it would overestimate the motion stream.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    fights = np.array([examples.clips[index].fight for index in indices])
    sources = np.array([examples.clips[index].source for index in indices])
    samples = list(examples.samples)
    for fitted, held_out in StratifiedGroupKFold(parts, shuffle=True, random_state=0).split(fights, fights, sources):
        motion = fit_motion(examples, [indices[row] for row in fitted])
        for index in (indices[row] for row in held_out):
            samples[index] = _with_motion(examples.samples[index], motion)
    whole = fit_motion(examples, indices)
    return replace(
        examples,
        samples=tuple(samples),
        still=_with_motion(examples.still, whole),
        camera=_with_motion(examples.camera, whole),
        cuts=_with_motion(examples.cuts, whole),
    )


def _with_motion(samples: Samples, motion: LinearMap) -> Samples:
    return Samples(samples.objects, motion(samples.motion))


@dataclass(frozen=True)
class _Rows:
    kind: str
    features: Vectors
    weight: float


def _clip_rows(examples: Examples, indices: Sequence[int]) -> list[_Rows]:
    clips = [examples.clips[index] for index in indices]
    counts = Counter((clip.source, clip.fight) for clip in clips)
    return [
        _Rows("fight" if clip.fight else "calm", examples.samples[index].motion, 1 / counts[clip.source, clip.fight])
        for index, clip in zip(indices, clips, strict=True)
    ]


def _scene_rows(examples: Examples, indices: Sequence[int]) -> list[_Rows]:
    inside = np.isin(examples.cut_between, indices).all(axis=1)
    return [
        _Rows("still", examples.still.motion, 1.0),
        _Rows("camera", examples.camera.motion, 1.0),
        _Rows("cut", examples.cuts.motion[inside], 1.0),
    ]


@dataclass(frozen=True)
class Sentences:
    """Sentence vectors (n, 384), the targets of their motion part (n, 5) and their weights (n,)."""

    vectors: Vectors
    targets: Vectors
    weights: Vectors


def read_sentences(uca: Path, images: CaptionedImages) -> Sentences:
    """Collect sentences about motion and other sentences.

    Args:
        uca: folder of UCF-Crime Annotation; its training part is used.
        images: images whose captions do not describe motion; the first captions of the first 1,500 images are used.

    Raises:
        MediaNotFoundError: the folder does not contain UCA.
    """
    violent, ordinary = _uca_sentences(uca)
    captions = [captions[0] for captions in images.captions[:_MAX_CAPTIONS]]
    texts: list[str] = []
    targets: list[NDArray[np.float64]] = []
    weights: list[float] = []
    groups: list[tuple[Sequence[str], NDArray[np.float64], float]] = [
        (MOTION_WORDINGS[kind].trained, _target(kind), 1.0) for kind in KINDS
    ]
    groups += [(violent, _target("fight"), 1.0), (NOT_FIGHTS, np.zeros(len(KINDS)), 1.0)]
    groups += [(ordinary, np.zeros(len(KINDS)), 2.0), (captions, np.zeros(len(KINDS)), 2.0)]
    for group, target, weight in groups:
        texts += group
        targets += [target] * len(group)
        weights += [weight / len(group)] * len(group)
    return Sentences(sentence_vectors(texts), np.array(targets, np.float32), np.array(weights, np.float32))


def fit_text_motion(sentences: Sentences) -> LinearMap:
    """Fit a ridge regression of the motion part of a text on its sentence vector."""
    from sklearn.linear_model import Ridge

    weights = sentences.weights / sentences.weights.mean()
    fitted = Ridge(alpha=_RIDGE).fit(sentences.vectors, sentences.targets, sample_weight=weights)
    return LinearMap(np.asarray(fitted.coef_, np.float32), np.asarray(fitted.intercept_, np.float32))


def _target(kind: str) -> NDArray[np.float64]:
    direction = np.array(_DIRECTIONS[kind])
    # The model maps a norm l to tanh(l).
    return np.asarray(np.arctanh(_MOTION_LENGTH[kind]) * direction / np.linalg.norm(direction))


def read_uca(folder: Path) -> list[tuple[str, str]]:
    """Return the names of the videos of the training part of UCA with each of their sentences.

    Raises:
        MediaNotFoundError: the folder does not contain UCA.
    """
    table = folder / "UCFCrime_Train.json"
    if not table.is_file():
        raise MediaNotFoundError(f"no {table}", why="the folder does not contain UCA", fix="see recipes/lite/README.md")
    return [(name, text) for name, video in json.loads(table.read_text()).items() for text in video["sentences"]]


def _uca_sentences(folder: Path) -> tuple[list[str], list[str]]:
    violent, ordinary = [], []
    for name, sentence in read_uca(folder):
        if _VIOLENCE.search(sentence):
            if name.startswith(_VIOLENT_CLASSES):  # in other classes people hit cars and machines
                violent.append(sentence)
        elif name.startswith("Normal"):
            ordinary.append(sentence)
    order = np.random.default_rng(0).permutation(len(ordinary))[:_MAX_ORDINARY]
    return violent, [ordinary[number] for number in order]
