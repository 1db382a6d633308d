"""How the learning rate goes over a training."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warm_cosine(optimizer: Optimizer, *, steps: int, warm_up: int) -> LambdaLR:
    """Let the rate rise for `warm_up` steps and fall to nothing along a cosine over all of them."""
    return LambdaLR(optimizer, lambda step: min(1.0, step / warm_up) * (1 + math.cos(math.pi * step / steps)) / 2)
