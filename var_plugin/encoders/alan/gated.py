"""Gated embedding units: map one query vector to one vector per stream of the videos."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GatedEmbeddingUnit(nn.Module):
    """`normalize(y * sigmoid(norm(W2 y)))` with `y = W1 x` (Miech et al., 2018; section III-C, row 16)."""

    def __init__(self, input_dim: int, output_dim: int, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(input_dim, output_dim)
        self.gate = nn.Linear(output_dim, output_dim)
        self.norm = nn.BatchNorm1d(output_dim) if batch_norm else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (batch, input_dim) to (batch, output_dim), L2-normalised."""
        outputs = self.linear(inputs)
        return F.normalize(outputs * torch.sigmoid(self.norm(self.gate(outputs))), dim=-1)


class GatedEmbeddingUnits(nn.Module):
    """One unit per stream on the same input: g to (g_o, g_m), or h to (h_o, h_m)."""

    def __init__(self, input_dim: int, output_dim: int, streams: int, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.units = nn.ModuleList(
            GatedEmbeddingUnit(input_dim, output_dim, batch_norm=batch_norm) for _ in range(streams)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (batch, input_dim) to (batch, S, output_dim)."""
        return torch.stack([unit(inputs) for unit in self.units], dim=1)
