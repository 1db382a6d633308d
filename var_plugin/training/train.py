"""Train an ALAN model from pairs and save it to a folder that `AlanModel.from_pretrained` loads."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import set_seed

from var_plugin.config import ModelOptions, require
from var_plugin.encoders.alan import AlanConfig, AlanModel, AlanProcessor, PhraseFinder, Phrases
from var_plugin.encoders.hub import Checkpoint
from var_plugin.errors import InvalidInputError, os_error_message
from var_plugin.evaluation.benchmarks.load import BenchmarkFiles, load_pairs
from var_plugin.evaluation.benchmarks.pairs import Pair, read_streams
from var_plugin.media.files import atomic_write
from var_plugin.training.config import TrainingSettings
from var_plugin.training.trainer import SELECTION_METRIC, AlanTrainer, training_arguments

SETTINGS_FILE = "training.json"
STATE_FILE = "trainer_state.json"

_CHECKPOINT = re.compile(r"checkpoint-(\d+)", re.ASCII)
_SETTINGS_WITHOUT_EFFECT = ("workers", "tensorboard", "progress")
"""Settings that may differ when a run is resumed, because they do not change its results."""

TEXT_BACKBONE = "google-bert/bert-base-cased@cd5ef92a9fb2f889e972770a36d4ed042daf221e"


@dataclass(frozen=True)
class TrainingResult:
    """Folder and best epoch of a training, by SumR (at most 600) on the held-out pairs."""

    folder: Path
    best_epoch: float
    validation_recall_sum: float


def hold_out(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Split pairs into training and validation, stratified by their anomaly label."""
    require("train", "sklearn")
    from sklearn.model_selection import train_test_split

    train, validation = train_test_split(
        list(pairs), test_size=share, random_state=seed, stratify=[pair.anomalous for pair in pairs]
    )
    return train, validation


def train(
    model: AlanModel, processor: AlanProcessor, pairs: Sequence[Pair], folder: Path, settings: TrainingSettings
) -> TrainingResult:
    """Train on one part of the pairs and keep the epoch that is best on the held-out part.

    An interrupted training resumes from its last complete checkpoint when the same call is repeated, with identical
    losses. ``torchrun`` distributes it over devices.

    Args:
        model: A new model, or one to train further. It ends with the weights of the best epoch.
        processor: The processor of the model.
        pairs: The training split. A share of it is held out.
        folder: Folder for checkpoints, model and processor.
        settings: See `TrainingSettings`.

    Raises:
        InvalidInputError: The folder contains a training run with other settings.
        MissingDependencyError: A package for training is not installed.
    """
    arguments = training_arguments(folder, settings)
    with arguments.main_process_first(desc="writing the settings"):
        _record_settings(folder, settings, model.config)
    training, validation = hold_out(pairs, settings.validation_share, settings.seed)
    trainer = AlanTrainer(
        model,
        processor,
        arguments,
        decay=settings.decay,
        train=training,
        validation=validation,
        phrases=_phrases(model.config, training),
    )
    checkpoint = last_complete_checkpoint(folder)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    trainer.save_model()
    best = max(
        (entry for entry in trainer.state.log_history if SELECTION_METRIC in entry),
        key=lambda entry: entry[SELECTION_METRIC],
    )
    return TrainingResult(folder, best["epoch"], best[SELECTION_METRIC])


def last_complete_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint. The state file is written last, so a readable one marks completeness."""
    numbers = [(int(match[1]), path) for path in folder.glob("*") if (match := _CHECKPOINT.fullmatch(path.name))]
    for _, checkpoint in sorted(numbers, reverse=True):
        try:
            json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        return checkpoint
    return None


def _record_settings(folder: Path, settings: TrainingSettings, config: AlanConfig) -> None:
    """Write the settings of the training to the folder, or check that they equal those already there."""
    fields = json.loads(config.to_json_string(use_diff=False))
    fields.pop("transformers_version", None)
    record = {
        "settings": {name: value for name, value in asdict(settings).items() if name not in _SETTINGS_WITHOUT_EFFECT},
        "model": fields,
    }
    path = folder / SETTINGS_FILE
    if path.is_file():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidInputError(
                f"cannot read {path}",
                why=os_error_message(error),
                fix="choose another output folder, or delete the file if the settings are the same",
            ) from error
        if stored != record:
            raise InvalidInputError(
                f"{folder} contains a training run with other settings",
                why=f"its {SETTINGS_FILE} differs from the requested settings",
                fix="choose another output folder, or pass the same settings to resume",
            )
        return
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _phrases(config: AlanConfig, pairs: Sequence[Pair]) -> dict[str, Phrases] | None:
    """Return the phrases of each caption, or None if the model has no masked phrase modeling."""
    if config.query_modality == "audio" or config.mpm_loss_weight == 0:
        return None
    captions = sorted({pair.caption or "" for pair in pairs})
    phrases = PhraseFinder(config.masked_unit, config.verb_pattern).find(captions)
    return dict(zip(captions, phrases, strict=True))


def train_benchmark(
    files: BenchmarkFiles,
    output: Path,
    *,
    options: ModelOptions,
    settings: TrainingSettings | None = None,
    text_backbone: str = TEXT_BACKBONE,
    overrides: dict[str, Any] | None = None,
) -> TrainingResult:
    """Train the model of the paper on UCFCrime-AR or XDViolence-AR. This is what ``var-plugin train --rgb`` runs.

    Args:
        files: The benchmark and its files. Without Flow features the model has the object stream alone (row 27).
        output: Folder for checkpoints and the trained model.
        options: Where the text backbone is.
        settings: Default: those of the paper.
        text_backbone: A BERT on the Hugging Face Hub or a folder, for UCFCrime-AR.
        overrides: `AlanConfig` fields that differ from the paper, for example for an ablation.

    Raises:
        MediaNotFoundError: Captions, lists or features are missing. The message gives their number and the first ones.
    """
    settings = settings or TrainingSettings()
    pairs = load_pairs(files, "train")
    set_seed(settings.seed)
    model, processor = make_model(files, pairs, Checkpoint(text_backbone, options=options), overrides or {})
    return train(model, processor, pairs, output, settings)


def make_model(
    files: BenchmarkFiles, pairs: Sequence[Pair], text_backbone: Checkpoint, overrides: dict[str, Any]
) -> tuple[AlanModel, AlanProcessor]:
    """Create a model for a benchmark. Its feature dimensions are those of the first video."""
    streams = read_streams(pairs[0])
    widths: dict[str, Any] = {
        "object_dim": streams.object_clips.shape[1],
        "motion_dim": None if streams.motion_clips is None else streams.motion_clips.shape[1],
    }
    if files.benchmark == "ucfcrime-ar":
        model = AlanModel.from_pretrained_text(text_backbone.folder, **widths, **overrides)
        return model, AlanProcessor(model.config, text_backbone.tokenizer())
    if streams.audio_clips is not None:
        widths["audio_dim"] = streams.audio_clips.shape[1]
    model = AlanModel(AlanConfig(query_modality="audio", **widths, **overrides))
    return model, AlanProcessor(model.config)
