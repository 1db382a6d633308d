"""An answer as a file: CSV for a spreadsheet, JSON for a program. Neither holds a path of this machine."""

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
# A spreadsheet takes a text that begins like this for a formula, and runs it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(moments: Sequence[Moment]) -> Download:
    """Return the moments as a table; names that a spreadsheet would run get an apostrophe before them."""
    out = io.StringIO()
    table = csv.DictWriter(out, _COLUMNS)
    table.writeheader()
    for row in _rows(moments):
        table.writerow({name: _inert(row[name]) for name in _COLUMNS})
    return Download("moments.csv", "text/csv", out.getvalue())


def as_json(moments: Sequence[Moment]) -> Download:
    """Return the moments as one JSON list."""
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


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
