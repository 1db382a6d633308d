"""Build the training data of the towers of the `sound` space: windows, their targets and their sampling weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from recipes.lite.audio_features import WindowFeatures, cached_features, encode_windows
from recipes.lite.audio_prompts import Phrasings
from recipes.lite.audio_sources import LAST_FOLD, Part, Recording, read_recordings, select
from recipes.lite.sound_effect_names import TRAINED
from recipes.lite.yamnet import Yamnet
from var_plugin.encoders.lite.networks import AudioCNN

TRAINING_PARTS: tuple[Part, ...] = ("train", "validation")
"""The parts that towers are trained on while the test part is held out."""

_LABELS = tuple(TRAINED)


@dataclass(frozen=True)
class EncodedSet:
    """Recordings, the features of their windows, and the network's embeddings of every view.

    Attributes:
        recordings: the recordings, in the order that `features.recording` refers to.
        features: what is computed of the windows once.
        embeddings: (views, windows, 1024) float16.
    """

    recordings: Sequence[Recording]
    features: WindowFeatures
    embeddings: NDArray[np.float16]


@dataclass(frozen=True)
class RawSet:
    """The recordings of a part and the features of their windows."""

    recordings: Sequence[Recording]
    features: WindowFeatures

    def encode(self, network: AudioCNN) -> EncodedSet:
        """Return the set with the network's embeddings of every window."""
        return EncodedSet(self.recordings, self.features, encode_windows(network, self.features))


def collect(
    data: Path, cache: Path, yamnet: Yamnet, parts: Sequence[Part] = TRAINING_PARTS, *, fold_id: int = LAST_FOLD
) -> dict[Part, RawSet]:
    """Return the recordings of the parts, divided as `fold_id` says; compute features that `cache` does not hold."""
    recordings, trunk = read_recordings(data, cache / "effects", fold_id=fold_id), yamnet.trunk()
    by_part = {part: select(recordings, part=part) for part in parts}
    return {
        part: RawSet(group, cached_features(group, trunk, cache / f"{part}-{_digest(group)}"))
        for part, group in by_part.items()
    }


