"""ALAN on the Trainer of transformers: mixed precision, gradient accumulation, DDP, checkpoints and resuming."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, StepLR
from transformers import PrinterCallback, Trainer, TrainerControl, TrainingArguments

from var_plugin.config import require
from var_plugin.encoders.alan import AlanModel, AlanProcessor, Phrases
from var_plugin.errors import InvalidInputError
from var_plugin.evaluation.alan_scoring import PairCollator, score_pairs
from var_plugin.evaluation.benchmarks.pairs import Pair
from var_plugin.evaluation.metrics import retrieval
from var_plugin.training.config import TrainingSettings

SELECTION_METRIC = "eval_SumR"


def training_arguments(folder: Path, settings: TrainingSettings) -> TrainingArguments:
    """Return the Trainer arguments for training settings.

    Raises:
        InvalidInputError: fp16 is requested without a CUDA device.
        MissingDependencyError: A package for training is not installed.
    """
    require("train", "accelerate", *(["tensorboard"] if settings.tensorboard else []))
    if settings.precision == "fp16" and not torch.cuda.is_available():
        raise InvalidInputError("fp16 needs a CUDA device", why="no CUDA device is available", fix="use bf16 or fp32")
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        optim="adamw_torch",  # without weight decay this is Adam
        weight_decay=0.0,
        max_grad_norm=0.0,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=SELECTION_METRIC,
        greater_is_better=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=not settings.progress,
        report_to=["tensorboard"] if settings.tensorboard else [],
        dataloader_num_workers=settings.workers,
        dataloader_pin_memory=torch.accelerator.is_available(),
        use_cpu=not torch.accelerator.is_available(),
        remove_unused_columns=False,
        # Some parameters have no gradient if no caption of a batch has a verb phrase, or in an ablation.
        ddp_find_unused_parameters=True,
        seed=settings.seed,
    )


class AlanTrainer(Trainer):  # type: ignore[misc]
    """Train on pairs and select the epoch by SumR on held-out pairs."""

    lr_scheduler: LRScheduler | None
    control: TrainerControl

    def __init__(
        self,
        model: AlanModel,
        processor: AlanProcessor,
        arguments: TrainingArguments,
        *,
        decay: float,
        train: Sequence[Pair],
        validation: Sequence[Pair],
        phrases: Mapping[str, Phrases] | None,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            data_collator=PairCollator(processor, phrases),
            train_dataset=train,
            eval_dataset=validation,
            processing_class=processor,
        )
        self.decay = decay
        if arguments.disable_tqdm:
            self.remove_callback(PrinterCallback)  # without a progress bar the Trainer prints instead

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the loss of one batch (Eq. 10)."""
        output = model(**inputs, return_loss=True)
        return (output.loss, output) if return_outputs else output.loss

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LRScheduler:
        """Create a scheduler that multiplies the learning rate by `decay` after each epoch."""
        if self.lr_scheduler is None:
            steps_per_epoch = max(1, round(num_training_steps / self.args.num_train_epochs))
            self.lr_scheduler = StepLR(optimizer or self.optimizer, step_size=steps_per_epoch, gamma=self.decay)
        return self.lr_scheduler

    def evaluate(
        self,
        eval_dataset: Sequence[Pair] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Measure retrieval in both directions on all held-out pairs. Every process computes the same result."""
        pairs = self.eval_dataset if eval_dataset is None else eval_dataset
        result = score_pairs(self.model, self.processing_class, pairs, batch_size=self.args.eval_batch_size)
        values = retrieval(result.scores).named_values()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
