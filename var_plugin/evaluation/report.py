"""Results tables in the format of the paper, as Markdown and JSON.

The status of a row is ``published``, ``computed`` (without a model), ``measured`` (in this run) or ``untested``, with
the commands that would measure it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from var_plugin.evaluation.metrics import DEPTHS, Retrieval
from var_plugin.evaluation.paper_results import RESULTS, BenchmarkName

Status = Literal["published", "computed", "measured", "untested"]

QUERY_LETTER: dict[BenchmarkName, str] = {"ucfcrime-ar": "T", "xdviolence-ar": "A"}


@dataclass(frozen=True)
class Row:
    """A row of a results table. An untested row has no result."""

    method: str
    status: Status
    result: Retrieval | None
    note: str = ""


def results_table(benchmark: BenchmarkName, measured: Sequence[Row]) -> list[Row]:
    """Return the published rows of Table II or III, then the measured rows."""
    published = [
        Row(row.method, "published", row.result, "; ".join(filter(None, (row.source, row.note))))
        for row in RESULTS[benchmark]
    ]
    return published + list(measured)


def markdown(rows: Sequence[Row], *, query: str = "T") -> str:
    """Return a Markdown table, followed by the intervals. `query` is the letter of the query modality."""
    recalls = [f"R@{depth}" for depth in DEPTHS]
    directions = (f"{query}→V", f"V→{query}")
    columns = ["method", "status"]
    columns += [f"{direction} {name}" for direction in directions for name in (*recalls, "MdR")]
    columns += ["SumR", "note"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        numbers = ["–"] * 9 if row.result is None else [f"{value:.1f}" for value in row.result.named_values().values()]
        lines.append("| " + " | ".join([row.method, row.status, *numbers, row.note]) + " |")
    for row in rows:
        if row.result is not None and row.result.intervals is not None:
            spans = [
                f"{column} {interval.low:.1f}…{interval.high:.1f}"
                for column, interval in zip(columns[2:-1], row.result.intervals.values(), strict=True)
            ]
            lines += ["", f"95 % intervals of {row.method} (bootstrap over the pairs): {', '.join(spans)}."]
    return "\n".join(lines) + "\n"


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows as JSON values, with the names of `Retrieval.named_values`."""
    return [
        {
            "method": row.method,
            "status": row.status,
            "values": None if row.result is None else row.result.named_values(),
            "intervals": None
            if row.result is None or row.result.intervals is None
            else {name: asdict(interval) for name, interval in row.result.intervals.items()},
            "note": row.note,
        }
        for row in rows
    ]
