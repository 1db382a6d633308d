"""How ALAN is trained: the paper's settings as defaults, and what the paper leaves open by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from var_plugin.errors import InvalidInputError

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TrainingSettings:
    """Section IV of the paper (`alan.md` section 6): Adam without weight decay, warm-up or clipping (row 31).

    Attributes:
        epochs: Passes over the training part (row 25). The learning rate halves every 13.5 of them.
        batch_size: Pairs per device and step. Negatives of the ranking loss come from the same device and step only:
            several devices or accumulation make steps larger, but give a pair no more negatives.
        accumulation: Steps whose gradients are added up before the weights change.
        learning_rate: Of the first epoch, for every weight, BERT's among them.
        decay: Factor on the learning rate after each epoch.
        precision: ``fp32``, or mixed precision: ``bf16``, or ``fp16`` with loss scaling (CUDA only).
        validation_share: Part of the training videos that is held out to choose the best epoch (row 25): the benchmarks
            have no validation split, and the test split is not for choosing.
        workers: Processes that read features beside the training.
        seed: Of the weights, the held-out part, the order and all sampling.
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
                raise InvalidInputError(f"{name} is {getattr(self, name)}", why="it must be more than 0")
        if not 0 < self.validation_share < 1:
            raise InvalidInputError(
                f"validation_share is {self.validation_share}",
                why="some videos must be trained on and some held out",
                fix="pass a share between 0 and 1, such as 0.1",
            )
        if self.batch_size < 2:
            raise InvalidInputError("batch_size is 1", why="the ranking loss needs another pair in the batch")
