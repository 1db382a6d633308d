"""Indexes of test videos with known colours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.colors import AnyWords, suite_with
from tests.films import Film
from tests.ingest.test_add import scene
from tests.retrievers.conftest import NOON
from var_plugin.api import Index, open_index


@pytest.fixture(scope="session")
def two_cameras(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Camera north from noon on, and a camera with a hostile name and no clock time."""
    folder: Path = tmp_path_factory.mktemp("two")
    film = Film(folder / "a secret place")
    with open_index(folder / "index.db", suite=suite_with(AnyWords())) as index:
        assert index.add(film("north.mp4", seconds=24, fps=5, paint=scene("red", "green", "blue")), recorded_at=NOON).ok
        yard = film("=yard.mp4", seconds=120, fps=2, paint=scene(*["blue"] * 6, "yellow", *["blue"] * 8))
        assert index.add(yard, camera='<b onclick="x()">=yard</b>').ok
        yield index
