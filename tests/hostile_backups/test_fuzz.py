from __future__ import annotations

from pathlib import Path

from tests.hostile_backups.fuzz import fuzz, make_backup, outcome


def test_changed_backups_give_a_typed_error_or_a_valid_index(tmp_path: Path) -> None:
    """A short fuzz run. Any other error fails the test."""
    counted = fuzz(100, tmp_path)
    assert counted.total() == 100
    assert counted["InvalidInputError"] > 50


def test_an_unchanged_backup_is_restored(tmp_path: Path) -> None:
    assert outcome(make_backup(tmp_path), tmp_path / "target.db") == "restored"
