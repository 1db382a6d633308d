"""Attention layers of the towers: standard self encoders and symmetric cross encoders."""

from __future__ import annotations

from torch import Tensor, nn

from var_plugin.encoders.alan.configuration import AlanConfig


def self_encoder(config: AlanConfig) -> nn.TransformerEncoderLayer:
    """Create a standard encoder layer: post-norm, ReLU, (batch, length, d) (section III-B, row 14)."""
    return nn.TransformerEncoderLayer(
        config.hidden_size, config.num_attention_heads, config.intermediate_size, config.dropout, batch_first=True
    )


class CrossEncoder(nn.Module):
    """Attention from one stream to the other: attention, linear layer, residual, layer norm; no feed-forward layer.

    `LayerNorm(x + Linear(MultiHead(query=x, key=other, value=other)))` (section III-B, row 15).
    """

    def __init__(self, config: AlanConfig) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            config.hidden_size, config.num_attention_heads, dropout=config.dropout, batch_first=True
        )
        self.linear = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Attend from a stream to the other one.

        Args:
            own: (batch, length, d), self-encoder output of the stream.
            other: (batch, length, d), self-encoder output of the other stream.

        Returns:
            (batch, length, d).
        """
        attended, _ = self.attention(own, other, other, need_weights=False)
        outputs: Tensor = self.norm(own + self.linear(attended))
        return outputs
