"""Input sequence of a self encoder: sampled clips, CLS as their mean, position and segment embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from var_plugin.encoders.alan.configuration import AlanConfig


def sinusoidal_embedding(positions: Tensor, dim: int) -> Tensor:
    """Return sines in the first half, cosines in the second; wavelengths from 2π to 10000·2π (Vaswani et al., 2017).

    Args:
        positions: any shape.
        dim: width, even.

    Returns:
        (*positions.shape, dim) float32.
    """
    steps = torch.arange(dim // 2, device=positions.device, dtype=torch.float32)
    frequencies = torch.exp(steps * (-2 * math.log(10000.0) / dim))
    angles = positions.unsqueeze(-1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class PositionEmbedding(nn.Module):
    """Position embedding: sinusoidal, or learned on bins of the relative position (row 5)."""

    def __init__(self, config: AlanConfig) -> None:
        super().__init__()
        self.dim = config.hidden_size
        self.bins = nn.Embedding(config.num_position_bins, self.dim) if config.position_embedding == "learned" else None

    def forward(self, positions: Tensor, extent: Tensor) -> Tensor:
        """Embed positions.

        Args:
            positions: (batch, length) int64 from 0 to extent - 1.
            extent: (batch, 1) int64, number of positions in the timeline of each row.

        Returns:
            (batch, length, d).
        """
        if self.bins is None:
            return sinusoidal_embedding(positions, self.dim)
        embedded: Tensor = self.bins(positions * self.bins.num_embeddings // extent)
        return embedded


class ClipSequence(nn.Module):
    """Build `[U_CLS, U_1..U_N, R_CLS, R_1..R_N]` of one stream (section III-B).

    A CLS token is the mean of the clips of its part and has no parameters. With positions in time (row 4), CLS has
    position 0 and clip t has position t + 1. With positions by slot, a token's position is its index in the sequence.
    """

    def __init__(self, config: AlanConfig) -> None:
        super().__init__()
        self.by_time = config.position_source == "time"
        self.positions = PositionEmbedding(config)
        parts = (config.num_fixed_clips > 0) + (config.num_anomaly_clips > 0)
        self.segments = nn.Embedding(parts, config.hidden_size)

    def forward(self, clips: Tensor, samples: Sequence[Tensor], lengths: Tensor) -> Tensor:
        """Build the sequence.

        Args:
            clips: (batch, Σ N, d), the output of `gather_clips`, projected.
            samples: clip indices per part (U, R), (batch, N) int64.
            lengths: (batch,), clips per video.

        Returns:
            (batch, length, d), length = Σ (1 + N).
        """
        tokens, positions, segments = [], [], []
        parts = torch.split(clips, [index.shape[1] for index in samples], dim=1)
        for part, (index, part_clips) in enumerate(zip(samples, parts, strict=True)):
            tokens += [part_clips.mean(dim=1, keepdim=True), part_clips]
            positions += [torch.zeros_like(index[:, :1]), index + 1]
            segments += [part] * (1 + index.shape[1])
        sequence = torch.cat(tokens, dim=1)
        batch, length, _ = sequence.shape
        if self.by_time:
            position, extent = torch.cat(positions, dim=1), lengths.unsqueeze(1) + 1
        else:
            position = torch.arange(length, device=sequence.device).expand(batch, length)
            extent = torch.full_like(position[:, :1], length)
        segment = torch.tensor(segments, device=sequence.device)
        embedding: Tensor = self.positions(position, extent) + self.segments(segment)
        return sequence + embedding.to(sequence.dtype)


def gather_clips(features: Tensor, samples: Sequence[Tensor]) -> Tensor:
    """Return the sampled clips (batch, Σ N, width) of (batch, time, width).

    Gathering before projection keeps the projection of long videos cheap.
    """
    index = torch.cat(list(samples), dim=1)
    return features.gather(1, index.unsqueeze(-1).expand(-1, -1, features.shape[-1]))


def pool_sequence(sequence: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Pool an encoded sequence, without parameters.

    Args:
        sequence: (batch, Σ (1 + N), d), in the order of `ClipSequence`.
        sizes: N of each part.

    Returns:
        g (batch, d), the mean of the CLS outputs; h (batch, d), the mean over the parts of their mean clip output; and
        the clip outputs (batch, Σ N, d).
    """
    parts = torch.split(sequence, [1 + size for size in sizes], dim=1)
    cls = torch.stack([part[:, 0] for part in parts]).mean(dim=0)
    avg = torch.stack([part[:, 1:].mean(dim=1) for part in parts]).mean(dim=0)
    return cls, avg, torch.cat([part[:, 1:] for part in parts], dim=1)
