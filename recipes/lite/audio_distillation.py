"""How the sound network learns to hear what the teacher hears, before anything is said about texts.

It is to give the square roots of the teacher's features: a few of those are so large that they would decide everything.
Beside them it is shown the teacher's maps at three depths (hints, Romero et al. 2015), thousands of numbers for a
window: from the features alone it learned its few thousand recordings by heart. No label takes part, so any sound
teaches: windows are cut, stretched, mixed and disturbed anew, and some of them are invented.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recipes.lite.audio_augmentation import disturb, invent, mix, warp
from recipes.lite.audio_dataset import chances
from recipes.lite.audio_features import SoundFeatures
from recipes.lite.audio_sources import Recording
from recipes.lite.schedule import warm_cosine
from recipes.lite.yamnet import YamnetTrunk
from var_plugin.encoders.lite.networks import AudioCNN

HINTS = (10, 22, 26)
"""Layers of the teacher whose maps are as large as those of the network's three stages."""

_LEAST_DEVIATION, _LEAST_HINT_DEVIATION, _LARGEST_HINT = 1e-3, 0.01, 6.0
_REPORT = 100


@dataclass(frozen=True)
class ImitationRecipe:
    """Every number of the imitation."""

    steps: int = 4_200
    batch: int = 64
    rate: float = 2e-3
    warm_up: int = 100
    weight_decay: float = 0.02
    shares: tuple[tuple[str, float], ...] = (
        ("esc10", 0.15),
        ("urbansound8k", 0.35),
        ("named", 0.14),
        ("effects", 0.36),
    )
    memory: int = 16_384
    """Windows of which the teacher's maps are remembered; a batch of new ones replaces the oldest."""
    beginning: int = 60
    """Batches of new windows before the first step."""
    turn: int = 4
    """Steps from one batch of new windows to the next."""
    hints_weight: float = 0.5
    scores_weight: float = 0.1
    """Of the teacher's class scores."""
    warped: float = 0.5
    invented: float = 0.12
    mixed: float = 0.5
    disturbed: float = 0.6
    seed: int = 0


class Material:
    """An endless supply of windows, made of recordings and of nothing."""

    def __init__(self, recordings: Sequence[Recording], features: SoundFeatures, recipe: ImitationRecipe) -> None:
        self._log_mel, self._recipe = features.log_mel[0], recipe
        self._random = np.random.default_rng(recipe.seed)
        owners = [recordings[place] for place in features.recording]
        loudness = np.sqrt(features.loudness.astype(np.float64))
        self._chances = chances(owners, loudness, dict(recipe.shares), by_label=False)
        self._followed = np.append(features.recording[1:] == features.recording[:-1], False)

    def __call__(self, count: int) -> Tensor:
        """Return windows (count, 96, 64)."""
        windows, recipe = self._cut(count), self._recipe
        changes: tuple[tuple[float, Callable[[Tensor], Tensor]], ...] = (
            (recipe.warped, lambda rows: warp(windows[rows])),
            (recipe.invented, lambda rows: invent(len(rows))),
            (recipe.mixed, lambda rows: mix(windows[rows], windows[torch.randperm(count)[rows]])[0]),
            (recipe.disturbed, lambda rows: disturb(windows[rows])),
        )
        for share, change in changes:
            rows = torch.nonzero(torch.rand(count) < share).flatten()
            if len(rows):
                windows[rows] = change(rows)
        return windows

    def _cut(self, count: int) -> Tensor:
        """Return windows that begin anywhere in a recording: parts of two that overlap by half."""
        rows = self._random.choice(len(self._chances), count, p=self._chances)
        found = self._log_mel[rows].astype(np.float32)
        half = found.shape[1] // 2
        for place in np.flatnonzero(self._followed[rows]):
            begin, following = int(self._random.integers(half + 1)), self._log_mel[rows[place] + 1]
            found[place] = np.concatenate([found[place, begin:], following[half : half + begin]])
        return torch.from_numpy(found)


