"""Stills of the lite suite: EfficientNet-Lite0 and MiniLM meet in one space, on a CPU, with no network.

`lite_alan` adds motion to it; `lite_suite` puts the suite together. A vector has a learned part, trained on captioned
images, and a general part (`lite_general`), so the inner product is a weighted sum of two cosines. The text decides
how much each counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from var_plugin.encoders.backbones import minilm
from var_plugin.encoders.backbones.efficientnet_lite import OUTPUTS, SIZE, WEIGHTS_SHA256, EfficientNetLite
from var_plugin.encoders.base import ImageArray, Vectors, l2_normalize
from var_plugin.encoders.weights import LITE, WeightFolder, in_batches

if TYPE_CHECKING:
    from torch import Tensor


class LiteImageEncoder:
    """Images to the `scene` space; satisfies `ImageEncoder`."""

    size = (SIZE, SIZE)

    def __init__(self, folder: Path = LITE) -> None:
        """Remember where the weights are; they load at the first `encode`."""
        self._weights = LiteWeights(folder)

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32 of length one for (224, 224, 3) uint8 RGB images.

        Raises:
            InvalidInputError: an image has another shape or type.
            MissingWeightsError: weights are missing or are not the pinned ones.
        """
        return in_batches(self._encode, images, self._weights.configuration["dim"])

    def _encode(self, images: Sequence[ImageArray]) -> Vectors:
        import torch

        features, logits = self._backbone.features(images, ["features", "logits"])
        tokens = torch.from_numpy(features).flatten(2).transpose(1, 2)
        general = self._weights.general.image(torch.from_numpy(logits))
        return _join(self._tower(tokens), general, torch.tensor(self._weights.configuration["general_share"]["image"]))

    @cached_property
    def _backbone(self) -> EfficientNetLite:
        return EfficientNetLite(deltas={name: delta.numpy() for name, delta in self._weights.deltas("top").items()})

    @cached_property
    def _tower(self) -> Tower:
        return self._weights.tower("picture_tower", OUTPUTS["features"][0])


class LiteTextEncoder:
    """Sentences to the `scene` space; satisfies `TextEncoder`."""

    def __init__(self, folder: Path = LITE) -> None:
        """Remember where the weights are; they load at the first `encode`."""
        self._weights = LiteWeights(folder)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 of length one.

        Raises:
            MissingWeightsError: weights are missing.
        """
        return in_batches(lambda batch: self.read(batch)[0], texts, self._weights.configuration["dim"])

    def read(self, texts: Sequence[str]) -> tuple[Vectors, Tensor]:
        """Return the vectors of one batch, and the sentence vectors (n, 384) as MiniLM was published."""
        trunk, mask = self.backbone.trunk(texts)
        learned = self._tower(self.backbone.tuned(trunk, mask), mask)
        sentences = self.backbone.sentence(trunk, mask)
        general = self._weights.general
        low, high = self._weights.configuration["general_share"]["text"]
        share = low + (high - low) * general.strangeness(sentences)[:, None]
        return _join(learned, general.text(sentences), share), sentences

    @cached_property
    def backbone(self) -> minilm.MiniLM:
        """The network, which other spaces may share."""
        return minilm.MiniLM(deltas=self._weights.deltas("layers"))

    @cached_property
    def _tower(self) -> Tower:
        return self._weights.tower("text_tower", minilm.WIDTH)


class LiteWeights(WeightFolder):
    """A folder with `scene.safetensors` and `scene.json`, read when needed."""

    def __init__(self, folder: Path = LITE) -> None:
        """Remember the folder."""
        super().__init__(folder, "scene", depends_on=f"{WEIGHTS_SHA256} {minilm.PACKAGE}")

    def tower(self, name: str, width: int) -> Tower:
        """Return the tower of that name, ready for use."""
        tower = Tower(width, **self.configuration["tower"])
        tower.load_state_dict(self.part(name))
        return tower.eval()

    def deltas(self, name: str) -> dict[str, Tensor]:
        """Return the changes of a backbone's weights, by layer."""
        factors = self.part(name)
        layers = [key.removesuffix(".up") for key in factors if key.endswith(".up")]
        return {layer: low_rank_delta(factors[f"{layer}.up"], factors[f"{layer}.down"]) for layer in layers}

    @cached_property
    def general(self) -> ConSEHead:
        """The untrained part of both encoders."""
        return ConSEHead(self.part("general"))


