"""Training a model from pairs to a folder that `AlanModel.from_pretrained` loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import set_seed

from var_plugin.config import require
from var_plugin.encoders.alan import AlanConfig, AlanModel, AlanProcessor, PhraseFinder, Phrases
from var_plugin.encoders.hub import Checkpoint
from var_plugin.errors import InvalidInputError
from var_plugin.evaluation.benchmarks.load import BenchmarkFiles, load_pairs
from var_plugin.evaluation.benchmarks.pairs import Pair, read_streams
from var_plugin.training.config import TrainingSettings
from var_plugin.training.trainer import SELECTION_METRIC, AlanTrainer, training_arguments

SETTINGS_FILE = "training.json"
STATE_FILE = "trainer_state.json"

# What may differ between a run and its continuation without changing a number.
PRESENTATION = ("workers", "tensorboard", "progress")

TEXT_BACKBONE = "google-bert/bert-base-cased@cd5ef92a9fb2f889e972770a36d4ed042daf221e"


@dataclass(frozen=True)
class TrainingResult:
    """What a training left behind: the best epoch by SumR on the held-out pairs, at most 600."""

    folder: Path
    best_epoch: float
    validation_recall_sum: float


def hold_out(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Split into training and validation, with the same part of anomalous videos in both."""
    require("train", "sklearn")
    from sklearn.model_selection import train_test_split

    train, validation = train_test_split(
        list(pairs), test_size=share, random_state=seed, stratify=[pair.anomalous for pair in pairs]
    )
    return train, validation


def train(
    model: AlanModel, processor: AlanProcessor, pairs: Sequence[Pair], folder: Path, settings: TrainingSettings
) -> TrainingResult:
    """Train on a part of the pairs and keep the epoch that is best on the rest.

    A training that was interrupted goes on from its last complete checkpoint when the same call is made again, with the
    same losses that it would have had. ``torchrun`` spreads it over devices.

    Args:
        model: Freshly made, or to be trained further; left with the weights of the best epoch.
        processor: The model's.
        pairs: Training split; a share of it is held out.
        folder: Receives checkpoints, then model and processor.
        settings: See `TrainingSettings`.

    Raises:
        InvalidInputError: If the folder holds a training with other settings.
        MissingDependencyError: If a package that training needs is absent.
    """
    arguments = training_arguments(folder, settings)
    with arguments.main_process_first(desc="claiming the folder"):
        _claim(folder, settings, model.config)
    kept, validation = hold_out(pairs, settings.validation_share, settings.seed)
    trainer = AlanTrainer(
        model,
        processor,
        arguments,
        decay=settings.decay,
        train=kept,
        validation=validation,
        phrases=_phrases(model.config, kept),
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
    """The newest checkpoint whose state, which is written last, can be read; a kill may leave a partial one."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for checkpoint in checkpoints:
        try:
            json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return checkpoint
    return None


def _claim(folder: Path, settings: TrainingSettings, config: AlanConfig) -> None:
    """Note what is trained here, so that a continuation with other settings is refused."""
    fields = json.loads(config.to_json_string(use_diff=False))
    fields.pop("transformers_version", None)
    wanted = {
        "settings": {name: value for name, value in asdict(settings).items() if name not in PRESENTATION},
        "model": fields,
    }
    path = folder / SETTINGS_FILE
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != wanted:
            raise InvalidInputError(
                f"{folder} holds a training with other settings",
                why=f"{SETTINGS_FILE} in it differs from what is asked for",
                fix="choose another output folder, or ask for the same settings to continue",
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")


def _phrases(config: AlanConfig, pairs: Sequence[Pair]) -> dict[str, Phrases] | None:
    """Phrases of all captions by caption, if the model learns from masked ones."""
    if config.query_modality == "audio" or config.mpm_loss_weight == 0:
        return None
    captions = sorted({pair.caption or "" for pair in pairs})
    found = PhraseFinder(config.masked_unit, config.verb_pattern).find(captions)
    return dict(zip(captions, found, strict=True))


def train_benchmark(
    files: BenchmarkFiles,
    output: Path,
    *,
    settings: TrainingSettings | None = None,
    text_backbone: str = TEXT_BACKBONE,
    choices: dict[str, Any] | None = None,
) -> TrainingResult:
    """Train the paper's model on UCFCrime-AR or XDViolence-AR: what ``var-plugin train`` does.

    Args:
        files: The benchmark and where its files are. Without Flow the model has the object stream alone (row 27).
        output: Folder for checkpoints and the trained model.
        settings: The paper's by default.
        text_backbone: A BERT from the hub or a folder; for UCFCrime-AR.
        choices: `AlanConfig` fields that differ from the paper's, such as an ablation's.

    Raises:
        MediaNotFoundError: If captions, lists or features are missing; it says how many and which first.
    """
    settings = settings or TrainingSettings()
    pairs = load_pairs(files, "train")
    set_seed(settings.seed)
    model, processor = make_model(files, pairs, text_backbone, choices or {})
    return train(model, processor, pairs, output, settings)


def make_model(
    files: BenchmarkFiles, pairs: Sequence[Pair], text_backbone: str, choices: dict[str, Any]
) -> tuple[AlanModel, AlanProcessor]:
    """A fresh model for a benchmark, as wide as the features of its first video."""
    streams = read_streams(pairs[0])
    widths: dict[str, Any] = {
        "object_dim": streams.object_clips.shape[1],
        "motion_dim": None if streams.motion_clips is None else streams.motion_clips.shape[1],
    }
    if files.benchmark == "ucfcrime-ar":
        model = AlanModel.from_pretrained_text(text_backbone, **widths, **choices)
        return model, AlanProcessor(model.config, Checkpoint(text_backbone).tokenizer())
    if streams.audio_clips is not None:
        widths["audio_dim"] = streams.audio_clips.shape[1]
    model = AlanModel(AlanConfig(query_modality="audio", **widths, **choices))
    return model, AlanProcessor(model.config)
