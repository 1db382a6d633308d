from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from var_plugin.evaluation.benchmarks.synthetic import SyntheticParameters, generate_benchmark
from var_plugin.training.ablations import FULL
from var_plugin.training.synthetic_benchmark import ROWS, SETTINGS, Measurement, measure, run, table


def test_one_row_is_trained_and_evaluated() -> None:
    benchmark = generate_benchmark(SyntheticParameters(train_videos=48, test_videos=16), seed=0)
    result = measure(benchmark, "sampling-fixed", 0, replace(SETTINGS, epochs=1))
    assert result.switch == "sampling-fixed"
    assert 0 <= result.values["SumR"] <= 600
    assert 0 <= result.values["frame AUC"] <= 1


def test_existing_results_are_kept(tmp_path: Path) -> None:
    values = {
        "query_to_video/R@1": 1.0,
        "query_to_video/R@10": 2.0,
        "video_to_query/R@1": 3.0,
        "video_to_query/R@10": 4.0,
        "anomalous R@10": 5.0,
        "normal R@10": 6.0,
        "frame AUC": 0.5,
    }
    for row in ROWS:
        for seed in (0, 1):
            measurement = Measurement(row, seed, values | {"SumR": 100.0 + 10 * seed - 30 * (row != FULL)}, seconds=1.0)
            (tmp_path / f"{row}-seed{seed}.json").write_text(json.dumps(asdict(measurement)))
    lines = table(run(tmp_path, seeds=(0, 1))).splitlines()
    assert len(lines) == 2 + 2 + len(ROWS), "header, two bounds, every row"
    assert next(line for line in lines if line.startswith("| full ")).endswith(
        "| 105.0 ± 7.1 | 5.0 ± 0.0 | 6.0 ± 0.0 | 0.500 ± 0.000 | – |"
    )
    assert next(line for line in lines if line.startswith("| phrases-none ")).endswith("| -30.0 ± 0.0 |")
