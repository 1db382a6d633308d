"""Fit the general part of the lite vectors: the names of the ImageNet classes as points among sentences."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from var_plugin.encoders.backbones.minilm import MiniLM
from var_plugin.encoders.lite_general import GeneralPart


@torch.inference_mode()
def fit_general(names: Sequence[str], *, dim: int) -> GeneralPart:
    """Return the part for class names in the order of the logits, projected on their `dim` principal directions."""
    model = MiniLM()
    sentences = model.sentence(*model.trunk(names))
    centre = sentences.mean(0)
    _, _, directions = torch.linalg.svd(sentences - centre, full_matrices=False)
    projection = directions[:dim].T.contiguous()
    return GeneralPart(centre, projection, (sentences - centre) @ projection)
