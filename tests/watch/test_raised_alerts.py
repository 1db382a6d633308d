from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.watch.test_alerts import MOMENT
from var_plugin.errors import StoreError
from var_plugin.types import Moment
from var_plugin.watch.raised_alerts import RaisedAlerts

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


def moment(video_id: str = "a", start: float = 0, recorded: float | None = None) -> Moment:
    """Return a moment of 10 s. Without `recorded`, in seconds, its clock time is unknown."""
    clock = None if recorded is None else START + timedelta(seconds=recorded)
    return MOMENT.model_copy(update={"video_id": video_id, "start": start, "end": start + 10, "recorded_at": clock})


@pytest.mark.parametrize(
    ("second", "is_same"),
    [
        (moment("a", 0, 0), True),
        (moment("b", 50, 0), True),
        (moment("b", 0, 9), True),
        (moment("b", 0, -9), True),
        (moment("b", 0, 11), False),
        (moment("a", 5), True),
        (moment("b", 0), False),
    ],
)
def test_overlapping_moments_are_the_same_event(tmp_path: Path, second: Moment, is_same: bool) -> None:
    raised = RaisedAlerts(tmp_path / "raised.db")
    assert raised.claim("fire", moment("a", 0, 0)) is not None
    assert (raised.claim("fire", second) is None) == is_same
    assert raised.claim("another alert", second) is not None


def test_footage_without_a_clock_time_cools_down_from_now(tmp_path: Path) -> None:
    now = 1000.0
    raised = RaisedAlerts(tmp_path / "raised.db", clock=lambda: now)
    assert raised.claim("fire", moment("a"), 60) is not None
    now += 59
    assert raised.claim("fire", moment("b"), 60) is None
    now += 2
    assert raised.claim("fire", moment("b"), 60) is not None


def test_raised_alerts_are_private_shared_and_forgotten(tmp_path: Path) -> None:
    file, now = tmp_path / "raised.db", 1000.0
    number = RaisedAlerts(file, clock=lambda: now).claim("fire", moment())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert number is not None
    other = RaisedAlerts(file, clock=lambda: now)
    assert other.claim("fire", moment()) is None
    other.withdraw([number])
    assert other.claim("fire", moment()) is not None
    now += 91 * 86_400
    assert other.claim("fire", moment("b")) is not None
    assert other.claim("fire", moment()) is not None, "after 90 days"
    other.remove("fire")
    assert other.claim("fire", moment()) is not None


def test_a_damaged_list_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "raised.db"
    file.write_bytes(b"x" * 5000)
    with pytest.raises(StoreError, match=r"cannot use .*raised\.db.*file is not a database.*or remove it"):
        RaisedAlerts(file).claim("fire", moment())
