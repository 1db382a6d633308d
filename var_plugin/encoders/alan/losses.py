"""Ranking loss and total loss (Eq. 6 and 10). The top-k loss is in `detector.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from var_plugin.encoders.alan.options import MarginReduction
from var_plugin.errors import InvalidInputError

if TYPE_CHECKING:
    from var_plugin.encoders.alan.configuration import AlanConfig


def max_margin_loss(
    scores: Tensor, margin: float, reduction: MarginReduction = "mean", ignored: Tensor | None = None
) -> Tensor:
    """Return the bi-directional max-margin ranking loss (Eq. 6, row 13).

    Every pair i ≠ j contributes max(0, s_ij - s_ii + Δ) + max(0, s_ji - s_ii + Δ).

    Args:
        scores: (batch, batch), s_ij = s(v_i, t_j), matching pairs on the diagonal.
        margin: Δ.
        reduction: "mean" over the 2B(B-1) terms, or "batch": their sum divided by B.
        ignored: (batch, batch) bool, symmetric. Pairs that are not negatives of each other (row 29).

    Returns:
        A scalar; 0 for a single pair.

    Raises:
        InvalidInputError: The matrix is not square.
    """
    if scores.shape[0] != scores.shape[1]:
        raise InvalidInputError(
            f"the ranking loss got {scores.shape[0]} videos and {scores.shape[1]} queries",
            why="query i must describe video i",
            fix="pass as many queries as videos, or call the model without return_loss",
        )
    own = scores.diagonal()
    # Rows compare a video with the other queries, columns a query with the other videos.
    hinges = F.relu(scores - own.unsqueeze(1) + margin) + F.relu(scores - own.unsqueeze(0) + margin)
    negatives = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    if ignored is not None:
        negatives &= ~ignored
    total = hinges.masked_fill(~negatives, 0).sum()
    return total / (2 * negatives.sum().clamp(min=1) if reduction == "mean" else len(scores))


def total_loss(
    config: AlanConfig, margin_loss: Tensor, topk_loss: Tensor | None = None, mpm_loss: Tensor | None = None
) -> Tensor:
    """Return L = L_margin + λ1 · L_topk + λ2 · L_mpm (Eq. 10). Losses that are None are left out."""
    loss = margin_loss
    if topk_loss is not None:
        loss = loss + config.topk_loss_weight * topk_loss
    if mpm_loss is not None:
        loss = loss + config.mpm_loss_weight * mpm_loss
    return loss
