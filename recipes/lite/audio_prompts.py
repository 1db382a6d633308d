"""The sentences that the `sound` space learns from, as vectors: names and wordings of classes in several phrasings.

And what it learns of them alone: which sentences speak of sounds at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recipes.lite.audio_templates import ALIASES, TEMPLATES
from recipes.lite.sound_effect_names import TRAINED
from var_plugin.encoders.backbones.minilm import MiniLM
from var_plugin.encoders.lite.networks import AudibilityHead

_BATCH = 128


@dataclass(frozen=True)
class Phrasings:
    """Sentence vectors of some classes, class by class.

    Attributes:
        sentences: (phrasings, 384) float32.
        counts: (classes,) how many of them belong to each class.
    """

    sentences: Tensor
    counts: Tensor

    def draw(self) -> Tensor:
        """Return one phrasing per class at random, (classes, 384)."""
        first = self.counts.cumsum(0) - self.counts
        return self.sentences[first + (torch.rand(len(self.counts)) * self.counts).long()]


def blur(sentences: Tensor, length: float) -> Tensor:
    """Return unit vectors (n, 384) near the given ones: noise of that length was added."""
    return F.normalize(sentences + torch.randn_like(sentences) * length / sentences.shape[1] ** 0.5, dim=-1)


def label_phrasings(cache: Path | None = None) -> Phrasings:
    """Return the phrasings of all labels, in the order of `TRAINED`."""
    return phrasings(list(TRAINED.values()), cache)


def class_phrasings(names: Sequence[str], cache: Path | None = None) -> Phrasings:
    """Return the phrasings of AudioSet's classes, in the order of `names`."""
    return phrasings([(name.lower(), *ALIASES.get(name, ())) for name in names], cache)


def phrasings(classes: Sequence[Sequence[str]], cache: Path | None = None) -> Phrasings:
    """Return the wordings of every class, each in all templates, as sentence vectors."""
    texts = [[template.format(wording) for wording in wordings for template in TEMPLATES] for wordings in classes]
    sentences = sentence_vectors([text for found in texts for text in found], cache)
    return Phrasings(sentences, torch.from_numpy(np.array([len(found) for found in texts])))


def sentence_vectors(texts: Sequence[str], cache: Path | None = None) -> Tensor:
    """Return MiniLM's published vectors of sentences, (len(texts), 384), kept in the folder `cache` if one is given."""
    if cache is None:
        return _encoded(texts)
    file = cache / f"sentences-{hashlib.sha256(repr(list(texts)).encode()).hexdigest()[:16]}.npy"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, _encoded(texts).numpy())
    return torch.from_numpy(np.load(file))


def learn_audible(audible: AudibilityHead, spoken: Tensor, silent: Tensor, decay: float) -> None:
    """Fit the logistic regression that tells sentences about sounds from captions of images, each side alike.

    Args:
        audible: what is fitted.
        spoken: (n, 384) vectors of sentences about sounds.
        silent: (m, 384) vectors of captions.
        decay: of its weights.
    """
    sentences = torch.cat([spoken, silent])
    truth = torch.cat([torch.ones(len(spoken)), torch.zeros(len(silent))])
    weight = torch.cat([torch.full((len(side),), 0.5 / len(side)) for side in (spoken, silent)])
    optimizer = torch.optim.LBFGS(audible.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = F.binary_cross_entropy_with_logits(
            audible.linear(sentences).squeeze(-1), truth, weight, reduction="sum"
        )
        total: Tensor = found + decay * audible.linear.weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]


def _encoded(texts: Sequence[str]) -> Tensor:
    model = MiniLM()
    batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
    with torch.inference_mode():
        sentences = torch.cat([model.sentence(*model.trunk(batch)) for batch in batches])
    return sentences.clone()
