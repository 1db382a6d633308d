from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from var_plugin.errors import StoreError
from var_plugin.types import Filter, Moment
from var_plugin.watch.alerts import Alerts
from var_plugin.watch.pending_alerts import PendingAlerts
from var_plugin.watch.saved_alerts import SavedAlert, SavedAlerts


class Footage:
    """Search results by video, and a clock that is advanced by hand."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "upload.ts"
        self.moments: dict[str, list[tuple[float, float]]] = {}
        self.now = 1000.0
        self.error: Exception | None = None
        saved = SavedAlerts(folder / "alerts.json")
        saved.save(SavedAlert(name="fire", text="fire", threshold=0.5, command=("true",)))
        self.pending = PendingAlerts(Alerts(saved), self, 20.0, clock=lambda: self.now)

    def search(self, alert: SavedAlert, conditions: Filter, k: int) -> list[Moment]:
        if self.error:
            raise self.error
        (video_id,) = conditions.video_ids or ()
        return [
            Moment(
                id=f"{video_id}-{start:g}-{end:g}", video_id=video_id, uri=str(self.file), camera="c", start=start,
                end=end, peak=start, score=1, anomaly_score=0, matched={},
            )
            for start, end in self.moments[video_id]
        ]  # fmt: skip

    def with_thumbnail(self, moment: Moment) -> Moment:
        return moment

    def recorded_days(self, since: datetime) -> dict[str, int]:
        return {}

    def store(self, video_id: str, content: bytes, *moments: tuple[float, float]) -> None:
        self.file.write_bytes(content)
        self.moments[video_id] = list(moments)
        self.pending.add(self.file, video_id)

    def raised(self, **options: bool) -> list[str]:
        return [alert.moment.id for alert in self.pending.raise_due(**options)]


@pytest.fixture
def footage(tmp_path: Path) -> Footage:
    return Footage(tmp_path)


CONTENT = bytes(range(256)) * 2_000


def test_an_upload_that_pauses_raises_one_alert_for_its_last_version(footage: Footage) -> None:
    footage.store("half", CONTENT, (5, 12))
    footage.now += 15
    assert footage.raised() == []
    footage.store("whole", CONTENT * 2, (5, 20))
    footage.now += 15
    assert footage.raised() == []
    assert footage.pending.seconds_left() == pytest.approx(5, abs=1)
    footage.now += 5.1
    assert footage.raised() == ["whole-5-20"]
    assert footage.pending.seconds_left() is None


def test_alerts_wait_for_a_growing_file(footage: Footage) -> None:
    footage.store("half", CONTENT, (5, 12))
    footage.now += 21
    footage.file.write_bytes(CONTENT + b"more")
    assert footage.raised() == []
    footage.now += 21
    assert footage.raised() == ["half-5-12"], "nothing came any more"


def test_growth_after_an_alert_raises_one_for_new_events_only(footage: Footage) -> None:
    footage.store("half", CONTENT, (5, 12))
    footage.now += 21
    assert footage.raised() == ["half-5-12"]
    footage.store("whole", b"new header"[:10] + CONTENT[10:] * 2, (5, 20), (40, 50))
    footage.now += 21
    assert footage.raised() == ["whole-40-50"]


def test_other_footage_at_the_same_path_raises_its_own_alert(footage: Footage) -> None:
    footage.store("monday", CONTENT, (5, 12))
    footage.now += 21
    assert footage.raised() == ["monday-5-12"]
    footage.store("tuesday", CONTENT[::-1] * 2, (5, 12))
    footage.now += 21
    assert footage.raised() == ["tuesday-5-12"]


def test_a_file_written_long_ago_raises_its_alert_at_once(footage: Footage) -> None:
    footage.file.write_bytes(CONTENT)
    then = time.time() - 1_000
    os.utime(footage.file, (then, then))
    footage.moments["old"] = [(1, 2)]
    footage.pending.add(footage.file, "old")
    assert footage.raised() == ["old-1-2"]


def test_pending_alerts_are_raised_at_the_end(footage: Footage) -> None:
    footage.store("half", CONTENT, (5, 12))
    assert footage.raised(at_once=True) == ["half-5-12"]
    assert len(footage.pending) == 0


def test_alerts_whose_search_fails_are_raised_later(footage: Footage) -> None:
    footage.store("a", CONTENT, (5, 12))
    footage.now += 21
    footage.error = StoreError("the store is away")
    with pytest.raises(StoreError):
        footage.raised()
    footage.error = None
    assert footage.raised() == []
    footage.now += 61
    assert footage.raised() == ["a-5-12"]


@pytest.mark.parametrize("change", [Path.unlink, lambda file: os.utime(file, (2e9, 2e9))])
def test_missing_files_and_future_times_are_no_error(footage: Footage, change: Callable[[Path], None]) -> None:
    footage.file.write_bytes(CONTENT)
    footage.moments["a"] = [(1, 2)]
    change(footage.file)
    footage.pending.add(footage.file, "a")
    footage.now += 21
    assert footage.raised() == ["a-1-2"]
