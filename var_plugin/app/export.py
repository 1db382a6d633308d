"""Export of the moments of an answer as CSV and JSON. File names are exported, paths are not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from var_plugin.app.media_registry import Download
from var_plugin.types import Moment

_COLUMNS = (
    "rank", "id", "video_id", "file", "camera", "recorded_at", "start", "end", "peak", "score", "confidence", "anomaly_score",  # noqa: E501
)  # fmt: skip
# A spreadsheet evaluates a text that starts with one of these as a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def to_csv(moments: Sequence[Moment]) -> Download:
    """Return the moments as CSV. Texts that a spreadsheet would evaluate get a leading apostrophe."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS)
    writer.writeheader()
    for row in _rows(moments):
        writer.writerow({name: _escape_formula(row[name]) for name in _COLUMNS})
    return Download("moments.csv", "text/csv", buffer.getvalue())


def to_json(moments: Sequence[Moment]) -> Download:
    """Return the moments as a JSON list."""
    return Download("moments.json", "application/json", json.dumps(_rows(moments), ensure_ascii=False, indent=2))


def _rows(moments: Sequence[Moment]) -> list[dict[str, Any]]:
    return [
        {
            "rank": rank,
            "file": Path(moment.uri).name,
            "matched": moment.matched,
            **moment.model_dump(mode="json", include=set(_COLUMNS)),
        }
        for rank, moment in enumerate(moments, 1)
    ]


def _escape_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
