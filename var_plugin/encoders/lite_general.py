"""The general part of the lite vectors: what ImageNet knows, so that queries far from the captions still work.

ConSE (Norouzi et al. 2014, "Zero-Shot Learning by Convex Combination of Semantic Embeddings"): a picture stands where
the names of its classes stand among sentences, weighted by the classifier's probabilities. The names' sentence vectors
are centred, then reduced by a projection that keeps most of their variance.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class GeneralPart(nn.Module):
    """Class scores and sentence vectors to comparable unit vectors; nothing in it is trained."""

    centre: Tensor
    projection: Tensor
    classes: Tensor

    def __init__(self, centre: Tensor, projection: Tensor, classes: Tensor) -> None:
        """Keep `centre` (384,), `projection` (384, dim) and the projected class names `classes` (1000, dim)."""
        super().__init__()
        for name, value in (("centre", centre), ("projection", projection), ("classes", classes)):
            self.register_buffer(name, value)

    def picture(self, logits: Tensor) -> Tensor:
        """Map ImageNet logits (batch, 1000) to (batch, dim)."""
        return F.normalize(logits.softmax(dim=-1) @ self.classes, dim=-1)

    def text(self, sentences: Tensor) -> Tensor:
        """Map published sentence vectors (batch, 384) to (batch, dim)."""
        return F.normalize((sentences - self.centre) @ self.projection, dim=-1)
