"""What the towers of the `sound` space are taught: windows, what they are called, and how often each is heard."""

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

from recipes.lite.audio_features import SoundFeatures, cached_features, hear
from recipes.lite.audio_prompts import Phrasings
from recipes.lite.audio_sources import LAST_ROUND, Part, Recording, read_recordings, select
from recipes.lite.sound_effect_names import TRAINED
from recipes.lite.yamnet import Yamnet
from var_plugin.encoders.lite.networks import AudioCNN

TAUGHT: tuple[Part, ...] = ("train", "validation")
"""What towers learn from while something is left to measure."""

_LABELS = tuple(TRAINED)


@dataclass(frozen=True)
class Taught:
    """Recordings, their windows, and what the network makes of every view of them, (views, windows, 1024)."""

    recordings: Sequence[Recording]
    features: SoundFeatures
    heard: NDArray[np.float16]


@dataclass(frozen=True)
class Known:
    """Recordings of a part, and what is computed of them once."""

    recordings: Sequence[Recording]
    features: SoundFeatures

    def heard_by(self, network: AudioCNN) -> Taught:
        """Add what a network makes of them."""
        return Taught(self.recordings, self.features, hear(network, self.features))


def collect(
    data: Path, cache: Path, yamnet: Yamnet, parts: Sequence[Part] = TAUGHT, *, round_number: int = LAST_ROUND
) -> dict[Part, Known]:
    """Return the recordings of the parts, as the round makes them; features that are not in `cache` are computed."""
    recordings, trunk = read_recordings(data, cache / "effects", round_number=round_number), yamnet.trunk()
    chosen = {part: select(recordings, part=part) for part in parts}
    return {
        part: Known(found, cached_features(found, trunk, cache / f"{part}-{_digest(found)}"))
        for part, found in chosen.items()
    }


def _digest(recordings: Sequence[Recording]) -> str:
    """Return what names a list of recordings: features belong to places in it."""
    names = [(recording.collection, recording.path.parent.name, recording.path.name) for recording in recordings]
    return hashlib.sha256(repr(names).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Lessons:
    """What is taught: windows, the labels of their recordings, how often each is drawn, and the texts.

    Attributes:
        heard: (views, windows, 1024) float16: what the network makes of them, and last what it should make of those as
            recorded, the roots of the teacher's features. It knows the recordings that it learned from too well.
        behind, share: (views, windows), as in `SoundFeatures`; the last as the first.
        labels: (windows, labels) float32, one-hot; zeros where there is no label.
        names: (windows, 521) float32, the shares of what the teacher hears more than usual.
        chances: (windows,) float64, of being drawn; they add up to one.
        label_texts, name_texts: phrasings of the labels and of the teacher's classes.
    """

    heard: NDArray[np.float16]
    behind: NDArray[np.int64]
    share: NDArray[np.float32]
    labels: Tensor
    names: Tensor
    chances: NDArray[np.float64]
    label_texts: Phrasings
    name_texts: Phrasings

    @cached_property
    def learned(self) -> Tensor:
        """(labels,) bool: there is a window with the label."""
        return self.labels.any(0)


def prepare(
    parts: Sequence[Taught],
    classifier: tuple[Tensor, Tensor],
    texts: tuple[Phrasings, Phrasings],
    shares: Mapping[str, float],
) -> Lessons:
    """Join what is heard with labels, the teacher's judgement and texts, and decide how often each window is heard.

    Args:
        parts: what is taught.
        classifier: the teacher's weight (521, 1024) and bias.
        texts: of the labels, and of the teacher's classes.
        shares: of each batch, by collection.
    """
    owners = [part.recordings[place] for part in parts for place in part.features.recording]
    labels = torch.from_numpy(np.array([-1 if each.label is None else _LABELS.index(each.label) for each in owners]))
    drawn = chances(owners, np.concatenate([part.features.loudness for part in parts]).astype(np.float64), shares)
    features = np.concatenate([part.features.features for part in parts]).astype(np.float32)
    behind = _behind([part.features for part in parts])
    share = np.concatenate([part.features.share for part in parts], axis=1)
    return Lessons(
        heard=np.concatenate(
            [np.concatenate([part.heard for part in parts], axis=1), np.sqrt(features).astype(np.float16)[None]]
        ),
        behind=np.concatenate([behind, behind[:1]]),
        share=np.concatenate([share, share[:1]]),
        labels=F.one_hot(labels.clamp_min(0), len(_LABELS)) * (labels >= 0)[:, None].float(),
        names=_unusual(F.linear(torch.from_numpy(features), *classifier), torch.from_numpy(drawn).float()),
        chances=drawn,
        label_texts=texts[0],
        name_texts=texts[1],
    )


def _behind(parts: Sequence[SoundFeatures]) -> NDArray[np.int64]:
    """Return `behind` of windows that now follow each other."""
    firsts = np.cumsum([0, *(len(part.recording) for part in parts[:-1])])
    return np.concatenate([part.behind + first for part, first in zip(parts, firsts, strict=True)], axis=1)


def _unusual(logits: Tensor, drawn: Tensor) -> Tensor:
    """Turn class scores (windows, 521) into shares of what stands out, beside what is heard in the windows as drawn.

    The teacher hears a vehicle, speech or music in nearly everything; a drill or a fan has small scores and tells more.
    """
    return (logits - drawn @ logits).softmax(1)


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

    heard: Tensor
    """(batch, 1024)."""
    labels: Tensor
    """(batch, labels); rows add up to one, or to less where a part has no label."""
    names: Tensor
    """(batch, 521); rows add up to one."""


def batches(lessons: Lessons, *, steps: int, size: int, seed: int) -> Iterator[Batch]:
    """Yield so many batches of that size."""
    random = np.random.default_rng(seed)
    for _ in range(steps):
        rows = random.choice(len(lessons.chances), size=size, p=lessons.chances)
        view = random.integers(len(lessons.heard), size=size)
        behind = lessons.behind[view, rows]
        share = torch.from_numpy(lessons.share[view, rows])[:, None]
        yield Batch(
            heard=torch.from_numpy(lessons.heard[view, rows].astype(np.float32)),
            labels=share * lessons.labels[rows] + (1 - share) * lessons.labels[behind],
            names=share * lessons.names[rows] + (1 - share) * lessons.names[behind],
        )
