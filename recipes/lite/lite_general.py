"""Fit the general part of the lite vectors: class names and captions as points among MiniLM's sentences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from var_plugin.encoders.backbones.minilm import MiniLM
from var_plugin.encoders.lite.networks import in_distribution_ratio

_CAPTION_DIRECTIONS = 64
_CAPTION_QUANTILE = 0.25  # three quarters of all captions count as ordinary
_BATCH = 64


@torch.inference_mode()
def fit_general(names: Sequence[str], captions: Sequence[str], *, dim: int) -> dict[str, Tensor]:
    """Return the tensors of a `ConSEHead`.

    Args:
        names: the class names in the order of the logits.
        captions: examples of what the learned part was trained on.
        dim: so many principal directions of the names are kept.
    """
    model = MiniLM()
    classes, told = _sentences(model, names), _sentences(model, captions)
    centre, projection = _principal_directions(classes, dim)
    caption_centre, caption_directions = _principal_directions(told, _CAPTION_DIRECTIONS)
    likeness = [in_distribution_ratio(vectors, caption_centre, caption_directions) for vectors in (classes, told)]
    return {
        "centre": centre,
        "projection": projection,
        "classes": (classes - centre) @ projection,
        "caption_centre": caption_centre,
        "caption_directions": caption_directions,
        "familiar": torch.stack([likeness[0].median(), likeness[1].quantile(_CAPTION_QUANTILE)]),
    }


def _sentences(model: MiniLM, texts: Sequence[str]) -> Tensor:
    batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
    return torch.cat([model.sentence(*model.trunk(batch)) for batch in batches])


def _principal_directions(vectors: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the mean (width,) and the `count` directions (width, count) of largest variance."""
    centre = vectors.mean(0)
    _, _, directions = torch.linalg.svd(vectors - centre, full_matrices=False)
    return centre, directions[:count].T.contiguous()
