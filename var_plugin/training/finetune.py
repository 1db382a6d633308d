"""Refine a suite on one's own captioned videos: residual ALAN towers on its space, kept only where they are better.

The backbones stay as they are; what is trained is small, on vectors that were computed once. Videos are divided into a
part to train on and a part to validate on, and the towers are kept only if they surely find more on the latter than the
suite did without them. So a training on too little, or on captions that say nothing, changes nothing.
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
from var_plugin.evaluation.captions import Captioned
from var_plugin.evaluation.metrics import ranks
from var_plugin.training.bootstrap import points, surely_more, surely_told_apart
from var_plugin.training.finetune_data import Batch, Items, collate, divide, make_items

MOST_CLIPS = 1200
"""Of longer videos so many clips, at even distances, are trained on: ten minutes at two a second."""


@dataclass(frozen=True)
class RefineSettings:
    """How towers are trained on one's own videos."""

    epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    validation_share: float = 0.2
    """Of the videos."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or not 0 < self.validation_share < 1:
            raise InvalidInputError(
                "these settings train nothing", fix="at least 1 epoch, batches of at least 2, a share between 0 and 1"
            )


@dataclass(frozen=True)
class Refined:
    """What a training came to; SumR is on the videos held out, at most 600."""

    model: ResidualAlanModel | None
    """The towers; None: nothing was better than the suite itself."""
    start: float
    """SumR of the suite without towers."""
    best: float
    """SumR of the best epoch, or of the start."""
    epoch: int
    """The best epoch; 0: the start."""
    towers_kept: bool
    """Whether that is more than the start in 95 % of draws of the held-out videos."""
    detector_area: float | None
    """Area under the ROC curve of the anomaly scores of held-out videos; None: no detector was trained and kept."""
    trained_on: int
    held_out: int
    """Queries."""


def refine(
    suite: Suite,
    examples: Sequence[Captioned],
    clips: Mapping[Path, ClipFeatures],
    settings: RefineSettings | None = None,
    report: Callable[[int, float], None] = lambda epoch, recall_sum: None,
) -> Refined:
    """Train towers on captioned videos.

    Args:
        suite: what they stand on.
        examples: videos, or spans of them, with captions; where some videos are said to be anomalous and others not to
            be, an anomaly score is trained as well.
        clips: the clips of all videos.
        settings: see there.
        report: told each epoch and its SumR on the videos held out.

    Raises:
        InvalidInputError: too few videos.
        UnsupportedModalityError: the suite has no space for texts and video.
    """
    settings = settings or RefineSettings()
    encoders = suite.encoders_for("video")
    if "text" not in encoders.space.modalities or any(one.caption is None for one in examples):
        raise UnsupportedModalityError(
            "towers are trained on captions", why="the space, or an example, has none", fix="give texts"
        )
    items = make_items(suite, examples, clips, MOST_CLIPS)
    chosen, left = divide(examples, settings.validation_share, settings.seed)
    torch.manual_seed(settings.seed)
    model = _model(encoders.space.dim)
    start = held_out_points(items.own, items, left)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    unchanged = copy.deepcopy(model.state_dict())
    best, best_epoch, towers = start, 0, unchanged
    area, apart, detector = 0.5, None, model.detector.state_dict()
    random = np.random.default_rng(settings.seed)
    for epoch in range(1, settings.epochs + 1):
        _train(model.train(), optimizer, items, random.permutation(chosen).tolist(), settings.batch_size)
        videos, scores = encode(model.eval(), items, left)
        found = held_out_points(videos, items, left, texts=_texts(model, items, left))
        report(epoch, float(found.mean()))
        if found.mean() > best.mean():
            best, best_epoch, towers = found, epoch, copy.deepcopy(model.state_dict())
        seen = detector_area(scores, items, left)
        if seen is not None and seen > area:
            area, apart = seen, _told_apart(scores, items, left)
            detector = copy.deepcopy(model.detector.state_dict())
    detects = apart is not None and surely_told_apart(*apart)
    kept = surely_more(start, best, items.videos[left])
    model.load_state_dict(towers if kept else unchanged)
    if detects:
        model.detector.load_state_dict(detector)
    return Refined(
        model=model.eval() if kept or detects else None,
        start=float(start.mean()),
        best=float(best.mean()),
        epoch=best_epoch,
        towers_kept=kept,
        detector_area=area if detects else None,
        trained_on=len(chosen),
        held_out=len(left),
    )


def encode(model: ResidualAlanModel, items: Items, rows: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
    """Return the vectors (rows, dim) that the search would compare with the texts, and the clips' anomaly scores."""
    vectors, scores = [], []
    with torch.inference_mode():
        for row in rows:
            video = _videos(model, collate(items, [row]))
            vectors.append(video.vectors[0])
            scores.append(video.anomaly_scores[0])
    return torch.stack(vectors), scores


