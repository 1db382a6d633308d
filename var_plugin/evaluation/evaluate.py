"""Evaluate a trained ALAN model on the test split of a benchmark, beside published results."""

from __future__ import annotations

from pathlib import Path

import torch

import var_plugin.encoders.alan.modeling  # noqa: F401  (registers the model type)
from var_plugin.config import ModelOptions, require
from var_plugin.encoders.alan import AlanProcessor
from var_plugin.encoders.hub import Checkpoint, device
from var_plugin.errors import InvalidInputError, MissingWeightsError
from var_plugin.evaluation.alan_scoring import score_pairs
from var_plugin.evaluation.benchmarks.load import BenchmarkFiles, load_pairs
from var_plugin.evaluation.metrics import Retrieval, chance, retrieval
from var_plugin.evaluation.paper_results import BenchmarkName
from var_plugin.evaluation.report import Row, results_table

OURS = "ALAN, this implementation"

TEST_PAIRS: dict[BenchmarkName, int] = {"ucfcrime-ar": 290, "xdviolence-ar": 800}

COMMANDS: dict[BenchmarkName, tuple[str, str]] = {
    "ucfcrime-ar": (
        "var-plugin train ucfcrime-ar --annotations CAPTIONS --rgb I3D_RGB --flow I3D_FLOW --out MODEL",
        "var-plugin evaluate ucfcrime-ar --annotations CAPTIONS --rgb I3D_RGB --flow I3D_FLOW --model MODEL",
    ),
    "xdviolence-ar": (
        "var-plugin train xdviolence-ar --annotations LISTS --rgb I3D_RGB --flow I3D_FLOW --audio VGGISH --out MODEL",
        "var-plugin evaluate xdviolence-ar --annotations LISTS --rgb I3D_RGB --flow I3D_FLOW --audio VGGISH"
        " --model MODEL",
    ),
}
"""The train and evaluate commands that fill the row of this implementation."""


def evaluate_model(
    model_folder: Path,
    files: BenchmarkFiles,
    *,
    options: ModelOptions,
    merge_equal: bool = False,
    resamples: int = 2000,
) -> Retrieval:
    """Evaluate a trained model on the test split, with 95 % bootstrap intervals.

    Args:
        model_folder: A folder that `var_plugin.training.train.train` wrote, or the local copy of a Hub model.
        files: The benchmark and its files.
        options: How the model runs.
        merge_equal: Count equal captions as one query; see `pair_ranks`. The paper does not.
        resamples: Bootstrap resamples. 0: no intervals.

    Raises:
        InvalidInputError: The model takes another query modality, or needs features that are not given.
        MediaNotFoundError: Captions, lists or features are missing.
        MissingWeightsError: The folder holds no model, or not all of its weights.
        MissingDependencyError: A package for evaluation is not installed.
    """
    require("train", "scipy", "sklearn")
    if not (model_folder / "config.json").is_file():
        raise MissingWeightsError(
            f"{model_folder} holds no trained model",
            why="it has no config.json",
            fix=COMMANDS[files.benchmark][0],
        )
    model = Checkpoint(str(model_folder)).load(dtype=torch.float32).to(device(options))
    processor = AlanProcessor.from_pretrained(model_folder)
    modality = "text" if files.benchmark == "ucfcrime-ar" else "audio"
    if model.config.query_modality != modality:
        raise InvalidInputError(
            f"the model takes {model.config.query_modality} queries",
            why=f"{files.benchmark} has {modality} queries",
            fix="choose the model that was trained on this benchmark",
        )
    if model.config.motion_dim is not None and files.flow is None:
        raise InvalidInputError(
            "the model needs Flow features",
            why="it was trained with them",
            fix="pass --flow with the folder of I3D-Flow features",
        )
    pairs = load_pairs(files, "test")
    captions = [pair.caption or "" for pair in pairs] if merge_equal and modality == "text" else None
    return retrieval(score_pairs(model, processor, pairs).scores, merge_equal=captions, resamples=resamples)


def benchmark_rows(benchmark: BenchmarkName, measured: Retrieval | None, note: str = "") -> list[Row]:
    """Return the results table: published rows, chance, and this implementation, or the commands that measure it."""
    expected = Row("Chance, expected", "computed", chance(TEST_PAIRS[benchmark]))
    if measured is None:
        own_row = Row(OURS, "untested", None, f"`{' && '.join(COMMANDS[benchmark])}`")
    else:
        own_row = Row(OURS, "measured", measured, note)
    return results_table(benchmark, [expected, own_row])
