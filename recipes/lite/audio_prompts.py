"""Turn class names and wordings, in several phrasings, into the sentence vectors that the `sound` space is trained on.

The module also fits the head that predicts which sentences describe sounds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
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
    """The sentence vectors of some classes, class by class.

    Attributes:
        sentences: (phrasings, 384) float32.
        counts: (classes,), number of phrasings of each class.
    """

    sentences: Tensor
    counts: Tensor

    def draw(self) -> Tensor:
        """Return one random phrasing per class, (classes, 384)."""
        first = self.counts.cumsum(0) - self.counts
        return self.sentences[first + (torch.rand(len(self.counts)) * self.counts).long()]


def add_embedding_noise(sentences: Tensor, norm: float) -> Tensor:
    """Return unit vectors (n, 384) near the given ones: Gaussian noise of about that norm is added."""
    return F.normalize(sentences + torch.randn_like(sentences) * norm / sentences.shape[1] ** 0.5, dim=-1)


def label_phrasings(cache: Path | None = None) -> Phrasings:
    """Return the phrasings of all labels, in the order of `TRAINED`."""
    return phrasings(list(TRAINED.values()), cache)


def class_phrasings(names: Sequence[str], cache: Path | None = None) -> Phrasings:
    """Return the phrasings of AudioSet's classes, in the order of `names`."""
    return phrasings([(name.lower(), *ALIASES.get(name, ())) for name in names], cache)


def phrasings(classes: Sequence[Sequence[str]], cache: Path | None = None) -> Phrasings:
    """Return the sentence vectors of the wordings of every class, each in all templates."""
    texts = [[template.format(wording) for wording in wordings for template in TEMPLATES] for wordings in classes]
    sentences = sentence_vectors([text for of_class in texts for text in of_class], cache)
    return Phrasings(sentences, torch.from_numpy(np.array([len(of_class) for of_class in texts])))


def sentence_vectors(texts: Sequence[str], cache: Path | None = None) -> Tensor:
    """Return MiniLM's published sentence vectors (texts, 384), cached in the folder `cache` if given."""
    if cache is None:
        return _encoded(texts)
    file = cache / f"sentences-{hashlib.sha256(repr(list(texts)).encode()).hexdigest()[:16]}.npy"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, _encoded(texts).numpy())
    return torch.from_numpy(np.load(file))


def fit_audibility(head: AudibilityHead, audible_texts: Tensor, captions: Tensor, decay: float) -> None:
    """Fit the logistic regression that separates sentences about sounds from image captions, with balanced classes.

    Args:
        head: the head to fit in place.
        audible_texts: (n, 384), vectors of sentences about sounds.
        captions: (m, 384), vectors of image captions.
        decay: L2 penalty of the weights.
    """
    sentences = torch.cat([audible_texts, captions])
    truth = torch.cat([torch.ones(len(audible_texts)), torch.zeros(len(captions))])
    weight = torch.cat([torch.full((len(side),), 0.5 / len(side)) for side in (audible_texts, captions)])
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        cross_entropy = F.binary_cross_entropy_with_logits(
            head.linear(sentences).squeeze(-1), truth, weight, reduction="sum"
        )
        total: Tensor = cross_entropy + decay * head.linear.weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]


@cache
def _minilm() -> MiniLM:
    """Return the network, which is loaded once per process."""
    return MiniLM()


def _encoded(texts: Sequence[str]) -> Tensor:
    model = _minilm()
    batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
    with torch.inference_mode():
        sentences = torch.cat([model.sentence(*model.trunk(batch)) for batch in batches])
    return sentences.clone()
