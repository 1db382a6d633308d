"""The ranking loss and the total loss (Eq. 6 and 10); the top-k loss stands with the detector."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from var_plugin.encoders.alan.configuration import AlanConfig, MarginReduction
from var_plugin.errors import InvalidInputError


def max_margin_loss(
    scores: Tensor, margin: float, reduction: MarginReduction = "mean", ignored: Tensor | None = None
) -> Tensor:
    """Bi-directional max-margin ranking loss (Eq. 6, row 13).

    Every pair i ≠ j contributes max(0, s_ij - s_ii + Δ) + max(0, s_ji - s_ii + Δ).

    Args:
        scores: (batch, batch), s_ij = s(v_i, t_j), matching pairs on the diagonal.
        margin: Δ.
        reduction: "mean" over the terms (2B(B-1) of them), or "batch": their sum over B.
        ignored: (batch, batch) bool, symmetric: pairs that are no negatives of each other (row 29).

    Returns:
        A scalar; 0 for a single pair.

    Raises:
        InvalidInputError: The matrix is not square.
    """
    if scores.shape[0] != scores.shape[1]:
        raise InvalidInputError(
            f"the ranking loss got {scores.shape[0]} videos and {scores.shape[1]} queries",
            why="it takes the i-th query to describe the i-th video",
            fix="pass as many queries as videos, or do without the loss",
        )
    own = scores.diagonal()
    # Rows compare a video with foreign queries, columns a query with foreign videos.
    hinges = F.relu(scores - own.unsqueeze(1) + margin) + F.relu(scores - own.unsqueeze(0) + margin)
    negatives = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    if ignored is not None:
        negatives &= ~ignored
    total = hinges.masked_fill(~negatives, 0).sum()
    return total / (2 * negatives.sum().clamp(min=1) if reduction == "mean" else len(scores))


def total_loss(
    config: AlanConfig, margin_loss: Tensor, topk_loss: Tensor | None = None, mpm_loss: Tensor | None = None
) -> Tensor:
    """L = L_margin + λ1 · L_topk + λ2 · L_mpm, without the parts that do not apply (Eq. 10)."""
    loss = margin_loss
    if topk_loss is not None:
        loss = loss + config.topk_loss_weight * topk_loss
    if mpm_loss is not None:
        loss = loss + config.mpm_loss_weight * mpm_loss
    return loss
