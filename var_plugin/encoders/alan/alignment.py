"""Cross-modal alignment: stream weights, CLS and AVG alignment, and the combined score (Eq. 3 to 5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from var_plugin.encoders.alan.encodings import QueryEncoding, VideoEncoding


class StreamWeights(nn.Module):
    """Weights of the streams for a query: one linear layer per stream and a softmax over the streams (row 17).

    With a single stream the weight is one and there are no parameters.
    """

    def __init__(self, input_dim: int, streams: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(input_dim, 1) for _ in range(streams if streams > 1 else 0))

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (batch, S, input_dim) to (batch, S). Rows sum to one."""
        if not self.linears:
            return vectors.new_ones(vectors.shape[:2])
        logits = [linear(stream) for linear, stream in zip(self.linears, vectors.unbind(dim=1), strict=True)]
        return torch.softmax(torch.cat(logits, dim=-1), dim=-1)


def stream_alignment(videos: Tensor, queries: Tensor, weights: Tensor) -> Tensor:
    """Return the cosine per stream, weighted by the query (Eq. 3 on CLS vectors, Eq. 4 on AVG vectors).

    Args:
        videos: (videos, S, d).
        queries: (queries, S, d).
        weights: (queries, S).

    Returns:
        (videos, queries) from -1 to 1.
    """
    return torch.einsum("vsd,qsd,qs->vq", F.normalize(videos, dim=-1), F.normalize(queries, dim=-1), weights)


def align(videos: VideoEncoding, queries: QueryEncoding, alpha: float) -> Tensor:
    """Return the score of every video with every query (Eq. 5).

    Args:
        videos: S streams of dimension d.
        queries: the same streams.
        alpha: weight α of the CLS alignment.

    Returns:
        (videos, queries) from -1 to 1; s_ij = s(v_i, t_j).
    """
    cls = stream_alignment(videos.cls, queries.cls, queries.cls_weights)
    avg = stream_alignment(videos.avg, queries.avg, queries.avg_weights)
    return alpha * cls + (1 - alpha) * avg
