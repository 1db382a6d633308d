"""Captioned videos as tensors: what `refine` trains on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from var_plugin.encoders.clip_features import ClipFeatures
from var_plugin.encoders.residual import each_clip
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError
from var_plugin.evaluation.captions import Captioned
from var_plugin.evaluation.clip_cache import evenly, video_encoder
from var_plugin.evaluation.evaluate_suite import video_vector

_SAME_SPAN = 0.5
"""Spans of one video with a temporal IoU from here on show the same."""


@dataclass(frozen=True)
class Items:
    """n examples."""

    texts: Tensor
    """(n, dim) as the suite has them."""
    clips: list[Tensor]
    """n of (time, dim): the clips of each video, or of the span."""
    own: Tensor
    """(n, dim) the vector that the suite has for each without towers."""
    timed: Tensor
    """(n,) bool: a span, which the index finds by the mean of its clips."""
    labels: Tensor
    """(n,) 1 for anomalous videos, 0 for normal ones, NaN where nobody said."""
    captions: NDArray[np.int64]
    """(n,) number of the caption; equal captions have one."""
    videos: NDArray[np.int64]
    """(n,) number of the video."""
    spans: NDArray[np.float64]
    """(n, 2) seconds; a whole video ends at infinity."""

    def related(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Return (rows, rows) whether two show the same, or are said to: then they are no negatives of each other."""
        captions, videos, (starts, ends) = self.captions[rows], self.videos[rows], self.spans[rows].T
        both = np.minimum(ends[:, None], ends) - np.maximum(starts[:, None], starts)
        either = np.maximum(ends[:, None], ends) - np.minimum(starts[:, None], starts)
        with np.errstate(invalid="ignore"):
            overlap = both / either
        same_span = (overlap >= _SAME_SPAN) | (np.isinf(ends)[:, None] & np.isinf(ends))
        related: NDArray[np.bool_] = (captions[:, None] == captions) | ((videos[:, None] == videos) & same_span)
        return related


@dataclass(frozen=True)
class Batch:
    """Some examples, padded."""

    own: Tensor
    """(batch, dim)."""
    clips: Tensor
    """(batch, time, dim)."""
    mask: Tensor
    """(batch, time) bool, true at real clips."""
    timed: Tensor
    """(batch,) bool."""
    labels: Tensor
    """(batch,)."""


def make_items(suite: Suite, examples: Sequence[Captioned], clips: Mapping[Path, ClipFeatures], most: int) -> Items:
    """Encode captions and take the clips of each example, at most so many."""
    frames = video_encoder(suite)
    captions = [one.caption or "" for one in examples]
    parts: list[Tensor] = []
    own: list[NDArray[np.float32]] = []
    for one in examples:
        seen = clips[one.video]
        if one.span is None:
            own.append(video_vector(seen, frames))
            features = evenly(seen, most).vectors
        else:
            inside = seen.within(*one.span)
            own.append(frames.embed_spans(seen.vectors, [inside])[0])
            features = seen.vectors[inside][:most]
        parts.append(torch.from_numpy(each_clip(features, frames)))
    return Items(
        texts=torch.from_numpy(suite.encode("text", captions, space=suite.encoders_for("video").space.name)),
        clips=parts,
        own=torch.from_numpy(np.stack(own)),
        timed=torch.tensor([one.span is not None for one in examples]),
        labels=torch.tensor([np.nan if one.anomalous is None else float(one.anomalous) for one in examples]),
        captions=_numbers([" ".join(caption.casefold().split()) for caption in captions]),
        videos=_numbers([str(one.video) for one in examples]),
        spans=np.array([one.span or (0.0, np.inf) for one in examples]),
    )


def collate(items: Items, rows: Sequence[int]) -> Batch:
    """Return the examples of some rows as one batch."""
    parts = [items.clips[row] for row in rows]
    lengths = torch.tensor([len(part) for part in parts])
    padded = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    mask = torch.arange(padded.shape[1]) < lengths[:, None]
    chosen = list(rows)
    return Batch(items.own[chosen], padded, mask, items.timed[chosen], items.labels[chosen])


def divide(examples: Sequence[Captioned], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the rows to train on and the rows held out; a video is on one side with all its captions.

    Raises:
        InvalidInputError: there are fewer than four videos.
    """
    videos = list(dict.fromkeys(one.video for one in examples))
    if len(videos) < 4:
        raise InvalidInputError(
            f"{len(videos)} videos are too few", why="some are trained on, others held out", fix="caption more videos"
        )
    order = np.random.default_rng(seed).permutation(len(videos))
    # Both kinds on both sides, as far as there are enough.
    kinds = {one.video: one.anomalous for one in examples}
    by_kind = sorted(order.tolist(), key=lambda number: str(kinds[videos[number]]))
    every = max(2, round(1 / share))
    held = {videos[number] for place, number in enumerate(by_kind) if place % every == every // 2}
    held |= {videos[by_kind[0]]} if len(held) < 2 else set()
    return (
        [row for row, one in enumerate(examples) if one.video not in held],
        [row for row, one in enumerate(examples) if one.video in held],
    )


def _numbers(values: Sequence[str]) -> NDArray[np.int64]:
    return np.asarray(np.unique(values, return_inverse=True)[1], np.int64)
