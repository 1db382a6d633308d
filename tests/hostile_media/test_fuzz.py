from __future__ import annotations

from pathlib import Path

from tests.hostile_media.fuzz import Edit, fuzz, make_films, outcome


def test_damaged_films_end_in_frames_or_in_one_of_our_errors(tmp_path: Path) -> None:
    """A taste of the fuzz run; any other error, or one that hangs, would come through."""
    counted = fuzz(150, tmp_path)
    assert counted.total() >= 150
    assert counted["decoded"] > 0


def test_damage_that_is_beyond_repair_counts_as_our_error(tmp_path: Path) -> None:
    """Among random damage there may be none, so it is asked for."""
    for name, film in make_films(tmp_path).items():
        path = tmp_path / f"damaged_{name}"
        path.write_bytes(Edit("cut", 0.01, b"").apply(film.content, film))
        assert outcome(path) != "decoded"
