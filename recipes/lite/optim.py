"""The learning-rate schedule and the moving average of weights that the recipes share."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel


def warmup_cosine_schedule(optimizer: Optimizer, *, steps: int, warmup_steps: int) -> LambdaLR:
    """Multiply a linear warm-up over `warmup_steps` with a cosine decay to zero over all `steps`.

    `transformers.get_cosine_schedule_with_warmup` starts the decay after the warm-up; the shipped weights were trained
    with this product.
    """
    return LambdaLR(optimizer, lambda step: min(1.0, step / warmup_steps) * (1 + math.cos(math.pi * step / steps)) / 2)


def ema_model(model: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of the model's weights, updated by `update_parameters`.

    The decay of update n is `min(decay, n / (n + 10))`, so that the average leaves the initial weights quickly.
    """

    def average(mean: Tensor, value: Tensor, updates: Tensor | int) -> Tensor:
        count = int(updates)
        return mean.lerp(value, 1 - min(decay, count / (count + 10)))

    averaged = AveragedModel(model, avg_fn=average)
    averaged.update_parameters(model)  # the first call copies the weights; later calls average
    return averaged
