"""The collections that some tests read: they lie beside the project and are no part of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("VAR_PLUGIN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def data_folder(name: str) -> Path:
    """Return the folder of a collection; a test that wants one that is not there is skipped."""
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"the collection {name} is not there")
    return folder