class _Memory:
    """The latest windows, and what the teacher makes of them, in half precision."""

    def __init__(self, material: Material, teacher: YamnetTrunk, recipe: ImitationRecipe) -> None:
        self._material, self._teacher, self._recipe = material, teacher, recipe
        self._next = self._filled = 0
        windows, maps, features = self._heard(4 * recipe.batch)
        self._scales = [
            (each.mean((0, 2, 3), keepdim=True), each.std((0, 2, 3), keepdim=True).clamp_min(_LEAST_HINT_DEVIATION))
            for each in maps
        ]
        self._kept = [self._room(each) for each in (windows, features, *maps)]
        self.channels = [each.shape[1] for each in maps]

    def renew(self) -> None:
        """Let a batch of new windows take the place of the oldest."""
        windows, maps, features = self._heard(self._recipe.batch)
        hints = [
            ((each - mean) / deviation).clamp(-_LARGEST_HINT, _LARGEST_HINT)
            for each, (mean, deviation) in zip(maps, self._scales, strict=True)
        ]
        rows = (torch.arange(len(windows)) + self._next) % self._recipe.memory
        for kept, new in zip(self._kept, (windows, features, *hints), strict=True):
            kept[rows] = new.half()
        self._next = (self._next + len(windows)) % self._recipe.memory
        self._filled = min(self._recipe.memory, self._filled + len(windows))

    def draw(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return windows (batch, 96, 64), features (batch, 1024) and hints (batch, channels, height, width)."""
        rows = torch.randint(self._filled, (self._recipe.batch,))
        windows, features, *hints = (kept[rows].float() for kept in self._kept)
        return windows, features, hints

    @torch.no_grad()
    def _heard(self, count: int) -> tuple[Tensor, list[Tensor], Tensor]:
        windows = self._material(count)
        *others, last = self._teacher.maps(windows, HINTS)
        return windows, [*others, last.sqrt()], last.mean((2, 3))

    def _room(self, like: Tensor) -> Tensor:
        return torch.zeros(self._recipe.memory, *like.shape[1:], dtype=torch.half)


def imitate(
    network: AudioCNN,
    material: Material,
    teacher: YamnetTrunk,
    classifier: tuple[Tensor, Tensor],
    recipe: ImitationRecipe,
) -> None:
    """Train the network, whose stages have as large maps as the teacher's layers `HINTS`, and make it ready for use."""
    torch.manual_seed(recipe.seed)
    memory = _Memory(material, teacher, recipe)
    for _ in range(recipe.beginning):
        memory.renew()
    guides = nn.ModuleList(nn.Conv2d(*each, 1) for each in zip(network.widths[1:], memory.channels, strict=True))
    optimizer = torch.optim.AdamW(
        [*network.parameters(), *guides.parameters()], lr=recipe.rate, weight_decay=recipe.weight_decay
    )
    schedule = warm_cosine(optimizer, steps=recipe.steps, warm_up=recipe.warm_up)
    network.train()
    started, losses = time.monotonic(), []
    for step in range(1, recipe.steps + 1):
        if step % recipe.turn == 0:
            memory.renew()
        windows, wanted, hints = memory.draw()
        maps = network.maps(windows)
        guessed = (guide(found) for guide, found in zip(guides, maps, strict=True))
        apart = sum(F.mse_loss(guess, hint) for guess, hint in zip(guessed, hints, strict=True))
        loss = difference(network.summary(maps[-1]), wanted, classifier, recipe.scores_weight)
        loss = loss + recipe.hints_weight * apart
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % _REPORT == 0:
            print(f"step {step}: {np.mean(losses[-_REPORT:]):.3f}, {time.monotonic() - started:.0f} s", flush=True)
    network.eval()


def begin(network: AudioCNN, features: SoundFeatures) -> None:
    """Let the network answer with the mean of what it is to learn, and learn each part of it at that part's scale."""
    roots = np.sqrt(features.features.astype(np.float32))
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
