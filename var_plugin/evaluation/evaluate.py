"""A trained model on the test split of a benchmark, beside everything published on it."""

from __future__ import annotations

from pathlib import Path

import torch

from var_plugin.config import require
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
"""What fills our row of the results table, for somebody who has the features."""


def measure_model(
    model_folder: Path, files: BenchmarkFiles, *, merge_equal: bool = False, resamples: int = 2000
) -> Retrieval:
    """Measure a trained model on the test split, with 95 % bootstrap intervals.

    Args:
        model_folder: What `var_plugin.training.train.train` left, or a hub name's local copy.
        files: The benchmark and where its files are.
        merge_equal: Count equal captions as one query (see `pair_ranks`); the paper does not.
        resamples: Of the bootstrap; 0 for no intervals.

    Raises:
        InvalidInputError: If the model takes other queries than the benchmark has.
        MediaNotFoundError: If captions, lists or features are missing.
        MissingWeightsError: If the folder holds no model, or not all of its weights.
        MissingDependencyError: If a package that evaluation needs is absent.
    """
    require("train", "scipy", "sklearn")
    if not (model_folder / "config.json").is_file():
        raise MissingWeightsError(
            f"{model_folder} holds no trained model",
            why="there is no config.json in it",
            fix=COMMANDS[files.benchmark][0],
        )
    model = Checkpoint(str(model_folder)).load(dtype=torch.float32).to(device())
    processor = AlanProcessor.from_pretrained(model_folder)
    wanted = "text" if files.benchmark == "ucfcrime-ar" else "audio"
    if model.config.query_modality != wanted:
        raise InvalidInputError(
            f"the model takes {model.config.query_modality} queries", why=f"{files.benchmark} has {wanted} queries"
        )
    if model.config.motion_dim is not None and files.flow is None:
        raise InvalidInputError(
            "the model needs Flow features",
            why="it was trained with them",
            fix="pass the folder with I3D-Flow features",
        )
    pairs = load_pairs(files, "test")
    captions = [pair.caption or "" for pair in pairs] if merge_equal and wanted == "text" else None
    return retrieval(score_pairs(model, processor, pairs).scores, merge_equal=captions, resamples=resamples)


def benchmark_rows(benchmark: BenchmarkName, measured: Retrieval | None, note: str = "") -> list[Row]:
    """The results table: published rows, chance, and ours, untested with the commands that would measure it."""
    expected = Row("Chance, expected", "computed", chance(TEST_PAIRS[benchmark]))
    if measured is None:
        ours = Row(OURS, "untested", None, f"`{' && '.join(COMMANDS[benchmark])}`")
    else:
        ours = Row(OURS, "measured", measured, note)
    return results_table(benchmark, [expected, ours])
