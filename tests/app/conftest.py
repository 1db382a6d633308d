"""Indexes of test videos with known colours, and the state of a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.colors import AnyWords, suite_with
from tests.films import Film
from tests.ingest.test_add import scene
from tests.retrievers.conftest import NOON
from var_plugin.api import Index, open_index
from var_plugin.app.feedback import FeedbackStore
from var_plugin.app.ingest_queue import IngestQueue
from var_plugin.app.media_registry import MediaRegistry
from var_plugin.app.options import PageOptions
from var_plugin.app.state import AppState
from var_plugin.watch.saved_alerts import SavedAlerts


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


@pytest.fixture
def state(two_cameras: Index, tmp_path: Path) -> AppState:
    return AppState(
        two_cameras,
        PageOptions(),
        MediaRegistry(two_cameras, lambda _: True),
        FeedbackStore("asking", "fingerprint"),
        IngestQueue(two_cameras),
        SavedAlerts(tmp_path / "alerts.json"),
    )
