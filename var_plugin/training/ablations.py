"""The switches of the paper's Tables IV to X, and one command that trains and measures them all.

``python -m var_plugin.training.ablations ucfcrime-ar --annotations CAPTIONS --rgb RGB --flow FLOW --out FOLDER``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from var_plugin.encoders.alan.configuration import QueryModality
from var_plugin.errors import exit_on_error
from var_plugin.evaluation.benchmarks.load import BenchmarkFiles
from var_plugin.evaluation.evaluate import measure_model
from var_plugin.evaluation.metrics import Retrieval
from var_plugin.evaluation.paper_results import ABLATIONS, BenchmarkName
from var_plugin.training.config import TrainingSettings
from var_plugin.training.train import TEXT_BACKBONE, train_benchmark

FULL = "full"

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def switches(modality: QueryModality, clips: int = 50) -> dict[str, dict[str, Any]]:
    """Name of each row to the `AlanConfig` fields that differ from the full model.

    Args:
        modality: Phrase modeling (Table VI) exists for text queries only.
        clips: N of both samplings in the full model; Tables IV and V compare it with twice as many fixed ones.
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
    settings: TrainingSettings | None = None,
    text_backbone: str = TEXT_BACKBONE,
    only: Iterable[str] | None = None,
) -> dict[str, Retrieval]:
    """Train and measure a model per switch, each in a subfolder; what was interrupted goes on when called again.

    Args:
        files: The benchmark and where its files are.
        output: Receives one trained model per switch.
        settings: The paper's by default, the same for all.
        text_backbone: For UCFCrime-AR.
        only: Names of the rows to run; default all.
    """
    rows = switches("text" if files.benchmark == "ucfcrime-ar" else "audio")
    measured = {}
    for name in only or rows:
        folder = output / name
        train_benchmark(files, folder, settings=settings, text_backbone=text_backbone, choices=rows[name])
        measured[name] = measure_model(folder, files, resamples=0)
    return measured


def ablation_table(benchmark: BenchmarkName, measured: Mapping[str, Retrieval]) -> str:
    """Markdown in the papers' shape: R@1 and R@10 of both directions, published and measured side by side."""
    lines = ["| switch | published: Q→V R@1, R@10, V→Q R@1, R@10 | measured |", "|---|---|---|"]
    for name, published in ABLATIONS[benchmark].items():
        ours = "untested"
        if name in measured:
            forward, backward = measured[name].query_to_video.recall, measured[name].video_to_query.recall
            ours = _numbers((forward[0], forward[2], backward[0], backward[2]))
        lines.append(f"| {name} | {_numbers(published)} | {ours} |")
    return "\n".join(lines) + "\n"


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:.1f}" for value in values)


def main() -> None:
    """Run every switch and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", choices=get_args(BenchmarkName))
    parser.add_argument("--annotations", type=Path, required=True, help="folder with caption workbooks or lists")
    parser.add_argument("--rgb", type=Path, required=True, help="folder with I3D-RGB features")
    parser.add_argument("--flow", type=Path, help="folder with I3D-Flow features")
    parser.add_argument("--audio", type=Path, help="folder with VGGish features")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained models")
    parser.add_argument("--text-backbone", default=TEXT_BACKBONE, help="a BERT from the hub or a folder")
    parser.add_argument("--epochs", type=int, default=TrainingSettings.epochs)
    options = parser.parse_args()
    files = BenchmarkFiles(options.benchmark, options.annotations, options.rgb, options.flow, options.audio)
    measured = run_ablations(
        files, options.out, settings=TrainingSettings(epochs=options.epochs), text_backbone=options.text_backbone
    )
    print(ablation_table(options.benchmark, measured))


if __name__ == "__main__":
    with exit_on_error("ablations"):
        main()