def held_out_points(
    videos: Tensor, items: Items, rows: Sequence[int], texts: Tensor | None = None
) -> NDArray[np.float64]:
    """Return (rows,) what each adds to SumR of the rows among each other; what belongs together counts as right.

    Args:
        videos: (rows, dim), or (all, dim) of which the rows are taken.
        items: all examples.
        rows: the ones that count.
        texts: (rows, dim); default: as the suite has them.
    """
    videos = videos if len(videos) == len(rows) else videos[list(rows)]
    texts = items.texts[list(rows)] if texts is None else texts
    scores = (texts @ videos.T).numpy()
    related = items.related(rows)
    return points(ranks(scores, related), ranks(scores.T, related.T))


def detector_area(scores: Sequence[Tensor], items: Items, rows: Sequence[int]) -> float | None:
    """Return the area under the curve of the videos' highest scores; None where not both kinds are there."""
    from sklearn.metrics import roc_auc_score

    truth, highest = _told_apart(scores, items, rows)
    if truth.all() or not truth.any():
        return None
    return float(roc_auc_score(truth, highest))


def _told_apart(
    scores: Sequence[Tensor], items: Items, rows: Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return, of the rows of which it was said, whether they are anomalous, and their highest scores."""
    known = [place for place, row in enumerate(rows) if items.labels[row].isfinite()]
    truth = np.array([bool(items.labels[rows[place]]) for place in known], bool)
    return truth, np.array([scores[place].max().item() for place in known])


def _model(dim: int) -> ResidualAlanModel:
    model: ResidualAlanModel = ResidualAlanModel(
        ResidualAlanConfig(
            hidden_size=dim, motion_dim=None, sentence_dim=dim, use_text_adapter=True, num_attention_heads=gcd(dim, 8)
        )
    )
    return model


def _train(
    model: ResidualAlanModel,
    optimizer: torch.optim.Optimizer,
    items: Items,
    order: Sequence[int],
    batch_size: int,
) -> None:
    for first in range(0, len(order) - 1, batch_size):
        rows = list(order[first : first + batch_size])
        if len(rows) < 2:  # no negative
            continue
        batch = collate(items, rows)
        videos = _videos(model, batch)
        ignored = torch.from_numpy(items.related(rows))
        texts = items.texts[rows]
        optimizer.zero_grad()
        loss = model.loss(videos, model.encode_texts(texts, texts), batch.mask, batch.labels, ignored)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _videos(model: ResidualAlanModel, batch: Batch) -> ResidualVideo:
    """Return what the search would find, and the clips' anomaly scores where somebody said what is abnormal."""
    if batch.timed.all() and not batch.labels.isfinite().any():
        return ResidualVideo(batch.own, torch.zeros_like(batch.mask, dtype=torch.float32))
    videos: ResidualVideo = model(batch.clips, batch.mask)
    # The index leaves spans as the suite has them.
    videos.vectors = torch.where(batch.timed.unsqueeze(-1), batch.own, videos.vectors)
    return videos


def _texts(model: ResidualAlanModel, items: Items, rows: Sequence[int]) -> Tensor:
    with torch.inference_mode():
        texts = items.texts[list(rows)]
        found: Tensor = model.encode_texts(texts, texts)
        return found
