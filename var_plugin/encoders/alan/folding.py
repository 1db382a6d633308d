"""The whole ALAN score as one inner product: what goes into vector stores.

A video becomes `[ĝ_o ; ĝ_m ; ĥ_o ; ĥ_m ; 0]`, a query `[α·w_o·ĝ_o ; α·w_m·ĝ_m ; (1-α)·w'_o·ĥ_o ; (1-α)·w'_m·ĥ_m ; c]`
with hats for unit length. Their inner product is Eq. 5 exactly, in both directions. All videos have length √(2S). The
query's weights give queries different lengths, by which a store that only knows cosine would rank queries for a video
wrongly; the completing coordinate c = √(α² + (1-α)² - ‖rest‖²) makes all their lengths equal, √(α² + (1-α)²), and meets
a 0 on the other side. So cosine ranks like the score, in both directions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from var_plugin.encoders.alan.encodings import QueryEncoding, VideoEncoding


def fold_videos(videos: VideoEncoding) -> Tensor:
    """(videos, 2·S·d + 1) float32."""
    parts = torch.cat([videos.cls, videos.avg], dim=1).float()
    folded = F.normalize(parts, dim=-1).flatten(1)
    return F.pad(folded, (0, 1))


def fold_queries(queries: QueryEncoding, alpha: float) -> Tensor:
    """(queries, 2·S·d + 1) float32; `alpha` is α of Eq. 5."""
    parts = torch.cat([queries.cls, queries.avg], dim=1).float()
    shares = torch.stack([alpha * queries.cls_weights, (1 - alpha) * queries.avg_weights], dim=1).float()
    folded = (F.normalize(parts, dim=-1) * shares.flatten(1).unsqueeze(-1)).flatten(1)
    # (Σw)² - Σw² per alignment: a single stream gives 0 exactly, where a root would blow up what rounding left.
    missing = (shares.sum(dim=2).square() - shares.square().sum(dim=2)).sum(dim=1, keepdim=True)
    return torch.cat([folded, missing.clamp(min=0).sqrt()], dim=1)
