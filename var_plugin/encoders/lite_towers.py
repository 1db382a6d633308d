"""The lite suite's towers: small torch modules on top of the two backbones' tokens, and low-rank changes below them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Tower(nn.Module):
    """Tokens to one unit vector: their mean and a few attention-weighted means, projected together.

    The residual branch on the plain mean adds what a linear map cannot say.
    """

    def __init__(self, width: int, *, queries: int, hidden: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = nn.Linear(width, queries)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width * (queries + 1), dim)
        self.residual = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map tokens (batch, time, width), where `mask` (batch, time) is 1, to (batch, dim) float32 of length one."""
        if mask is None:
            mask = tokens.new_ones(tokens.shape[:2])
        uniform = torch.zeros_like(tokens[..., :1])
        scores = torch.cat([uniform, self.attention(tokens)], dim=-1)
        weights = scores.masked_fill(mask[..., None] == 0, float("-inf")).softmax(dim=1)
        pooled = self.dropout(self.norm(weights.transpose(1, 2) @ tokens))
        vectors: Tensor = self.project(pooled.flatten(1)) + self.residual(pooled[:, 0])
        return F.normalize(vectors, dim=-1)


class LowRank(nn.Module):
    """A parametrisation: a frozen weight plus a product of two thin matrices (LoRA, Hu et al. 2021), at first zero."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns, *kernel = weight.shape
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns, *kernel) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight, in its own shape."""
        return weight + low_rank_delta(self.up, self.down)


def low_rank_delta(up: Tensor, down: Tensor) -> Tensor:
    """Return the change of a weight: `up` (rows, rank) times `down` (rank, columns), or (rank, columns, 1, 1)."""
    delta: Tensor = torch.tensordot(up, down, dims=1)
    return delta
