"""Captioned videos as tensors for `finetune`."""

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
from var_plugin.evaluation.captions import CaptionedVideo
from var_plugin.evaluation.clip_cache import sample_evenly, video_encoder
from var_plugin.evaluation.evaluate_suite import video_vector

MIN_VIDEOS = 4

_MIN_RELATED_IOU = 0.5
"""Two spans of one video with at least this temporal IoU show the same event."""


@dataclass(frozen=True)
class EncodedExamples:
    """n examples, encoded by the suite."""

    texts: Tensor
    """(n, dim), the captions."""
    clips: list[Tensor]
    """n of (time, dim), the clips of each video or span."""
    baseline: Tensor
    """(n, dim), the vector of each video or span without towers."""
    is_span: Tensor
    """(n,) bool. The index stores a span as its mean-pooled clips."""
    labels: Tensor
    """(n,), 1 for anomalous, 0 for normal, NaN for unlabelled videos."""
    captions: NDArray[np.int64]
    """(n,), id of the caption. Equal captions share an id."""
    videos: NDArray[np.int64]
    """(n,), id of the video."""
    spans: NDArray[np.float64]
    """(n, 2), seconds. A whole video ends at infinity."""

    def related(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Return which examples show the same content or have equal captions. They are not negatives of each other.

        Args:
            rows: the examples to compare.

        Returns:
            (rows, rows) bool.
        """
        captions, videos, (starts, ends) = self.captions[rows], self.videos[rows], self.spans[rows].T
        intersection = np.minimum(ends[:, None], ends) - np.maximum(starts[:, None], starts)
        union = np.maximum(ends[:, None], ends) - np.minimum(starts[:, None], starts)
        with np.errstate(invalid="ignore"):
            iou = intersection / union
        same_span = (iou >= _MIN_RELATED_IOU) | (np.isinf(ends)[:, None] & np.isinf(ends))
        related: NDArray[np.bool_] = (captions[:, None] == captions) | ((videos[:, None] == videos) & same_span)
        return related


@dataclass(frozen=True)
class EncodedBatch:
    """A batch of encoded examples, padded in time."""

    baseline: Tensor
    """(batch, dim)."""
    clips: Tensor
    """(batch, time, dim)."""
    mask: Tensor
    """(batch, time) bool, true at real clips."""
    is_span: Tensor
    """(batch,) bool."""
    labels: Tensor
    """(batch,)."""


def encode_examples(
    suite: Suite, examples: Sequence[CaptionedVideo], clips: Mapping[Path, ClipFeatures], max_clips: int
) -> EncodedExamples:
    """Encode the captions and clips of examples, with at most `max_clips` clips per example."""
    encoder = video_encoder(suite)
    captions = [example.caption or "" for example in examples]
    clip_vectors: list[Tensor] = []
    baseline: list[NDArray[np.float32]] = []
    for example in examples:
        video = clips[example.video]
        if example.span is None:
            baseline.append(video_vector(video, encoder))
            features = sample_evenly(video, max_clips).vectors
        else:
            span = video.within(*example.span)
            baseline.append(encoder.embed_spans(video.vectors, [span])[0])
            features = video.vectors[span][:max_clips]
        clip_vectors.append(torch.from_numpy(each_clip(features, encoder)))
    return EncodedExamples(
        texts=torch.from_numpy(suite.encode("text", captions, space=suite.encoders_for("video").space.name)),
        clips=clip_vectors,
        baseline=torch.from_numpy(np.stack(baseline)),
        is_span=torch.tensor([example.span is not None for example in examples]),
        labels=torch.tensor(
            [np.nan if example.anomalous is None else float(example.anomalous) for example in examples]
        ),
        captions=_ids([" ".join(caption.casefold().split()) for caption in captions]),
        videos=_ids([str(example.video) for example in examples]),
        spans=np.array([example.span or (0.0, np.inf) for example in examples]),
    )


def collate(data: EncodedExamples, rows: Sequence[int]) -> EncodedBatch:
    """Return some examples as one batch."""
    clips = [data.clips[row] for row in rows]
    lengths = torch.tensor([len(sequence) for sequence in clips])
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    mask = torch.arange(padded.shape[1]) < lengths[:, None]
    index = list(rows)
    return EncodedBatch(data.baseline[index], padded, mask, data.is_span[index], data.labels[index])


def split_videos(examples: Sequence[CaptionedVideo], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Split examples into training and validation rows by video, stratified by anomaly label as far as possible.

    Args:
        examples: all examples. All captions of a video go to the same part.
        share: share of the videos in the validation part.
        seed: random seed of the shuffle.

    Returns:
        The training rows and the validation rows.

    Raises:
        InvalidInputError: there are fewer than four videos.
    """
    videos = list(dict.fromkeys(example.video for example in examples))
    if len(videos) < MIN_VIDEOS:
        raise InvalidInputError(
            f"{len(videos)} videos are too few to train on",
            why=f"training and validation together need at least {MIN_VIDEOS}",
            fix="caption more videos",
        )
    shuffled = np.random.default_rng(seed).permutation(len(videos))
    labels = {example.video: example.anomalous for example in examples}
    by_label = sorted(shuffled.tolist(), key=lambda number: str(labels[videos[number]]))
    step = max(2, round(1 / share))
    held_out = {videos[number] for index, number in enumerate(by_label) if index % step == step // 2}
    held_out |= {videos[by_label[0]]} if len(held_out) < 2 else set()
    return (
        [row for row, example in enumerate(examples) if example.video not in held_out],
        [row for row, example in enumerate(examples) if example.video in held_out],
    )


def _ids(values: Sequence[str]) -> NDArray[np.int64]:
    return np.asarray(np.unique(values, return_inverse=True)[1], np.int64)
