"""Score pairs with an ALAN model: batches, the score matrix, and the anomaly scores of all clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from var_plugin.encoders.alan import AlanModel, AlanProcessor, Phrases
from var_plugin.evaluation.benchmarks.pairs import Pair, read_streams


@dataclass(frozen=True)
class PairCollator:
    """Read the features of pairs and build a batch.

    Attributes:
        processor: Processor of the model.
        phrases: The maskable phrases by caption. Training only.
    """

    processor: AlanProcessor
    phrases: Mapping[str, Phrases] | None = None

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """Return the inputs of `AlanModel.forward`, including labels."""
        streams = [read_streams(pair) for pair in pairs]
        config = self.processor.config
        inputs: dict[str, Any] = {
            "object_features": [features.object_clips for features in streams],
            "anomaly_labels": [int(pair.anomalous) for pair in pairs],
        }
        if config.motion_dim is not None:
            inputs["motion_features"] = [features.motion_clips for features in streams]
        if config.query_modality == "audio":
            inputs["audio_features"] = [features.audio_clips for features in streams]
        else:
            captions = [pair.caption or "" for pair in pairs]
            inputs["text"] = captions
            if self.phrases is not None:
                inputs["phrases"] = [self.phrases[caption] for caption in captions]
        return dict(self.processor(**inputs))


@dataclass(frozen=True)
class PairScores:
    """Scores of a model for a set of pairs."""

    scores: NDArray[np.float32]
    """(n, n), queries by videos, Eq. 5 of the paper."""

    anomaly: list[NDArray[np.float32]]
    """Per video (time,), from 0 to 1."""


def score_pairs(
    model: AlanModel, processor: AlanProcessor, pairs: Sequence[Pair], *, batch_size: int = 64
) -> PairScores:
    """Score every query against every video. Each side is encoded once; scores are inner products, as in a search.

    The mode of the model is restored. Clips are sampled as configured for evaluation, which is deterministic by
    default.

    Args:
        model: the model.
        processor: its processor.
        pairs: n pairs.
        batch_size: pairs per batch.
    """
    was_training = model.training
    model.eval()
    collate = PairCollator(processor)
    videos, queries, anomaly = [], [], []
    with torch.inference_mode():
        for start in range(0, len(pairs), batch_size):
            batch = {
                name: tensor.to(model.device) for name, tensor in collate(pairs[start : start + batch_size]).items()
            }
            output = model(**batch)
            videos.append(output.video_embeds.float())
            queries.append(output.query_embeds.float())
            lengths = batch["clip_mask"].sum(dim=1).tolist()
            rows = output.anomaly_scores.float().cpu().numpy()
            anomaly += [row[:length] for row, length in zip(rows, lengths, strict=True)]
    model.train(was_training)
    scores: NDArray[np.float32] = (torch.cat(queries) @ torch.cat(videos).T).cpu().numpy()
    return PairScores(scores, anomaly)
