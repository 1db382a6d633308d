"""Data sets that some tests read. They are not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("VAR_PLUGIN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def data_folder(name: str) -> Path:
    """Return the folder of a data set. Skip the test if it is missing."""
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"the collection {name} is not there")
    return folder
