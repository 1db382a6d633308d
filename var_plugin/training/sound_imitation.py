"""How the sound network is held against the teacher.

It is to give the square roots of the teacher's features: a few of those are so large that they would decide everything.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from var_plugin.encoders.backbones.sound_network import SoundNetwork
from var_plugin.training.sound_features import SoundFeatures

_LEAST_DEVIATION = 1e-3


def begin(network: SoundNetwork, features: SoundFeatures) -> None:
    """Let the network answer with the mean of what it is to learn, and learn each part of it at that part's scale."""
    roots = np.sqrt(features.features[0].astype(np.float32))
    network.mean.copy_(torch.from_numpy(roots.mean(0)))
    network.deviation.copy_(torch.from_numpy(roots.std(0)).clamp_min(_LEAST_DEVIATION))
    nn.init.zeros_(network.last.weight)
    nn.init.zeros_(network.last.bias)


def difference(heard: Tensor, wanted: Tensor, classifier: tuple[Tensor, Tensor], scores_weight: float) -> Tensor:
    """Return how far what the network heard is from the teacher, in size, in direction, and in class scores.

    Args:
        heard: (batch, 1024), roots of features.
        wanted: (batch, 1024), the teacher's features.
        classifier: the teacher's weight (521, 1024) and bias.
        scores_weight: what the class scores count beside the rest.
    """
    roots = wanted.sqrt()
    size = F.mse_loss(heard, roots) / roots.var(0).mean()
    direction = 1 - F.cosine_similarity(heard, roots).mean()
    scores = F.linear(wanted, *classifier).sigmoid()
    found = F.linear(heard.clamp_min(0).square(), *classifier)
    surprise = F.binary_cross_entropy_with_logits(found, scores, reduction="none")
    loss: Tensor = size + direction + scores_weight * surprise.sum(1).mean()
    return loss
