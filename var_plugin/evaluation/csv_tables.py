"""Read CSV tables that people write."""

from __future__ import annotations

import csv
from pathlib import Path

from var_plugin.errors import InvalidInputError, MediaNotFoundError, os_error_message


def read_csv(path: Path, *, missing: str) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and the rows of a UTF-8 CSV table with a header line.

    Args:
        path: the table.
        missing: what to do if the file does not exist.

    Raises:
        MediaNotFoundError: the file does not exist.
        InvalidInputError: the file is not CSV, or a row has more cells than the header.
    """
    if not path.exists():
        raise MediaNotFoundError(f"{path} does not exist", fix=missing)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, restval="")
            columns, rows = list(table.fieldnames or []), list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(
            f"cannot read {path} as CSV", why=os_error_message(error), fix="save it as UTF-8 CSV"
        ) from error
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise InvalidInputError(
                f"{path}, row {number}: the row has more cells than the header", fix="quote cells that contain commas"
            )
    return columns, rows