def _digest(recordings: Sequence[Recording]) -> str:
    """Return a hash of the list of recordings, because features refer to positions in it."""
    names = [(recording.collection, recording.path.parent.name, recording.path.name) for recording in recordings]
    return hashlib.sha256(repr(names).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class TrainingData:
    """What the towers are trained on.

    Attributes:
        embeddings: (views, windows, 1024) float16, the network's outputs. The last view holds the outputs that the
            network is trained towards: the square roots of the teacher's features of the unmodified windows. The
            network overfits to its own training recordings, the teacher does not.
        mixup_index, mixup_weight: (views, windows), as in `WindowFeatures`; the last view repeats the first.
        labels: (windows, labels) float32, one-hot; zeros for windows without a label.
        teacher_targets: (windows, 521) float32, a distribution over the teacher's classes.
        sampling_weights: (windows,) float64, the probability of drawing each window.
        label_texts, class_texts: phrasings of the labels and of the teacher's classes.
    """

    embeddings: NDArray[np.float16]
    mixup_index: NDArray[np.int64]
    mixup_weight: NDArray[np.float32]
    labels: Tensor
    teacher_targets: Tensor
    sampling_weights: NDArray[np.float64]
    label_texts: Phrasings
    class_texts: Phrasings

    @cached_property
    def label_is_present(self) -> Tensor:
        """(labels,) bool, true where at least one window has the label."""
        return self.labels.any(0)


def build_training_data(
    parts: Sequence[EncodedSet],
    classifier: tuple[Tensor, Tensor],
    texts: tuple[Phrasings, Phrasings],
    shares: Mapping[str, float],
) -> TrainingData:
    """Join the parts and compute the targets and the sampling weights of their windows.

    Args:
        parts: the encoded recordings.
        classifier: the teacher's weight (521, 1024) and bias (521,).
        texts: phrasings of the labels and of the teacher's classes.
        shares: share of each batch by collection.
    """
    owners = [part.recordings[position] for part in parts for position in part.features.recording]
    labels = torch.from_numpy(np.array([-1 if each.label is None else _LABELS.index(each.label) for each in owners]))
    loudness = np.concatenate([part.features.loudness for part in parts]).astype(np.float64)
    weights = sampling_weights(owners, loudness, shares)
    features = np.concatenate([part.features.features for part in parts]).astype(np.float32)
    mixup_index = _joined_mixup_index([part.features for part in parts])
    mixup_weight = np.concatenate([part.features.mixup_weight for part in parts], axis=1)
    embeddings = np.concatenate([part.embeddings for part in parts], axis=1)
    return TrainingData(
        embeddings=np.concatenate([embeddings, np.sqrt(features).astype(np.float16)[None]]),
        mixup_index=np.concatenate([mixup_index, mixup_index[:1]]),
        mixup_weight=np.concatenate([mixup_weight, mixup_weight[:1]]),
        labels=F.one_hot(labels.clamp_min(0), len(_LABELS)) * (labels >= 0)[:, None].float(),
        teacher_targets=_relative_class_distribution(
            F.linear(torch.from_numpy(features), *classifier), torch.from_numpy(weights).float()
        ),
        sampling_weights=weights,
        label_texts=texts[0],
        class_texts=texts[1],
    )


def _joined_mixup_index(parts: Sequence[WindowFeatures]) -> NDArray[np.int64]:
    """Concatenate `mixup_index` of several parts, shifted to the joined windows."""
    offsets = np.cumsum([0, *(len(part.recording) for part in parts[:-1])])
    return np.concatenate([part.mixup_index + first for part, first in zip(parts, offsets, strict=True)], axis=1)


def _relative_class_distribution(logits: Tensor, weights: Tensor) -> Tensor:
    """Return the softmax of class logits (windows, 521) relative to their mean over the windows.

    The teacher scores vehicle, speech and music high for nearly every window. Subtracting the mean, weighted by the
    sampling weights (windows,), emphasizes the classes that distinguish a window.
    """
    return (logits - weights @ logits).softmax(1)


def sampling_weights(
    owners: Sequence[Recording], weights: NDArray[np.float64], shares: Mapping[str, float], *, by_label: bool = True
) -> NDArray[np.float64]:
    """Return the probability (windows,) of drawing each window.

    Recordings of a source, and sources of a class, have equal probability.

    Args:
        owners: the recording of each window.
        weights: (windows,) relative weight of a window among those of its recording.
        shares: share of the draws by collection.
        by_label: also give the classes of a collection equal probability.
    """
    levels = [
        [str(owner.path) for owner in owners],
        [f"{owner.collection}/{owner.label}/{owner.source}" for owner in owners],
        [f"{owner.collection}/{owner.label}" for owner in owners],
        [owner.collection for owner in owners],
    ]
    result = weights.copy()
    for level in levels if by_label else [level for level in levels if level is not levels[2]]:
        _, group = np.unique(np.array(level), return_inverse=True)
        result /= np.bincount(group, result)[group]
    result *= [shares[owner.collection] for owner in owners]
    return np.asarray(result / result.sum())


@dataclass(frozen=True)
class Batch:
    """A batch of windows, each in one of its views.

    Attributes:
        embeddings: (batch, 1024) float32.
        labels: (batch, labels); a row sums to one, or to less where a mixed-in window has no label.
        teacher_targets: (batch, 521); a row sums to one.
    """

    embeddings: Tensor
    labels: Tensor
    teacher_targets: Tensor


def batches(data: TrainingData, *, steps: int, size: int, seed: int) -> Iterator[Batch]:
    """Yield `steps` batches of `size` windows; targets are interpolated by the mixup weights."""
    random = np.random.default_rng(seed)
    for _ in range(steps):
        rows = random.choice(len(data.sampling_weights), size=size, p=data.sampling_weights)
        view = random.integers(len(data.embeddings), size=size)
        others = data.mixup_index[view, rows]
        weight = torch.from_numpy(data.mixup_weight[view, rows])[:, None]
        yield Batch(
            embeddings=torch.from_numpy(data.embeddings[view, rows].astype(np.float32)),
            labels=weight * data.labels[rows] + (1 - weight) * data.labels[others],
            teacher_targets=weight * data.teacher_targets[rows] + (1 - weight) * data.teacher_targets[others],
        )
