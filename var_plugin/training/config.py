"""Training settings of ALAN: defaults of the paper, and a field for each point that the paper leaves open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from var_plugin.errors import InvalidInputError

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of section IV of the paper: Adam without weight decay, warm-up or gradient clipping (row 31).

    "Row n" refers to the table "Decisions" in docs/alan.md.

    Attributes:
        epochs: Passes over the training split (row 25). The learning rate halves every 13.5 epochs.
        batch_size: Pairs per device and step. Negatives of the ranking loss come from the same device and step. More
            devices or accumulation enlarge the effective batch, but do not add negatives.
        accumulation: Steps whose gradients are accumulated before an update.
        learning_rate: Learning rate of the first epoch, for all weights, including BERT.
        decay: Factor on the learning rate after each epoch.
        precision: ``fp32``, or mixed precision: ``bf16``, or ``fp16`` with loss scaling (CUDA only).
        validation_share: Share of the training videos that is held out to select the best epoch (row 25). The
            benchmarks have no validation split.
        workers: Data loader processes.
        seed: Random seed of weights, held-out split, order and sampling.
        tensorboard: Write TensorBoard events.
        progress: Show a progress bar and the losses.
    """

    epochs: int = 60
    batch_size: int = 64
    accumulation: int = 1
    learning_rate: float = 5e-5
    decay: float = 0.95
    precision: Precision = "fp32"
    validation_share: float = 0.1
    workers: int = 0
    seed: int = 0
    tensorboard: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation", "learning_rate", "decay"):
            if getattr(self, name) <= 0:
                raise InvalidInputError(f"{name} is {getattr(self, name)}", why="it must be greater than 0")
        if not 0 < self.validation_share < 1:
            raise InvalidInputError(
                f"validation_share is {self.validation_share}",
                why="training and validation both need videos",
                fix="pass a share between 0 and 1, such as 0.1",
            )
        if self.batch_size < 2:
            raise InvalidInputError("batch_size is 1", why="the ranking loss needs at least two pairs per batch")
