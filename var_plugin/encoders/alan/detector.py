"""Weakly supervised anomaly detector: clip scores learned from one label per video."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from var_plugin.encoders.alan.options import DetectorOptions


class AnomalyDetector(nn.Module):
    """Three temporal convolutions, 128 → 32 → 1 channels, that score each clip from 0 to 1 (section III-B).

    ReLU and dropout follow the first two convolutions, a sigmoid the last (rows 8 to 10).

    Args:
        config: Channels, kernel size, dropout and padding.
        input_dim: Dimension of a clip feature.
    """

    def __init__(self, config: DetectorOptions, input_dim: int) -> None:
        super().__init__()
        widths = (input_dim, *config.detector_channels, 1)
        kernel = config.detector_kernel_size
        self.convolutions = nn.ModuleList(nn.Conv1d(i, o, kernel) for i, o in pairwise(widths))
        self.dropout = nn.Dropout(config.detector_dropout)
        before = kernel - 1 if config.detector_padding == "causal" else kernel // 2
        self.padding = (before, kernel - 1 - before)
        self.context_size = len(self.convolutions) * (kernel - 1)
        """A score depends on at most this many clips before and after its own."""

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Score clips.

        Args:
            features: (batch, time, input_dim).
            mask: (batch, time) bool, true at real clips.

        Returns:
            (batch, time) from 0 to 1; 0 at padding.
        """
        return torch.sigmoid(self.logits(features, mask)).masked_fill(~mask, 0)

    def logits(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return the scores (batch, time) before the sigmoid. Values at padding are undefined."""
        real = mask.unsqueeze(1)
        hidden = features.transpose(1, 2)
        for i, convolution in enumerate(self.convolutions):
            if i > 0:
                hidden = self.dropout(F.relu(hidden))
            # Batch padding must equal convolution padding. Otherwise scores depend on the other videos of the batch.
            hidden = convolution(F.pad(hidden.masked_fill(~real, 0), self.padding))
        return hidden.squeeze(1)


def topk_score(scores: Tensor, mask: Tensor, divisor: int) -> Tensor:
    """Return the video score ρ, the mean of the k highest clip scores, k = max(1, T // divisor) (Eq. 7, row 12).

    Args:
        scores: (batch, time) from 0 to 1.
        mask: (batch, time) bool, true at real clips.
        divisor: 16 in the paper.

    Returns:
        (batch,).
    """
    k = (mask.sum(dim=1) // divisor).clamp(min=1)
    highest = scores.masked_fill(~mask, 0).sort(dim=1, descending=True).values
    is_top = torch.arange(scores.shape[1], device=scores.device) < k.unsqueeze(1)
    return highest.masked_fill(~is_top, 0).sum(dim=1) / k


def topk_loss(scores: Tensor, mask: Tensor, labels: Tensor, divisor: int) -> Tensor:
    """Return the binary cross-entropy between ρ and the label of the video (Eq. 8).

    Args:
        scores: (batch, time) from 0 to 1.
        mask: (batch, time) bool, true at real clips.
        labels: (batch,), 1 for abnormal, 0 for normal videos.
        divisor: 16 in the paper.

    Returns:
        A scalar, float32.
    """
    # ρ is a mean of sigmoids, so there is no logit to pass. Half precision would round scores to 0 and 1.
    with torch.autocast(scores.device.type, enabled=False):
        return F.binary_cross_entropy(topk_score(scores.float(), mask, divisor), labels.float())
