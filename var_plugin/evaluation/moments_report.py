"""Tables of suite results: videos beside published rows, moments and anomaly scores, without published results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from var_plugin.evaluation.anomaly_metrics import Metrics
from var_plugin.evaluation.captions import CollectionName
from var_plugin.evaluation.evaluate_suite import CEILING, CHANCE, SuiteResult
from var_plugin.evaluation.paper_results import RESULTS
from var_plugin.evaluation.report import Row, Status, as_json, results_table


def video_rows(collection: CollectionName, results: Sequence[SuiteResult]) -> list[Row]:
    """Return the rows of video retrieval, below the published rows of the benchmark if there are any."""
    rows = [Row(result.method, _status(result), result.videos) for result in results if result.videos]
    if rows and collection in RESULTS:
        return results_table(collection, rows)
    return rows


def moments_markdown(results: Sequence[SuiteResult]) -> str:
    """Return a Markdown table with a column per overlap and depth. Intervals are in brackets."""
    lines: list[str] = []
    for result in results:
        if result.moments is None:
            continue
        if not lines:
            columns = ["method", "status", *result.moments.values]
            lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        cells = [result.method, _status(result)]
        for name, value in result.moments.values.items():
            interval = result.moments.intervals.get(name)
            cells.append(f"{value:.1f}" + (f" ({interval.low:.1f}…{interval.high:.1f})" if interval else ""))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def moments_as_json(results: Sequence[SuiteResult]) -> list[dict[str, Any]]:
    """Return the rows of moment retrieval as JSON values."""
    return [
        {
            "method": result.method,
            "status": _status(result),
            "values": result.moments.values,
            "intervals": {name: asdict(interval) for name, interval in result.moments.intervals.items()},
        }
        for result in results
        if result.moments
    ]


def anomaly_rows(results: Sequence[SuiteResult]) -> dict[str, Metrics]:
    """Return the metrics of anomaly scores by method."""
    return {result.method: result.anomalies for result in results if result.anomalies}


def suite_as_json(collection: CollectionName, results: Sequence[SuiteResult]) -> list[dict[str, Any]]:
    """Return all rows as JSON values. The first row of a method has its metrics of anomaly scores as `anomalies`."""
    rows = as_json(video_rows(collection, results)) + moments_as_json(results)
    anomalies = anomaly_rows(results)
    for row in rows:
        if metrics := anomalies.pop(row["method"], None):
            intervals = {name: asdict(interval) for name, interval in metrics.intervals.items()}
            row["anomalies"] = {"values": dict(metrics.values), "intervals": intervals}
    return rows


def _status(result: SuiteResult) -> Status:
    return "computed" if result.method in (CHANCE, CEILING) else "measured"
