from __future__ import annotations

from pathlib import Path

from tests.hostile_media.fuzz import fuzz


def test_damaged_films_end_in_frames_or_in_one_of_our_errors(tmp_path: Path) -> None:
    """A taste of the fuzz run; any other error, or one that hangs, would come through."""
    counted = fuzz(150, tmp_path)
    assert counted.total() >= 150
    assert counted["decoded"] > 0
    assert counted.total() > counted["decoded"], "some damage is beyond repair"
