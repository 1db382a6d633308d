"""What the towers hand on: the vectors of a batch of videos, and those of a batch of queries.

S is the number of streams (object, motion), d the hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class VideoEncoding:
    """A batch of videos after the video encoder (section III-B of the paper)."""

    cls: Tensor
    """(batch, S, d): g_v, the mean of the two CLS outputs."""
    avg: Tensor
    """(batch, S, d): h_v, the mean of the two means of clip outputs."""
    clips: Tensor
    """(batch, S, clips, d): X_v, the outputs at the sampled clips, without CLS."""
    clip_index: Tensor
    """(batch, clips) int64: which clip of the video each of them is."""
    anomaly_scores: Tensor
    """(batch, time): l, from 0 to 1; 0 where the batch is padded."""


@dataclass
class QueryEncoding:
    """A batch of queries, text or audio, with a vector for each stream of the videos."""

    cls: Tensor
    """(batch, S, d): g_q after its gated embedding units."""
    avg: Tensor
    """(batch, S, d): h_q after its gated embedding units."""
    cls_weights: Tensor
    """(batch, S): w of Eq. 3, rows sum to one."""
    avg_weights: Tensor
    """(batch, S): w' of Eq. 4, rows sum to one."""


@dataclass
class TextEncoding(QueryEncoding):
    """A batch of captions."""

    words: Tensor
    """(batch, length, text width): X_t, the backbone's outputs."""
    word_mask: Tensor
    """(batch, length) bool: true at word pieces, false at special tokens and padding."""


@dataclass
class AudioEncoding(QueryEncoding):
    """A batch of sounds."""

    anomaly_scores: Tensor
    """(batch, time): scores of the audio's own detector; 0 where the batch is padded."""
