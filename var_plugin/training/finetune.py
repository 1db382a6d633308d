"""Fine-tune a suite on captioned videos with residual ALAN towers, and accept them only if retrieval improves.

The backbones stay frozen. The towers are small and train on clip vectors that are computed once. Videos are split into
a training and a validation part. The towers are accepted only if they retrieve significantly more on the validation
part than the suite does without them. Too little data, or captions without information, therefore change nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from var_plugin.encoders.alan.residual import ResidualAlanConfig, ResidualAlanModel, ResidualVideo
from var_plugin.encoders.clip_features import ClipFeatures
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError, UnsupportedModalityError
from var_plugin.evaluation.captions import CaptionedVideo
from var_plugin.evaluation.metrics import ranks
from var_plugin.training.bootstrap import is_better_than_chance, is_significant_gain, recall_points
from var_plugin.training.finetune_data import EncodedBatch, EncodedExamples, collate, encode_examples, split_videos

MAX_CLIPS = 1200
"""Maximum clips per training video, evenly spaced: ten minutes at two clips per second."""


@dataclass(frozen=True)
class FinetuneSettings:
    """Hyperparameters of the training on captioned videos."""

    epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    validation_share: float = 0.2
    """Share of the videos that is held out."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or not 0 < self.validation_share < 1:
            raise InvalidInputError(
                "the training settings are out of range",
                why="training needs at least 1 epoch, 2 examples per batch, and videos on both sides of the split",
                fix="pass epochs >= 1, batch_size >= 2 and 0 < validation_share < 1",
            )


@dataclass(frozen=True)
class FinetuneResult:
    """Result of a fine-tuning run. SumR is measured on the validation videos and is at most 600."""

    model: ResidualAlanModel | None
    """The trained model. None if neither towers nor detector were accepted."""
    baseline_sum_r: float
    """SumR of the suite without towers."""
    best_sum_r: float
    """SumR of the best epoch, or of the suite if no epoch is better."""
    best_epoch: int
    """Epoch with the best SumR. 0: the suite without towers."""
    is_accepted: bool
    """Whether the towers are accepted: their gain is significant at 5 % by bootstrap over the validation videos."""
    detector_auc: float | None
    """AUC of the anomaly scores of the validation videos. None: no detector was trained and accepted."""
    training_queries: int
    """Number of queries in the training part."""
    validation_queries: int
    """Number of queries in the validation part."""


def finetune(
    suite: Suite,
    examples: Sequence[CaptionedVideo],
    clips: Mapping[Path, ClipFeatures],
    settings: FinetuneSettings | None = None,
    on_epoch: Callable[[int, float], None] = lambda epoch, sum_r: None,
) -> FinetuneResult:
    """Train towers on captioned videos.

    Args:
        suite: the suite to fine-tune.
        examples: videos, or spans of them, with captions. If some are labelled anomalous and others normal, an anomaly
            detector is trained as well.
        clips: the clip features of all videos.
        settings: hyperparameters.
        on_epoch: called after each epoch with its number and its SumR on the validation videos.

    Raises:
        InvalidInputError: there are too few videos.
        UnsupportedModalityError: the suite has no space for text and video, or an example has no caption.
    """
    settings = settings or FinetuneSettings()
    encoders = suite.encoders_for("video")
    if "text" not in encoders.space.modalities or any(example.caption is None for example in examples):
        raise UnsupportedModalityError(
            "fine-tuning needs captions and a space for text",
            why=f"space '{encoders.space.name}' takes no text, or an example has no caption",
            fix="choose a suite for text and video, and give every video a caption",
        )
    data = encode_examples(suite, examples, clips, MAX_CLIPS)
    training, validation = split_videos(examples, settings.validation_share, settings.seed)
    torch.manual_seed(settings.seed)
    model = _create_model(encoders.space.dim)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    untrained = copy.deepcopy(model.state_dict())
    baseline = validation_points(data.baseline, data, validation)
    best, best_epoch, best_towers = baseline, 0, untrained
    best_auc, best_scores, best_detector = 0.5, None, model.detector.state_dict()
    random = np.random.default_rng(settings.seed)
    for epoch in range(1, settings.epochs + 1):
        _train_epoch(model.train(), optimizer, data, random.permutation(training).tolist(), settings.batch_size)
        videos, scores = encode_videos(model.eval(), data, validation)
        points = validation_points(videos, data, validation, texts=_encode_texts(model, data, validation))
        on_epoch(epoch, float(points.mean()))
        if points.mean() > best.mean():
            best, best_epoch, best_towers = points, epoch, copy.deepcopy(model.state_dict())
        auc = detector_auc(scores, data, validation)
        if auc is not None and auc > best_auc:
            best_auc, best_scores = auc, _labelled_scores(scores, data, validation)
            best_detector = copy.deepcopy(model.detector.state_dict())
    detector_accepted = best_scores is not None and is_better_than_chance(*best_scores)
    towers_accepted = is_significant_gain(baseline, best, data.videos[validation])
    model.load_state_dict(best_towers if towers_accepted else untrained)
    if detector_accepted:
        model.detector.load_state_dict(best_detector)
    return FinetuneResult(
        model=model.eval() if towers_accepted or detector_accepted else None,
        baseline_sum_r=float(baseline.mean()),
        best_sum_r=float(best.mean()),
        best_epoch=best_epoch,
        is_accepted=towers_accepted,
        detector_auc=best_auc if detector_accepted else None,
        training_queries=len(training),
        validation_queries=len(validation),
    )


