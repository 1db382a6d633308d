"""Distil YAMNet into the network of the `sound` space, without labels.

The network is trained towards the square roots of the teacher's features, because a few very large features would
dominate the loss. The teacher's feature maps at three depths are additional targets (hints, Romero et al. 2015); with
the features alone the network overfits to its few thousand recordings. Because no labels are used, windows can be cut,
stretched, mixed, augmented and synthesized at random.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recipes.lite.audio_augmentation import augment, mix, synthesize, warp
from recipes.lite.audio_dataset import sampling_weights
from recipes.lite.audio_features import WindowFeatures
from recipes.lite.audio_sources import Recording
from recipes.lite.optim import warmup_cosine_schedule
from recipes.lite.yamnet import YamnetTrunk
from var_plugin.encoders.lite.networks import AudioCNN

HINT_LAYERS = (10, 22, 26)
"""Layers of the teacher whose maps have the sizes of those of the network's three stages."""

_MIN_STD, _MIN_HINT_STD, _MAX_HINT = 1e-3, 0.01, 6.0
_LOG_STEPS = 100


@dataclass(frozen=True)
class DistillationRecipe:
    """Hyperparameters of one stage of the distillation."""

    steps: int = 4_200
    batch_size: int = 64
    lr: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.02
    shares: tuple[tuple[str, float], ...] = (
        ("esc10", 0.15),
        ("urbansound8k", 0.35),
        ("named", 0.14),
        ("effects", 0.36),
    )
    """Share of the windows by collection."""
    buffer_size: int = 16_384
    """Windows whose teacher outputs are kept; a new batch replaces the oldest."""
    initial_batches: int = 60
    """Batches of windows in the buffer before the first step."""
    refresh_steps: int = 4
    """Steps between two new batches of windows."""
    hint_weight: float = 0.5
    scores_weight: float = 0.1
    """Weight of the loss on the teacher's class scores."""
    warp_probability: float = 0.5
    synthetic_probability: float = 0.12
    mix_probability: float = 0.5
    augment_probability: float = 0.6
    seed: int = 0


class WindowSampler:
    """Draws random log-mel windows from recordings and synthesizes some of them.

    Args:
        recordings: the recordings that `features` belongs to.
        features: their windows.
        recipe: the probabilities of each modification.
    """

    def __init__(self, recordings: Sequence[Recording], features: WindowFeatures, recipe: DistillationRecipe) -> None:
        self._log_mel, self._recipe = features.log_mel[0], recipe
        self._random = np.random.default_rng(recipe.seed)
        owners = [recordings[position] for position in features.recording]
        loudness = np.sqrt(features.loudness.astype(np.float64))
        self._weights = sampling_weights(owners, loudness, dict(recipe.shares), by_label=False)
        self._has_successor = np.append(features.recording[1:] == features.recording[:-1], False)

    def __call__(self, count: int) -> Tensor:
        """Return windows (count, 96, 64)."""
        windows, recipe = self._cut(count), self._recipe
        changes: tuple[tuple[float, Callable[[Tensor], Tensor]], ...] = (
            (recipe.warp_probability, lambda rows: warp(windows[rows])),
            (recipe.synthetic_probability, lambda rows: synthesize(len(rows))),
            (recipe.mix_probability, lambda rows: mix(windows[rows], windows[torch.randperm(count)[rows]])[0]),
            (recipe.augment_probability, lambda rows: augment(windows[rows])),
        )
        for probability, change in changes:
            rows = torch.nonzero(torch.rand(count) < probability).flatten()
            if len(rows):
                windows[rows] = change(rows)
        return windows

    def _cut(self, count: int) -> Tensor:
        """Return windows that start anywhere in a recording, joined from two windows that overlap by half."""
        rows = self._random.choice(len(self._weights), count, p=self._weights)
        windows = self._log_mel[rows].astype(np.float32)
        half = windows.shape[1] // 2
        for position in np.flatnonzero(self._has_successor[rows]):
            start, successor = int(self._random.integers(half + 1)), self._log_mel[rows[position] + 1]
            windows[position] = np.concatenate([windows[position, start:], successor[half : half + start]])
        return torch.from_numpy(windows)


