"""Measure retrieval, the detector and every ablation on the synthetic benchmark over several seeds.

``python -m var_plugin.training.synthetic_benchmark --out FOLDER`` trains one small model per ablation and seed and
prints the table of docs/alan.md. Models whose results are in the folder are not trained again. Each seed generates its
own data and model, so the standard deviations cover the whole experiment. All ablations of a seed use the same data.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertTokenizer, set_seed

from var_plugin.encoders.alan import AlanConfig, AlanModel, AlanProcessor
from var_plugin.errors import exit_on_error
from var_plugin.evaluation.alan_scoring import score_pairs
from var_plugin.evaluation.benchmarks.synthetic import (
    MOTION_WORDS,
    OBJECT_WORDS,
    SyntheticBenchmark,
    SyntheticParameters,
    generate_benchmark,
    prototype_scores,
)
from var_plugin.evaluation.metrics import frame_auc, pair_ranks, retrieval
from var_plugin.training.ablations import FULL, switches
from var_plugin.training.config import TrainingSettings
from var_plugin.training.train import train

SEEDS = (0, 1, 2, 3, 4)

CLIPS = 8
"""N of each sampling. As with N = 50 in the paper, a short anomaly mostly falls between two fixed clips."""

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", ".", *OBJECT_WORDS, *MOTION_WORDS)

SETTINGS = TrainingSettings(epochs=15, learning_rate=3e-3, progress=False)

ROWS = tuple(
    name for name in switches("text", CLIPS) if not name.startswith("alpha") or name in ("alpha-0.0", "alpha-1.0")
)
"""Tables IV, VI and VII, with the two extreme values of α only."""


@dataclass(frozen=True)
class Measurement:
    """Result of one trained model on the test videos of its seed."""

    switch: str
    seed: int
    values: dict[str, float]
    seconds: float


def synthetic_model(**overrides: Any) -> tuple[AlanModel, AlanProcessor]:
    """Create a small ALAN with a one-layer BERT for the synthetic vocabulary. `overrides` are `AlanConfig` fields."""
    width = 48
    parameters = SyntheticParameters()
    text = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    fields: dict[str, Any] = {
        "object_dim": parameters.dim,
        "motion_dim": parameters.dim,
        "text_config": text,
        "hidden_size": width,
        "num_attention_heads": 4,
        "intermediate_size": 2 * width,
        "dropout": 0.0,
        "detector_channels": (16, 8),
        "num_fixed_clips": CLIPS,
        "num_anomaly_clips": CLIPS,
    }
    config = AlanConfig(**(fields | overrides))
    tokenizer = BertTokenizer(vocab={word: place for place, word in enumerate(VOCABULARY)}, do_lower_case=True)
    return AlanModel(config), AlanProcessor(config, tokenizer)


def measure(
    benchmark: SyntheticBenchmark, switch: str, seed: int, settings: TrainingSettings = SETTINGS
) -> Measurement:
    """Train one model and measure it on the test videos."""
    started = time.monotonic()
    set_seed(seed)
    model, processor = synthetic_model(**switches("text", CLIPS)[switch])
    seeded = TrainingSettings(**(asdict(settings) | {"seed": seed}))
    with TemporaryDirectory() as folder:
        train(model, processor, benchmark.train.pairs, Path(folder), seeded)
    result = score_pairs(model, processor, benchmark.test.pairs)
    values = describe(benchmark, result.scores) | {
        "frame AUC": frame_auc(result.anomaly, benchmark.test.anomalous_clips),
    }
    return Measurement(switch, seed, values, time.monotonic() - started)


def describe(benchmark: SyntheticBenchmark, scores: np.ndarray[Any, np.dtype[np.floating[Any]]]) -> dict[str, float]:
    """Return the metrics of the paper, and R@10 of queries for anomalous and for normal videos, among all videos."""
    forward, _ = pair_ranks(scores)
    anomalous = np.array([pair.anomalous for pair in benchmark.test.pairs])
    return retrieval(scores).named_values() | {
        "anomalous R@10": float(100 * np.mean(forward[anomalous] <= 10)),
        "normal R@10": float(100 * np.mean(forward[~anomalous] <= 10)),
    }


def run(folder: Path, rows: Sequence[str] = ROWS, seeds: Sequence[int] = SEEDS) -> list[Measurement]:
    """Measure every row for every seed. Rows whose results are in the folder are read from there."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        missing = [row for row in rows if not _file(folder, row, seed).is_file()]
        if not missing:
            continue
        benchmark = generate_benchmark(SyntheticParameters(), seed)
        for row in missing:
            result = measure(benchmark, row, seed)
            _file(folder, row, seed).write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
            print(f"{row} seed {seed}: SumR {result.values['SumR']:.1f}, {result.seconds:.0f} s", flush=True)
    files = [_file(folder, row, seed) for row in rows for seed in seeds]
    return [Measurement(**json.loads(file.read_text(encoding="utf-8"))) for file in files]


def _file(folder: Path, row: str, seed: int) -> Path:
    return folder / f"{row}-seed{seed}.json"


COLUMNS: Mapping[str, str] = {
    "query_to_video/R@1": "T→V R@1",
    "query_to_video/R@10": "T→V R@10",
    "video_to_query/R@1": "V→T R@1",
    "video_to_query/R@10": "V→T R@10",
    "SumR": "SumR",
    "anomalous R@10": "anomalous R@10",
    "normal R@10": "normal R@10",
    "frame AUC": "frame AUC",
}


def table(measurements: Sequence[Measurement]) -> str:
    """Return a Markdown table: mean ± standard deviation over the seeds, and the SumR difference to the full model."""
    benchmarks = [
        generate_benchmark(SyntheticParameters(), seed) for seed in sorted({one.seed for one in measurements})
    ]
    by_row: dict[str, list[dict[str, float]]] = {}
    for bound, evidence_only in (("known words, whole video", False), ("known words, evidence only", True)):
        by_row[bound] = [
            describe(benchmark, prototype_scores(benchmark, evidence_only=evidence_only)) for benchmark in benchmarks
        ]
    for one in sorted(measurements, key=lambda one: one.seed):
        by_row.setdefault(one.switch, []).append(one.values)
    lines = [
        "| | " + " | ".join(COLUMNS.values()) + " | SumR − full |",
        "|---|" + "---|" * (len(COLUMNS) + 1),
    ]
    for row, runs in by_row.items():
        cells = [_spread([run[name] for run in runs], name) if name in runs[0] else "–" for name in COLUMNS]
        gaps = [run["SumR"] - full["SumR"] for run, full in zip(runs, by_row[FULL], strict=True)]
        cells.append("–" if row == FULL else _spread(gaps, "SumR"))
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float], name: str) -> str:
    digits = 3 if name == "frame AUC" else 1
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for one small JSON file per trained model")
    folder = parser.parse_args().out
    torch.set_num_threads(1)
    print(table(run(folder)))


if __name__ == "__main__":
    with exit_on_error("synthetic_benchmark"):
        main()