def encode_videos(model: ResidualAlanModel, data: EncodedExamples, rows: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
    """Return the vectors (rows, dim) that search compares with texts, and per row the clip anomaly scores (time,)."""
    vectors, scores = [], []
    with torch.inference_mode():
        for row in rows:
            video = _video_outputs(model, collate(data, [row]))
            vectors.append(video.vectors[0])
            scores.append(video.anomaly_scores[0])
    return torch.stack(vectors), scores


def validation_points(
    videos: Tensor, data: EncodedExamples, rows: Sequence[int], texts: Tensor | None = None
) -> NDArray[np.float64]:
    """Return the contribution of each row to SumR, (rows,). Related examples count as correct.

    Args:
        videos: (rows, dim), or (all, dim), from which the rows are taken.
        data: all examples.
        rows: the examples to rank among each other.
        texts: (rows, dim). Default: the text vectors of the suite.
    """
    videos = videos if len(videos) == len(rows) else videos[list(rows)]
    texts = data.texts[list(rows)] if texts is None else texts
    scores = (texts @ videos.T).numpy()
    related = data.related(rows)
    return recall_points(ranks(scores, related), ranks(scores.T, related.T))


def detector_auc(scores: Sequence[Tensor], data: EncodedExamples, rows: Sequence[int]) -> float | None:
    """Return the AUC of the highest score per video, or None if only one class is labelled."""
    from sklearn.metrics import roc_auc_score

    truth, highest = _labelled_scores(scores, data, rows)
    if truth.all() or not truth.any():
        return None
    return float(roc_auc_score(truth, highest))


def _labelled_scores(
    scores: Sequence[Tensor], data: EncodedExamples, rows: Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return label and highest clip score of each labelled row."""
    labelled = [index for index, row in enumerate(rows) if data.labels[row].isfinite()]
    truth = np.array([bool(data.labels[rows[index]]) for index in labelled], bool)
    return truth, np.array([scores[index].max().item() for index in labelled])


def _create_model(dim: int) -> ResidualAlanModel:
    return ResidualAlanModel(
        ResidualAlanConfig(
            hidden_size=dim, motion_dim=None, sentence_dim=dim, use_text_adapter=True, num_attention_heads=gcd(dim, 8)
        )
    )


def _train_epoch(
    model: ResidualAlanModel,
    optimizer: torch.optim.Optimizer,
    data: EncodedExamples,
    order: Sequence[int],
    batch_size: int,
) -> None:
    for first in range(0, len(order) - 1, batch_size):
        rows = list(order[first : first + batch_size])
        if len(rows) < 2:  # a single example has no negative
            continue
        batch = collate(data, rows)
        videos = _video_outputs(model, batch)
        ignored = torch.from_numpy(data.related(rows))
        texts = data.texts[rows]
        optimizer.zero_grad()
        loss = model.loss(videos, model.encode_texts(texts, texts), batch.mask, batch.labels, ignored)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _video_outputs(model: ResidualAlanModel, batch: EncodedBatch) -> ResidualVideo:
    """Return the vectors that search compares, and the anomaly scores if any example is labelled."""
    if batch.is_span.all() and not batch.labels.isfinite().any():
        return ResidualVideo(batch.baseline, torch.zeros_like(batch.mask, dtype=torch.float32))
    videos: ResidualVideo = model(batch.clips, batch.mask)
    # The index stores spans as the suite encodes them, without towers.
    videos.vectors = torch.where(batch.is_span.unsqueeze(-1), batch.baseline, videos.vectors)
    return videos


def _encode_texts(model: ResidualAlanModel, data: EncodedExamples, rows: Sequence[int]) -> Tensor:
    with torch.inference_mode():
        texts = data.texts[list(rows)]
        encoded: Tensor = model.encode_texts(texts, texts)
        return encoded
