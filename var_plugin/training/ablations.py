"""Train and measure the ablations of Tables IV to X of the paper with one command.

``python -m var_plugin.training.ablations ucfcrime-ar --annotations CAPTIONS --rgb RGB --flow FLOW --out FOLDER``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from var_plugin.config import ModelOptions, settings
from var_plugin.encoders.alan.options import QueryModality
from var_plugin.errors import exit_on_error
from var_plugin.evaluation.benchmarks.load import BenchmarkFiles
from var_plugin.evaluation.evaluate import evaluate_model
from var_plugin.evaluation.metrics import Retrieval
from var_plugin.evaluation.paper_results import ABLATIONS, BenchmarkName
from var_plugin.training.config import TrainingSettings
from var_plugin.training.train import TEXT_BACKBONE, train_benchmark

FULL = "full"

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def switches(modality: QueryModality, clips: int = 50) -> dict[str, dict[str, Any]]:
    """Return, per table row, the `AlanConfig` fields that differ from the full model.

    Args:
        modality: query modality. Phrase modeling (Table VI) exists for text queries only.
        clips: N of both samplings in the full model. Tables IV and V also use twice as many fixed clips.
    """
    rows: dict[str, dict[str, Any]] = {
        FULL: {},
        "sampling-fixed": {"num_anomaly_clips": 0},
        "sampling-anomaly": {"num_fixed_clips": 0},
        "sampling-fixed-double": {"num_anomaly_clips": 0, "num_fixed_clips": 2 * clips},
    }
    if modality == "text":
        rows |= {
            "phrases-none": {"mpm_loss_weight": 0.0},
            "phrases-random-words": {"masked_unit": "random_word"},
            "phrases-words": {"masked_unit": "content_word"},
        }
    return rows | {f"alpha-{alpha}": {"alignment_alpha": alpha} for alpha in ALPHAS}


def run_ablations(
    files: BenchmarkFiles,
    output: Path,
    *,
    options: ModelOptions,
    settings: TrainingSettings | None = None,
    text_backbone: str = TEXT_BACKBONE,
    only: Iterable[str] | None = None,
) -> dict[str, Retrieval]:
    """Train and measure one model per row, each in a subfolder. An interrupted run continues when called again.

    Args:
        files: The benchmark and its files.
        output: Folder for the trained models.
        options: How the models run.
        settings: Training settings, the same for all rows. Default: those of the paper.
        text_backbone: For UCFCrime-AR.
        only: Names of the rows to run. Default: all.

    Returns:
        The result per row.
    """
    rows = switches("text" if files.benchmark == "ucfcrime-ar" else "audio")
    results = {}
    for name in only or rows:
        folder = output / name
        train_benchmark(
            files, folder, options=options, settings=settings, text_backbone=text_backbone, overrides=rows[name]
        )
        results[name] = evaluate_model(folder, files, options=options, resamples=0)
    return results


def ablation_table(benchmark: BenchmarkName, results: Mapping[str, Retrieval]) -> str:
    """Return a Markdown table with R@1 and R@10 of both directions, published and measured."""
    lines = ["| switch | published: Q→V R@1, R@10, V→Q R@1, R@10 | measured |", "|---|---|---|"]
    for name, published in ABLATIONS[benchmark].items():
        measured = "untested"
        if name in results:
            forward, backward = results[name].query_to_video.recall, results[name].video_to_query.recall
            measured = _format(forward[0], forward[2], backward[0], backward[2])
        lines.append(f"| {name} | {_format(*published)} | {measured} |")
    return "\n".join(lines) + "\n"


def _format(*values: float) -> str:
    return " ".join(f"{value:.1f}" for value in values)


def main() -> None:
    """Run all ablations and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", choices=get_args(BenchmarkName))
    parser.add_argument(
        "--annotations", type=Path, required=True, help="folder with the caption workbooks or the lists"
    )
    parser.add_argument("--rgb", type=Path, required=True, help="folder with I3D-RGB features")
    parser.add_argument("--flow", type=Path, help="folder with I3D-Flow features")
    parser.add_argument("--audio", type=Path, help="folder with VGGish features")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained models")
    parser.add_argument("--text-backbone", default=TEXT_BACKBONE, help="a BERT on the Hugging Face Hub, or a folder")
    parser.add_argument("--epochs", type=int, default=TrainingSettings.epochs, help="default: %(default)s")
    arguments = parser.parse_args()
    files = BenchmarkFiles(arguments.benchmark, arguments.annotations, arguments.rgb, arguments.flow, arguments.audio)
    results = run_ablations(
        files,
        arguments.out,
        options=settings(),
        settings=TrainingSettings(epochs=arguments.epochs),
        text_backbone=arguments.text_backbone,
    )
    print(ablation_table(arguments.benchmark, results))


if __name__ == "__main__":
    with exit_on_error("ablations"):
        main()
