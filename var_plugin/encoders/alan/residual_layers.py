"""The layers of the residual form of ALAN: each ends in a linear layer of zeros, and so begins as "change nothing"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from var_plugin.encoders.alan.gated import GatedEmbeddingUnit

if TYPE_CHECKING:
    from var_plugin.encoders.alan.residual import ResidualAlanConfig


class Stream(nn.Module):
    """Position and segment embeddings and a pre-norm encoder layer, all of which begin as zero."""

    def __init__(self, config: ResidualAlanConfig, width: int) -> None:
        super().__init__()
        self.positions = nn.Embedding(config.num_position_bins, width)
        self.segments = nn.Embedding(2, width)
        heads = config.num_attention_heads if width % config.num_attention_heads == 0 else 1
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, config.dropout, batch_first=True, norm_first=True
        )

    def start_without_effect(self) -> None:
        """Set what the layer ends in to zero."""
        for weight in (
            self.positions.weight, self.segments.weight, self.layer.self_attn.out_proj.weight,
            self.layer.self_attn.out_proj.bias, self.layer.linear2.weight, self.layer.linear2.bias,
        ):  # fmt: skip
            nn.init.zeros_(weight)

    def forward(self, sequence: Tensor, positions: Tensor, lengths: Tensor, sizes: Sequence[int]) -> Tensor:
        """Encode (batch, length, width); `positions` as `_positions`, `sizes` the N of each part."""
        bins = (positions * self.positions.num_embeddings // (lengths + 1)).clamp(max=self.positions.num_embeddings - 1)
        segment = torch.cat([torch.full((1 + size,), part, device=sequence.device) for part, size in enumerate(sizes)])
        encoded: Tensor = self.layer(sequence + self.positions(bins) + self.segments(segment))
        return encoded


class Crossing(nn.Module):
    """One stream looks at the other (section III-B), pre-norm; begins without effect."""

    def __init__(self, config: ResidualAlanConfig, own: int, other: int) -> None:
        super().__init__()
        heads = config.num_attention_heads if own % config.num_attention_heads == 0 else 1
        self.norm, self.other_norm = nn.LayerNorm(own), nn.LayerNorm(other)
        self.attention = nn.MultiheadAttention(
            own, heads, dropout=config.dropout, kdim=other, vdim=other, batch_first=True
        )
        self.linear = nn.Linear(own, own)

    def start_without_effect(self) -> None:
        """Set what the layer ends in to zero."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """(batch, length, own) and (batch, length, other) to (batch, length, own)."""
        seen = self.other_norm(other)
        attended, _ = self.attention(self.norm(own), seen, seen, need_weights=False)
        crossed: Tensor = own + self.linear(attended)
        return crossed


class Reading(nn.Module):
    """A text's vector, moved by what a gated embedding unit makes of it (section III-C); begins without effect."""

    def __init__(self, config: ResidualAlanConfig) -> None:
        super().__init__()
        self.unit = GatedEmbeddingUnit(config.hidden_size, config.hidden_size)
        self.linear = nn.Linear(config.hidden_size, config.hidden_size)

    def start_without_effect(self) -> None:
        """Set what the layer ends in to zero."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, texts: Tensor) -> Tensor:
        """(batch, hidden_size) to (batch, hidden_size), both of length one."""
        return F.normalize(texts + self.linear(self.unit(texts)), dim=-1)
