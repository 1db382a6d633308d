"""Result tables in the papers' shape, as Markdown for people and JSON for programs.

Every row says what it is: ``published`` by somebody, ``computed`` without a model, ``measured`` here and now, or
``untested``, with the commands that would measure it. A number that was not measured is never filled in.
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
    """A line of a results table; an untested one has no result."""

    method: str
    status: Status
    result: Retrieval | None
    note: str = ""


def results_table(benchmark: BenchmarkName, measured: Sequence[Row]) -> list[Row]:
    """The published rows of Table II or III, then ours."""
    published = [
        Row(row.method, "published", row.result, "; ".join(filter(None, (row.source, row.note))))
        for row in RESULTS[benchmark]
    ]
    return published + list(measured)


def markdown(rows: Sequence[Row], *, query: str = "T") -> str:
    """One table; `query` is the letter of the query's modality. Intervals follow below it where they were computed."""
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
    """The same rows as plain values, numbers by the names of `Retrieval.named_values`."""
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
