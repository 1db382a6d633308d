"""What the towers of the `sound` space are taught: windows, what they are called, and how often each is heard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from var_plugin.training.sound_features import SoundFeatures
from var_plugin.training.sound_texts import Phrasings
from var_plugin.training.sound_wordings import WORDINGS
from var_plugin.training.sounds import Recording

_LABELS = tuple(WORDINGS)


@dataclass(frozen=True)
class Lessons:
    """What is taught: windows, the labels of their recordings, how often each is drawn, and the texts.

    Attributes:
        features: the windows of all recordings.
        labels: (windows, labels) float32, one-hot; zeros where there is no label.
        names: (windows, 521) float32, the shares of what the teacher hears.
        chances: (windows,) float64, of being drawn; they add up to one.
        label_texts, name_texts: phrasings of the labels and of the teacher's classes.
    """

    features: SoundFeatures
    labels: Tensor
    names: Tensor
    chances: NDArray[np.float64]
    label_texts: Phrasings
    name_texts: Phrasings


def prepare(
    recordings: Sequence[Recording],
    features: SoundFeatures,
    classifier: tuple[Tensor, Tensor],
    texts: tuple[Phrasings, Phrasings],
    shares: Mapping[str, float],
) -> Lessons:
    """Join features with labels, the teacher's judgement and texts, and decide how often each window is heard.

    Args:
        recordings: what the features were computed from.
        features: of their windows.
        classifier: the teacher's weight (521, 1024) and bias.
        texts: of the labels, and of the teacher's classes.
        shares: of each batch, by collection.
    """
    numbers = np.array([-1 if r.label is None else _LABELS.index(r.label) for r in recordings])[features.recording]
    labels = torch.from_numpy(numbers)
    owners = [recordings[place] for place in features.recording]
    scores = F.linear(torch.from_numpy(features.features.astype(np.float32)), *classifier).sigmoid()
    return Lessons(
        features=features,
        labels=F.one_hot(labels.clamp_min(0), len(_LABELS)) * (labels >= 0)[:, None].float(),
        names=scores / scores.sum(1, keepdim=True),
        chances=chances(owners, features.loudness.astype(np.float64), shares),
        label_texts=texts[0],
        name_texts=texts[1],
    )


def chances(
    owners: Sequence[Recording], weights: NDArray[np.float64], shares: Mapping[str, float], *, by_label: bool = True
) -> NDArray[np.float64]:
    """Return how often each window is drawn: every recording of a source and source of a class alike.

    Args:
        owners: the recording of each window.
        weights: (windows,) how often a window counts beside the others of its recording.
        shares: of the draws, by collection.
        by_label: draw every class of a collection alike, too.
    """
    levels = [
        [str(owner.path) for owner in owners],
        [f"{owner.collection}/{owner.label}/{owner.source}" for owner in owners],
        [f"{owner.collection}/{owner.label}" for owner in owners],
        [owner.collection for owner in owners],
    ]
    found = weights.copy()
    for level in levels if by_label else [level for level in levels if level is not levels[2]]:
        _, group = np.unique(np.array(level), return_inverse=True)
        found /= np.bincount(group, found)[group]
    found *= [shares[owner.collection] for owner in owners]
    return np.asarray(found / found.sum())


@dataclass(frozen=True)
class Batch:
    """Some of the windows, in one of their views each."""

    log_mel: Tensor
    """(batch, 96, 64)."""
    labels: Tensor
    """(batch, labels); rows add up to one, or to less where a part has no label."""
    names: Tensor
    """(batch, 521); rows add up to one."""


def batches(lessons: Lessons, *, steps: int, size: int, seed: int) -> Iterator[Batch]:
    """Yield so many batches of that size."""
    random = np.random.default_rng(seed)
    known = lessons.features
    for _ in range(steps):
        rows = random.choice(len(lessons.chances), size=size, p=lessons.chances)
        view = random.integers(len(known.log_mel), size=size)
        behind = known.behind[view, rows]
        share = torch.from_numpy(known.share[view, rows])[:, None]
        yield Batch(
            log_mel=torch.from_numpy(known.log_mel[view, rows].astype(np.float32)),
            labels=share * lessons.labels[rows] + (1 - share) * lessons.labels[behind],
            names=share * lessons.names[rows] + (1 - share) * lessons.names[behind],
        )
