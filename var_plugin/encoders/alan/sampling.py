"""Clip sampling for long videos: fixed-frame sampling and anomaly-led sampling (Eq. 1 and 2).

Both return clip indices, (batch, N) int64, and repeat clips if a video has fewer than N (row 6). Batches are padded on
the right.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from var_plugin.encoders.alan.options import SamplingOptions, SelectionNormalizer
from var_plugin.errors import InvalidInputError


def clip_lengths(mask: Tensor) -> Tensor:
    """Return the number of clips of each video.

    Args:
        mask: (batch, time) bool, true at real clips.

    Returns:
        (batch,) int64.

    Raises:
        InvalidInputError: A video has no clip, or padding comes before a clip.
    """
    lengths = mask.sum(dim=1)
    expected = torch.arange(mask.shape[1], device=mask.device) < lengths.unsqueeze(1)
    if bool((lengths == 0).any()) or not torch.equal(expected, mask):
        raise InvalidInputError(
            "the clip mask has a row without a clip, or with padding before a clip",
            why="the first T entries of a row must be the T clips of the video",
            fix="pass at least one clip per video and pad on the right, as AlanProcessor does",
        )
    return lengths


def fixed_frame_sampling(
    lengths: Tensor, count: int, *, random: bool, generator: torch.Generator | None = None
) -> Tensor:
    """Sample one clip from each of `count` equal parts of the video (row 2).

    Args:
        lengths: (batch,), clips per video.
        count: N.
        random: sample uniformly within each part. Otherwise take its middle.
        generator: random generator. Default: torch's global one.

    Returns:
        (batch, count) int64, ascending.
    """
    parts = torch.arange(count, device=lengths.device).expand(len(lengths), count)
    offset = _uniform(parts, generator) if random else torch.full_like(parts, 0.5, dtype=torch.float32)
    extent = lengths.unsqueeze(1)
    # float32 may round (parts + offset) / count up to 1.
    return ((parts + offset) * extent / count).long().clamp(max=extent - 1)


def selection_probabilities(
    scores: Tensor, mask: Tensor, temperature: float, normalizer: SelectionNormalizer = "softmax"
) -> Tensor:
    """Convert anomaly scores to selection probabilities (Eq. 1, row 1).

    Args:
        scores: (batch, time) from 0 to 1.
        mask: (batch, time) bool, true at real clips.
        temperature: τ, used by "softmax" only.
        normalizer: "softmax": exp(l/τ) divided by its sum. "linear": l divided by its sum; uniform if all are 0.

    Returns:
        (batch, time) float32. Rows sum to one; 0 at padding.
    """
    scores = scores.float()
    if normalizer == "softmax":
        return torch.softmax((scores / temperature).masked_fill(~mask, -torch.inf), dim=1)
    fitness = scores.masked_fill(~mask, 0)
    total = fitness.sum(dim=1, keepdim=True)
    fitness = torch.where(total > 0, fitness, mask.float())
    return fitness / fitness.sum(dim=1, keepdim=True)


def roulette_wheel(
    probabilities: Tensor, count: int, *, systematic: bool = False, generator: torch.Generator | None = None
) -> Tensor:
    """Sample `count` clips with replacement: clip i is selected if q_{i-1} < r ≤ q_i (Eq. 2, row 3).

    Args:
        probabilities: (batch, time). Rows sum to one.
        count: N.
        systematic: use `count` evenly spaced pointers r = (j + ½) / count instead of random ones.
        generator: random generator. Default: torch's global one.

    Returns:
        (batch, count) int64, in sampling order.
    """
    cumulative = probabilities.cumsum(dim=1)
    slots = torch.arange(count, device=cumulative.device).expand(len(cumulative), count)
    # 1 - r is in (0, 1], as Eq. 2 requires. r in [0, 1) could select a clip of probability 0.
    pointers = (slots + 0.5) / count if systematic else 1 - _uniform(slots, generator)
    # The last q may differ from 1 by rounding. Scaling by it keeps every pointer within the real clips.
    return torch.searchsorted(cumulative, pointers * cumulative[:, -1:])


class ClipSampler(nn.Module):
    """Sample fixed (U) and anomaly-led (R) clips: random in training, deterministic by default in evaluation."""

    def __init__(self, config: SamplingOptions) -> None:
        super().__init__()
        self.config = config

    @torch.no_grad()
    def forward(self, scores: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        """Sample with each enabled method, without gradient.

        Args:
            scores: (batch, time), anomaly scores.
            mask: (batch, time) bool, true at real clips.
            generator: random generator. Default: torch's global one.

        Returns:
            One or two index tensors (batch, N) int64, U before R.

        Raises:
            InvalidInputError: The mask is not left-aligned; see `clip_lengths`.
        """
        config = self.config
        lengths = clip_lengths(mask)
        samples = []
        if config.num_fixed_clips:
            random = self.training and config.fixed_sampling_in_training == "random"
            samples.append(fixed_frame_sampling(lengths, config.num_fixed_clips, random=random, generator=generator))
        if config.num_anomaly_clips:
            probabilities = selection_probabilities(
                scores, mask, config.selection_temperature, config.selection_normalizer
            )
            systematic = not self.training and config.anomaly_sampling_in_evaluation == "systematic"
            index = roulette_wheel(probabilities, config.num_anomaly_clips, systematic=systematic, generator=generator)
            samples.append(index.sort(dim=1).values if config.sort_anomaly_clips else index)
        return samples


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return float32 numbers in [0, 1) with the shape and device of `like`. The generator may be on another device."""
    device = like.device if generator is None else generator.device
    return torch.rand(like.shape, generator=generator, device=device).to(like.device)
