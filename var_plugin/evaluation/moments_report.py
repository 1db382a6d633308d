"""Tables of suite results: videos beside published rows, and moments, for which no results are published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from var_plugin.evaluation.captions import CollectionName
from var_plugin.evaluation.evaluate_suite import CEILING, CHANCE, SuiteResult
from var_plugin.evaluation.paper_results import RESULTS
from var_plugin.evaluation.report import Row, Status, results_table


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


def _status(result: SuiteResult) -> Status:
    return "computed" if result.method in (CHANCE, CEILING) else "measured"
