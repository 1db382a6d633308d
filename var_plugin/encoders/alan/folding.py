"""Fold the ALAN score into one inner product, for vector stores.

A video becomes `[ĝ_o ; ĝ_m ; ĥ_o ; ĥ_m ; 0]`, a query `[α·w_o·ĝ_o ; α·w_m·ĝ_m ; (1-α)·w'_o·ĥ_o ; (1-α)·w'_m·ĥ_m ; c]`.
Hats denote L2 normalisation. The inner product of the two equals Eq. 5, in both directions.

All video vectors have norm √(2S). The stream weights give queries different norms, which would change the ranking of
queries for a video in a store that only offers cosine. The norm coordinate c = √(α² + (1-α)² - ‖rest‖²) gives all
queries the norm √(α² + (1-α)²) and meets a 0 on the video side. Cosine therefore ranks like the score in both
directions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from var_plugin.encoders.alan.encodings import QueryEncoding, VideoEncoding


def fold_videos(videos: VideoEncoding) -> Tensor:
    """Return the folded vectors of videos, (videos, 2·S·d + 1) float32."""
    parts = torch.cat([videos.cls, videos.avg], dim=1).float()
    folded = F.normalize(parts, dim=-1).flatten(1)
    return F.pad(folded, (0, 1))


def fold_queries(queries: QueryEncoding, alpha: float) -> Tensor:
    """Return the folded vectors of queries, (queries, 2·S·d + 1) float32. `alpha` is α of Eq. 5."""
    parts = torch.cat([queries.cls, queries.avg], dim=1).float()
    weights = torch.stack([alpha * queries.cls_weights, (1 - alpha) * queries.avg_weights], dim=1).float()
    folded = (F.normalize(parts, dim=-1) * weights.flatten(1).unsqueeze(-1)).flatten(1)
    # (Σw)² - Σw² is exactly 0 for a single stream. The square root would amplify a rounding error.
    squared = (weights.sum(dim=2).square() - weights.square().sum(dim=2)).sum(dim=1, keepdim=True)
    return torch.cat([folded, squared.clamp(min=0).sqrt()], dim=1)
