"""Which clips of a long video the towers see: fixed-frame sampling and anomaly-led sampling (Eq. 1 and 2).

Both return clip indices, (batch, N) int64, and repeat clips where a video has fewer than N (row 6). Clips of a batch
stand at its left, padding at its right.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from var_plugin.encoders.alan.configuration import AlanConfig, SelectionNormaliser
from var_plugin.errors import InvalidInputError


def clip_lengths(mask: Tensor) -> Tensor:
    """Count the clips of each video.

    Args:
        mask: (batch, time) bool, true at real clips.

    Returns:
        (batch,) int64.

    Raises:
        InvalidInputError: A video has no clip, or padding comes before a clip.
    """
    lengths = mask.sum(dim=1)
    left_aligned = torch.arange(mask.shape[1], device=mask.device) < lengths.unsqueeze(1)
    if bool((lengths == 0).any()) or not torch.equal(left_aligned, mask):
        raise InvalidInputError(
            "the clip mask has a row without a clip, or with padding before a clip",
            why="sampling takes the first T entries of a row as the T clips of the video",
            fix="give every video at least one clip and pad on the right, as AlanProcessor does",
        )
    return lengths


def fixed_frame_sampling(
    lengths: Tensor, count: int, *, random: bool, generator: torch.Generator | None = None
) -> Tensor:
    """Take one clip from each of `count` equal parts of the video (row 2).

    Args:
        lengths: (batch,) clips per video.
        count: N.
        random: a clip anywhere in its part; else the part's middle.
        generator: source of randomness; default torch's own.

    Returns:
        (batch, count) int64, ascending.
    """
    parts = torch.arange(count, device=lengths.device).expand(len(lengths), count)
    within = _uniform(parts, generator) if random else torch.full_like(parts, 0.5, dtype=torch.float32)
    extent = lengths.unsqueeze(1)
    # float32 may round (parts + within) / count up to 1.
    return ((parts + within) * extent / count).long().clamp(max=extent - 1)


def selection_probabilities(
    scores: Tensor, mask: Tensor, temperature: float, normaliser: SelectionNormaliser = "softmax"
) -> Tensor:
    """Turn anomaly scores into probabilities of being drawn (Eq. 1, row 1).

    Args:
        scores: (batch, time) from 0 to 1.
        mask: (batch, time) bool, true at real clips.
        temperature: τ, used by "softmax" only.
        normaliser: "softmax": exp(l/τ) over its sum; "linear": l over its sum, equal shares when all are 0.

    Returns:
        (batch, time) float32; rows sum to one; 0 at padding.
    """
    scores = scores.float()
    if normaliser == "softmax":
        return torch.softmax((scores / temperature).masked_fill(~mask, -torch.inf), dim=1)
    fitness = scores.masked_fill(~mask, 0)
    total = fitness.sum(dim=1, keepdim=True)
    fitness = torch.where(total > 0, fitness, mask.float())
    return fitness / fitness.sum(dim=1, keepdim=True)


def roulette_wheel(
    probabilities: Tensor, count: int, *, systematic: bool = False, generator: torch.Generator | None = None
) -> Tensor:
    """Spin the wheel `count` times: clip i is taken when q_{i-1} < r ≤ q_i, with replacement (Eq. 2, row 3).

    Args:
        probabilities: (batch, time), rows sum to one.
        count: N.
        systematic: `count` evenly spaced pointers r = (j + ½) / count instead of random ones.
        generator: source of randomness; default torch's own.

    Returns:
        (batch, count) int64 in the order of drawing.
    """
    wheel = probabilities.cumsum(dim=1)
    pointers = torch.arange(count, device=wheel.device).expand(len(wheel), count)
    # 1 - r lies in (0, 1], as the equation has it; r itself in [0, 1) could hit a clip of probability 0.
    turns = (pointers + 0.5) / count if systematic else 1 - _uniform(pointers, generator)
    # Scaled by the last q, which rounding leaves a little beside 1: no pointer ends behind the last real clip.
    return torch.searchsorted(wheel, turns * wheel[:, -1:])


class ClipSampler(nn.Module):
    """Draws the fixed (U) and the anomaly-led (R) clips; random in training, repeatable in evaluation."""

    def __init__(self, config: AlanConfig) -> None:
        super().__init__()
        self.config = config

    @torch.no_grad()
    def forward(self, scores: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        """Sample each kind that is switched on; sampling has no gradient.

        Args:
            scores: (batch, time) anomaly scores.
            mask: (batch, time) bool, true at real clips.
            generator: source of randomness; default torch's own.

        Returns:
            Up to two index tensors (batch, N) int64, U before R.

        Raises:
            InvalidInputError: The mask is not what `clip_lengths` takes.
        """
        config = self.config
        lengths = clip_lengths(mask)
        samples = []
        if config.num_fixed_clips:
            random = self.training and config.fixed_sampling_in_training == "random"
            samples.append(fixed_frame_sampling(lengths, config.num_fixed_clips, random=random, generator=generator))
        if config.num_anomaly_clips:
            chances = selection_probabilities(scores, mask, config.selection_temperature, config.selection_normaliser)
            systematic = not self.training and config.anomaly_sampling_in_evaluation == "systematic"
            drawn = roulette_wheel(chances, config.num_anomaly_clips, systematic=systematic, generator=generator)
            samples.append(drawn.sort(dim=1).values if config.sort_anomaly_clips else drawn)
        return samples


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Numbers in [0, 1), float32, of the shape and on the device of `like`; a generator may live elsewhere."""
    device = like.device if generator is None else generator.device
    return torch.rand(like.shape, generator=generator, device=device).to(like.device)