class _ReplayBuffer:
    """Ring buffer of the latest windows and the teacher's outputs for them, in float16."""

    def __init__(self, sampler: WindowSampler, teacher: YamnetTrunk, recipe: DistillationRecipe) -> None:
        self._sampler, self._teacher, self._recipe = sampler, teacher, recipe
        self._next = self._filled = 0
        windows, maps, features = self._teacher_outputs(4 * recipe.batch_size)
        self._scales = [
            (each.mean((0, 2, 3), keepdim=True), each.std((0, 2, 3), keepdim=True).clamp_min(_MIN_HINT_STD))
            for each in maps
        ]
        self._arrays = [self._empty_like(each) for each in (windows, features, *maps)]
        self.channels = [each.shape[1] for each in maps]

    def refresh(self) -> None:
        """Replace the oldest windows with a batch of new ones."""
        windows, maps, features = self._teacher_outputs(self._recipe.batch_size)
        hints = [
            ((each - mean) / std).clamp(-_MAX_HINT, _MAX_HINT)
            for each, (mean, std) in zip(maps, self._scales, strict=True)
        ]
        rows = (torch.arange(len(windows)) + self._next) % self._recipe.buffer_size
        for array, values in zip(self._arrays, (windows, features, *hints), strict=True):
            array[rows] = values.half()
        self._next = (self._next + len(windows)) % self._recipe.buffer_size
        self._filled = min(self._recipe.buffer_size, self._filled + len(windows))

    def draw(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return windows (batch, 96, 64), features (batch, 1024) and hints (batch, channels, height, width)."""
        rows = torch.randint(self._filled, (self._recipe.batch_size,))
        windows, features, *hints = (array[rows].float() for array in self._arrays)
        return windows, features, hints

    @torch.no_grad()
    def _teacher_outputs(self, count: int) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return new windows, the teacher's maps at `HINT_LAYERS` and its features."""
        windows = self._sampler(count)
        *others, last = self._teacher.maps(windows, HINT_LAYERS)
        return windows, [*others, last.sqrt()], last.mean((2, 3))

    def _empty_like(self, like: Tensor) -> Tensor:
        return torch.zeros(self._recipe.buffer_size, *like.shape[1:], dtype=torch.half)


def distill(
    network: AudioCNN,
    sampler: WindowSampler,
    teacher: YamnetTrunk,
    classifier: tuple[Tensor, Tensor],
    recipe: DistillationRecipe,
) -> None:
    """Train the network in place and set it to evaluation mode.

    Args:
        network: its stages have maps of the same sizes as the teacher's layers `HINT_LAYERS`.
        sampler: the windows to train on.
        teacher: YAMNet without its classifier.
        classifier: the teacher's weight (521, 1024) and bias (521,).
        recipe: the hyperparameters.
    """
    torch.manual_seed(recipe.seed)
    buffer = _ReplayBuffer(sampler, teacher, recipe)
    for _ in range(recipe.initial_batches):
        buffer.refresh()
    adapters = nn.ModuleList(nn.Conv2d(*each, 1) for each in zip(network.widths[1:], buffer.channels, strict=True))
    optimizer = torch.optim.AdamW(
        [*network.parameters(), *adapters.parameters()], lr=recipe.lr, weight_decay=recipe.weight_decay
    )
    schedule = warmup_cosine_schedule(optimizer, steps=recipe.steps, warmup_steps=recipe.warmup_steps)
    network.train()
    started, losses = time.monotonic(), []
    for step in range(1, recipe.steps + 1):
        if step % recipe.refresh_steps == 0:
            buffer.refresh()
        windows, features, hints = buffer.draw()
        maps = network.maps(windows)
        predictions = (adapter(each) for adapter, each in zip(adapters, maps, strict=True))
        hint_loss = sum(F.mse_loss(prediction, hint) for prediction, hint in zip(predictions, hints, strict=True))
        loss = distillation_loss(network.summary(maps[-1]), features, classifier, recipe.scores_weight)
        loss = loss + recipe.hint_weight * hint_loss
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % _LOG_STEPS == 0:
            print(f"step {step}: {np.mean(losses[-_LOG_STEPS:]):.3f}, {time.monotonic() - started:.0f} s", flush=True)
    network.eval()


def init_output_layer(network: AudioCNN, features: WindowFeatures) -> None:
    """Set the output scaling to the mean and standard deviation of the targets and zero the last layer."""
    roots = np.sqrt(features.features.astype(np.float32))
    network.mean.copy_(torch.from_numpy(roots.mean(0)))
    network.deviation.copy_(torch.from_numpy(roots.std(0)).clamp_min(_MIN_STD))
    nn.init.zeros_(network.last.weight)
    nn.init.zeros_(network.last.bias)


def distillation_loss(
    outputs: Tensor, features: Tensor, classifier: tuple[Tensor, Tensor], scores_weight: float
) -> Tensor:
    """Return the sum of a relative squared error, a cosine distance and a weighted cross-entropy of class scores.

    Args:
        outputs: (batch, 1024), the network's estimates of the square roots of the features.
        features: (batch, 1024), the teacher's features.
        classifier: the teacher's weight (521, 1024) and bias (521,).
        scores_weight: weight of the cross-entropy.
    """
    roots = features.sqrt()
    squared_error = F.mse_loss(outputs, roots) / roots.var(0).mean()
    cosine_distance = 1 - F.cosine_similarity(outputs, roots).mean()
    scores = F.linear(features, *classifier).sigmoid()
    logits = F.linear(outputs.clamp_min(0).square(), *classifier)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, scores, reduction="none")
    loss: Tensor = squared_error + cosine_distance + scores_weight * cross_entropy.sum(1).mean()
    return loss
