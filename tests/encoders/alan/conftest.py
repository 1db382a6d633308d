"""A tiny ALAN. All its sizes differ, so that swapped dimensions fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from transformers import BertConfig

from var_plugin.encoders.alan import AlanConfig

VOCABULARY = 60


@pytest.fixture(autouse=True)
def _seed_and_one_thread() -> Iterator[None]:
    """Run on one thread: matrices of this size are slower on several."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_config() -> Callable[..., AlanConfig]:
    def make(**fields: Any) -> AlanConfig:
        bert = BertConfig(
            vocab_size=VOCABULARY, hidden_size=20, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
            max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        defaults: dict[str, Any] = {
            "object_dim": 12, "motion_dim": 10, "audio_dim": 6, "text_config": bert, "hidden_size": 16,
            "num_attention_heads": 2, "intermediate_size": 28, "num_fixed_clips": 5, "num_anomaly_clips": 4,
            "detector_channels": (8, 4), "dropout": 0.0, "detector_dropout": 0.0,
        }  # fmt: skip
        return AlanConfig(**(defaults | fields))

    return make


@pytest.fixture
def video_batch() -> dict[str, torch.Tensor]:
    """Three videos of 20, 9 and 1 clips; padding is random and must not change the result."""
    mask = torch.arange(20) < torch.tensor([[20], [9], [1]])
    return {
        "object_features": torch.randn(3, 20, 12),
        "motion_features": torch.randn(3, 20, 10),
        "clip_mask": mask,
    }


@pytest.fixture
def text_batch() -> dict[str, torch.Tensor]:
    """Three captions of 7, 5 and 3 words; the last has no verb phrase."""
    attention_mask = (torch.arange(9) < torch.tensor([[9], [7], [5]])).long()
    return {
        "input_ids": torch.randint(5, VOCABULARY, (3, 9)) * attention_mask,
        "attention_mask": attention_mask,
        "noun_phrases": torch.tensor([[[1, 3], [5, 8]], [[2, 4], [0, 0]], [[1, 2], [0, 0]]]),
        "verb_phrases": torch.tensor([[[3, 5]], [[4, 6]], [[0, 0]]]),
    }


@pytest.fixture
def audio_batch() -> dict[str, torch.Tensor]:
    """Three audio queries of 14, 3 and 1 clips."""
    return {"audio_features": torch.randn(3, 14, 6), "audio_mask": torch.arange(14) < torch.tensor([[14], [3], [1]])}