def _join(learned: Tensor, general: Tensor, share: Tensor) -> Vectors:
    """Concatenate two unit vectors; `share` is that of the general part in the squared length."""
    return l2_normalize(np.hstack([((1 - share).sqrt() * learned).numpy(), (share.sqrt() * general).numpy()]))


class ConSEHead:
    """Class scores and sentence vectors to comparable unit vectors; nothing in it is trained."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `recipes.lite.lite_general.fit_general` found.

        Args:
            tensors: "centre" (384,) and "projection" (384, dim) of the class names; "classes" (1000, dim), the names
                projected; "caption_centre" (384,) and "caption_directions" (384, k); "familiar" (2,), the part of
                a sentence vector in these directions for an ordinary class name and for an ordinary caption.
        """
        self._tensors = tensors

    def image(self, logits: Tensor) -> Tensor:
        """Map ImageNet logits (batch, 1000) to (batch, dim)."""
        return F.normalize(logits.softmax(dim=-1) @ self._tensors["classes"], dim=-1)

    def text(self, sentences: Tensor) -> Tensor:
        """Map published sentence vectors (batch, 384) to (batch, dim)."""
        return F.normalize((sentences - self._tensors["centre"]) @ self._tensors["projection"], dim=-1)

    def strangeness(self, sentences: Tensor) -> Tensor:
        """Return per sentence vector (batch, 384) 0 for an ordinary caption to 1 for what is as far as class names."""
        name, caption = self._tensors["familiar"]
        found = in_distribution_ratio(sentences, self._tensors["caption_centre"], self._tensors["caption_directions"])
        distance: Tensor = (caption - found) / (caption - name)
        return distance.clamp(0, 1)


def in_distribution_ratio(sentences: Tensor, centre: Tensor, directions: Tensor) -> Tensor:
    """Return the part, in 0…1, of each centred sentence vector that lies in the captions' directions."""
    centred = sentences - centre
    inside: Tensor = (centred @ directions).square().sum(-1)
    return inside / centred.square().sum(-1).clamp_min(torch.finfo().tiny)


class Tower(nn.Module):
    """Tokens to one unit vector: their mean and a few attention-weighted means, projected together.

    The residual branch on the plain mean adds what a linear map cannot say.
    """

    def __init__(self, width: int, *, queries: int, hidden: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = nn.Linear(width, queries)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width * (queries + 1), dim)
        self.residual = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map tokens (batch, time, width), where `mask` (batch, time) is 1, to (batch, dim) float32 of length one."""
        if mask is None:
            mask = tokens.new_ones(tokens.shape[:2])
        uniform = torch.zeros_like(tokens[..., :1])
        scores = torch.cat([uniform, self.attention(tokens)], dim=-1)
        weights = scores.masked_fill(mask[..., None] == 0, float("-inf")).softmax(dim=1)
        pooled = self.dropout(self.norm(weights.transpose(1, 2) @ tokens))
        vectors: Tensor = self.project(pooled.flatten(1)) + self.residual(pooled[:, 0])
        return F.normalize(vectors, dim=-1)


class LowRank(nn.Module):
    """A parametrisation: a frozen weight plus a product of two thin matrices (LoRA, Hu et al. 2021), at first zero."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns, *kernel = weight.shape
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns, *kernel) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight, in its own shape."""
        return weight + low_rank_delta(self.up, self.down)


def low_rank_delta(up: Tensor, down: Tensor) -> Tensor:
    """Return the change of a weight: `up` (rows, rank) times `down` (rank, columns), or (rank, columns, 1, 1)."""
    delta: Tensor = torch.tensordot(up, down, dims=1)
    return delta
