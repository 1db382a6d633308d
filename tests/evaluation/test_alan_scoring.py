from __future__ import annotations

import numpy as np
import torch

from tests.tolerances import FLOAT32
from var_plugin.encoders.alan import AlanConfig, AlanModel, AlanProcessor
from var_plugin.evaluation.alan_scoring import score_pairs
from var_plugin.evaluation.benchmarks.pairs import Pair


def test_scores_are_queries_by_videos_for_any_batch_size() -> None:
    torch.manual_seed(0)
    config = AlanConfig(
        query_modality="audio", object_dim=6, motion_dim=5, audio_dim=4, hidden_size=8, num_attention_heads=2,
        intermediate_size=8, num_fixed_clips=3, num_anomaly_clips=3,
    )  # fmt: skip
    model, processor = AlanModel(config).train(), AlanProcessor(config)
    rng = np.random.default_rng(0)

    def clips(length: int, width: int) -> np.ndarray:
        return rng.normal(size=(length, width)).astype(np.float32)

    pairs = [
        Pair(f"video {length}", length % 2 == 0, clips(length, 6), clips(length, 5), clips(length, 4))
        for length in (1, 9, 30, 4, 17)
    ]
    whole = score_pairs(model, processor, pairs, batch_size=5)
    parts = score_pairs(model, processor, pairs, batch_size=2)
    assert model.training, "the model is left as it was"
    np.testing.assert_allclose(whole.scores, parts.scores, atol=FLOAT32)
    assert [len(row) for row in whole.anomaly] == [1, 9, 30, 4, 17]

    model.eval()
    with torch.inference_mode():
        video = processor(object_features=[pairs[2].object_clips], motion_features=[pairs[2].motion_clips])
        query = processor(audio_features=[pairs[1].audio_clips])
        one = model(**video, **query).scores.item()
    assert abs(whole.scores[1, 2] - one) < FLOAT32
