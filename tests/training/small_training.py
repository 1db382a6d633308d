"""A training of a few seconds. test_train.py imports `run` and starts this file as a process that kills itself."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from var_plugin.evaluation.benchmarks.synthetic import SyntheticParameters, generate_benchmark
from var_plugin.training.config import TrainingSettings
from var_plugin.training.synthetic_benchmark import synthetic_model
from var_plugin.training.train import TrainingResult, train
from var_plugin.training.trainer import AlanTrainer

SETTINGS = TrainingSettings(epochs=3, batch_size=8, learning_rate=1e-3, validation_share=0.25, seed=11, progress=False)

STEPS_PER_EPOCH = 5
"""36 of 48 pairs in batches of 8."""


def run(folder: Path, settings: TrainingSettings = SETTINGS) -> TrainingResult:
    set_seed(settings.seed)
    model, processor = synthetic_model(
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=16,
        num_fixed_clips=3,
        num_anomaly_clips=3,
        detector_channels=(8, 4),
        dropout=0.1,
    )
    pairs = generate_benchmark(SyntheticParameters(train_videos=48, test_videos=2, length=(20, 30)), seed=3).train.pairs
    return train(model, processor, pairs, folder, settings)


def kill_after(steps: int) -> None:
    """Kill this process with SIGKILL after a number of steps."""
    original, step = AlanTrainer.compute_loss, 0

    def compute_loss(*arguments: Any, **options: Any) -> Any:
        nonlocal step
        if step == steps:
            os.kill(os.getpid(), signal.SIGKILL)
        step += 1
        return original(*arguments, **options)

    AlanTrainer.compute_loss = compute_loss  # type: ignore[method-assign]


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 2:
        kill_after(int(sys.argv[2]))
    run(Path(sys.argv[1]))
