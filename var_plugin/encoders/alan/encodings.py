"""Outputs of the towers: the vectors of a batch of videos or queries.

S is the number of streams (object, motion), d the hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class VideoEncoding:
    """Output of the video tower for a batch of videos (section III-B)."""

    cls: Tensor
    """(batch, S, d): g_v, the mean of the two CLS outputs."""
    avg: Tensor
    """(batch, S, d): h_v, the mean over the two parts of their mean clip output."""
    clips: Tensor
    """(batch, S, clips, d): X_v, the outputs of the sampled clips, without CLS."""
    clip_index: Tensor
    """(batch, clips) int64: index of each sampled clip in its video."""
    anomaly_scores: Tensor
    """(batch, time): l, from 0 to 1; 0 at padding."""


@dataclass
class QueryEncoding:
    """A batch of text or audio queries, with one vector per stream of the videos."""

    cls: Tensor
    """(batch, S, d): g_q after the gated embedding units."""
    avg: Tensor
    """(batch, S, d): h_q after the gated embedding units."""
    cls_weights: Tensor
    """(batch, S): w of Eq. 3. Rows sum to one."""
    avg_weights: Tensor
    """(batch, S): w' of Eq. 4. Rows sum to one."""


@dataclass
class TextEncoding(QueryEncoding):
    """A batch of captions."""

    words: Tensor
    """(batch, length, text width): X_t, the outputs of the text backbone."""
    word_mask: Tensor
    """(batch, length) bool: true at word pieces, false at special tokens and padding."""


@dataclass
class AudioEncoding(QueryEncoding):
    """A batch of audio queries."""

    anomaly_scores: Tensor
    """(batch, time): scores of the audio detector; 0 at padding."""
