"""Heads of the text and audio towers: gated embedding units and stream weights, separate for CLS and AVG."""

from __future__ import annotations

from torch import Tensor, nn

from var_plugin.encoders.alan.alignment import StreamWeights
from var_plugin.encoders.alan.configuration import AlanConfig
from var_plugin.encoders.alan.encodings import QueryEncoding
from var_plugin.encoders.alan.gated import GatedEmbeddingUnits


class QueryHead(nn.Module):
    """Map one vector of a query to a vector and a weight for each stream of the videos (rows 16 and 17)."""

    def __init__(self, config: AlanConfig, input_dim: int) -> None:
        super().__init__()
        self.gated = GatedEmbeddingUnits(
            input_dim, config.hidden_size, config.num_streams, batch_norm=config.gated_batch_norm
        )
        self.weights_from_gated = config.stream_weights_source == "gated"
        self.weights = StreamWeights(config.hidden_size if self.weights_from_gated else input_dim, config.num_streams)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, input_dim) to stream vectors (batch, S, d) and stream weights (batch, S)."""
        gated: Tensor = self.gated(vectors)
        source = gated if self.weights_from_gated else vectors.unsqueeze(1).expand(-1, gated.shape[1], -1)
        return gated, self.weights(source)


class QueryHeads(nn.Module):
    """The two heads of a query tower: one for its CLS vector, one for its AVG vector."""

    def __init__(self, config: AlanConfig, input_dim: int) -> None:
        super().__init__()
        self.cls = QueryHead(config, input_dim)
        self.avg = QueryHead(config, input_dim)

    def forward(self, cls: Tensor, avg: Tensor) -> QueryEncoding:
        """Map g and h, each (batch, input_dim), to the encoding of the query."""
        cls_vectors, cls_weights = self.cls(cls)
        avg_vectors, avg_weights = self.avg(avg)
        return QueryEncoding(cls_vectors, avg_vectors, cls_weights, avg_weights)
