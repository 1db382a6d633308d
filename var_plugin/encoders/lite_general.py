"""The general part of the lite vectors: what ImageNet knows, so that queries far from the captions still work.

ConSE (Norouzi et al. 2014, "Zero-Shot Learning by Convex Combination of Semantic Embeddings"): a picture stands where
the names of its classes stand among sentences, weighted by the classifier's probabilities. The names' sentence vectors
are centred, then reduced by a projection that keeps most of their variance.

How much this part counts depends on the query. The learned part knows what captions talk about and is at a loss with
"rocket"; so the less a query looks like a caption, the larger the share of the general part. The measure is how much of
the query's sentence vector lies in the directions in which captions vary.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


class GeneralPart:
    """Class scores and sentence vectors to comparable unit vectors; nothing in it is trained."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `var_plugin.training.lite_general.fit_general` found.

        Args:
            tensors: "centre" (384,) and "projection" (384, dim) of the class names; "classes" (1000, dim), the names
                projected; "caption_centre" (384,) and "caption_directions" (384, k); "familiar" (2,), the part of
                a sentence vector in these directions for an ordinary class name and for an ordinary caption.
        """
        self._tensors = tensors

    def picture(self, logits: Tensor) -> Tensor:
        """Map ImageNet logits (batch, 1000) to (batch, dim)."""
        return F.normalize(logits.softmax(dim=-1) @ self._tensors["classes"], dim=-1)

    def text(self, sentences: Tensor) -> Tensor:
        """Map published sentence vectors (batch, 384) to (batch, dim)."""
        return F.normalize((sentences - self._tensors["centre"]) @ self._tensors["projection"], dim=-1)

    def strangeness(self, sentences: Tensor) -> Tensor:
        """Return per sentence vector (batch, 384) 0 for an ordinary caption to 1 for what is as far as class names."""
        name, caption = self._tensors["familiar"]
        found = caption_likeness(sentences, self._tensors["caption_centre"], self._tensors["caption_directions"])
        distance: Tensor = (caption - found) / (caption - name)
        return distance.clamp(0, 1)


def caption_likeness(sentences: Tensor, centre: Tensor, directions: Tensor) -> Tensor:
    """Return the part, in 0…1, of each centred sentence vector that lies in the captions' directions."""
    centred = sentences - centre
    inside: Tensor = (centred @ directions).square().sum(-1)
    return inside / centred.square().sum(-1).clamp_min(torch.finfo().tiny)
