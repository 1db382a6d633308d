"""Tables of what suites find: videos beside the published rows, and moments, for which there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from var_plugin.evaluation.captions import CollectionName
from var_plugin.evaluation.evaluate_suite import CEILING, CHANCE, Measured
from var_plugin.evaluation.paper_results import RESULTS
from var_plugin.evaluation.report import Row, Status, results_table


def video_rows(collection: CollectionName, measured: Sequence[Measured]) -> list[Row]:
    """Return the rows of the videos found, below the published ones of the benchmark where there are any."""
    ours = [Row(line.method, _status(line), line.videos) for line in measured if line.videos]
    if ours and collection in RESULTS:
        return results_table(collection, ours)
    return ours


def moments_markdown(measured: Sequence[Measured]) -> str:
    """Return a table with a column per depth and overlap; intervals stand in brackets."""
    lines: list[str] = []
    for line in measured:
        if line.moments is None:
            continue
        if not lines:
            columns = ["method", "status", *line.moments.values]
            lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        cells = [line.method, _status(line)]
        for name, value in line.moments.values.items():
            interval = line.moments.intervals.get(name)
            cells.append(f"{value:.1f}" + (f" ({interval.low:.1f}…{interval.high:.1f})" if interval else ""))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def moments_as_json(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return the same as plain values."""
    return [
        {
            "method": line.method,
            "status": _status(line),
            "values": line.moments.values,
            "intervals": {name: asdict(interval) for name, interval in line.moments.intervals.items()},
        }
        for line in measured
        if line.moments
    ]


def _status(line: Measured) -> Status:
    return "computed" if line.method in (CHANCE, CEILING) else "measured"
