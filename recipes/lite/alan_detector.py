"""Train the anomaly detector of the lite ALAN, weakly supervised by one label per stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recipes.lite.alan_examples import Samples
from recipes.lite.long_video_eval import Stream, StreamMaker
from var_plugin.encoders.alan.detector import topk_loss
from var_plugin.encoders.alan.residual import ResidualAlanModel


@dataclass(frozen=True)
class DetectorRecipe:
    """Hyperparameters; chosen by cross-validation over sources."""

    steps: int = 400
    lr: float = 1e-3
    weight_decay: float = 0.05
    streams: int = 6
    """Streams per step; half of them contain a fight."""
    singles: int = 24
    """Single clips per step; half of them are fights."""
    seconds: tuple[float, float] = (30.0, 120.0)
    seed: int = 0


def train_detector(model: ResidualAlanModel, maker: StreamMaker, recipe: DetectorRecipe) -> None:
    """Train `model.detector` on streams whose motion was mapped by `alan_motion.cross_fit_motion`."""
    torch.manual_seed(recipe.seed)
    random = np.random.default_rng(recipe.seed)
    optimizer = torch.optim.AdamW(
        model.detector.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    model.detector.train()
    for _ in range(recipe.steps):
        streams = [
            maker.stream(random.uniform(*recipe.seconds), fight=number % 2 == 0) for number in range(recipe.streams)
        ]
        singles = [maker.single(fight=number % 2 == 0) for number in range(recipe.singles)]
        loss = sum(_loss(model, batch) for batch in (streams, singles))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        schedule.step()
    model.detector.eval()


def _loss(model: ResidualAlanModel, streams: list[Stream]) -> Tensor:
    """Return the loss of Eq. 8 over a batch of streams of different lengths."""
    clips = [fold(stream.samples) for stream in streams]
    lengths = torch.tensor([len(stream) for stream in clips])
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    mask = torch.arange(padded.shape[1]) < lengths[:, None]
    labels = torch.tensor([float(stream.fight.any()) for stream in streams])
    return topk_loss(model.score_clips(padded, mask), mask, labels, model.config.topk_divisor)


def fold(samples: Samples) -> Tensor:
    """Return folded clips (n, embedding_dim) of samples whose motion is already mapped."""
    return ResidualAlanModel.fold(torch.from_numpy(samples.objects), torch.from_numpy(samples.motion))
