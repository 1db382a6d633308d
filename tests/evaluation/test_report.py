from __future__ import annotations

import json

import numpy as np
import pytest

from var_plugin.evaluation.metrics import retrieval
from var_plugin.evaluation.paper_results import ABLATIONS, RESULTS
from var_plugin.evaluation.report import Row, as_json, markdown, results_table


@pytest.mark.parametrize(
    ("name", "sums"),
    [
        ("ucfcrime-ar", [10.2, 116.3, 143.1, 147.9, 150.1, 127.8, 149.3, 160.7]),
        ("xdviolence-ar", [5.0, 185.4, 289.1, 303.3, 322.9, 201.1, 300.2, 364.4]),
    ],
)
def test_published_rows_have_the_printed_sums(name: str, sums: list[float]) -> None:
    rows = [row for row in RESULTS[name] if row.source.startswith("Table")]  # type: ignore[index]
    # 10.2 and the like are sums of unrounded recalls in the paper: up to 0.1 off.
    assert [row.result.recall_sum for row in rows] == pytest.approx(sums, abs=0.11)


def test_the_full_model_of_the_ablations_is_alan() -> None:
    for benchmark, rows in RESULTS.items():
        alan = next(row.result for row in rows if row.method == "ALAN")
        both = (alan.query_to_video.recall, alan.video_to_query.recall)
        assert ABLATIONS[benchmark]["full"] == (both[0][0], both[0][2], both[1][0], both[1][2])


def test_the_table_marks_the_source_of_each_row() -> None:
    ours = Row("ALAN (ours)", "measured", retrieval(np.eye(20), resamples=50), "seed 0")
    open_row = Row("ALAN with Flow", "untested", None, "var-plugin evaluate …")
    rows = results_table("ucfcrime-ar", [ours, open_row])
    table = markdown(rows)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert "T→V R@1" in lines[0]
    assert any(
        "| ALAN | published | 9.0 | 27.9 | 44.8 | 14.0 | 7.3 | 24.8 | 46.9 | 12.0 | 160.7 |" in line for line in lines
    )
    assert any("| ALAN (ours) | measured | 100.0 |" in line for line in lines)
    assert any("| ALAN with Flow | untested | – | –" in line for line in lines)
    assert "95 % intervals of ALAN (ours)" in table
    values = json.loads(json.dumps(as_json(rows)))
    assert values[-2]["values"]["SumR"] == 600
    assert values[-2]["intervals"]["SumR"] == {"low": 600, "high": 600}
    assert values[-1]["values"] is None
