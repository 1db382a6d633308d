from __future__ import annotations

from pathlib import Path

from tests.hostile_media import fuzz_images, fuzz_sidecars
from tests.hostile_media.fuzz import Edit, Original, fuzz, make_films, outcome


def test_damaged_videos_give_frames_or_a_typed_error(tmp_path: Path) -> None:
    """A short fuzz run. Any other error or a timeout fails the test."""
    counted = fuzz(150, tmp_path)
    assert counted.total() >= 150
    assert counted["decoded"] > 0


def test_videos_damaged_beyond_repair_give_a_typed_error(tmp_path: Path) -> None:
    """Random damage may not include this case."""
    for name, film in make_films(tmp_path).items():
        path = tmp_path / f"damaged_{name}"
        path.write_bytes(Edit("cut", 0.01, b"").apply(film.content, film))
        assert outcome(path) != "decoded"


def test_damaged_images_give_an_image_or_a_typed_error(tmp_path: Path) -> None:
    counted = fuzz_images.fuzz(100, tmp_path)
    assert counted.total() >= 100
    assert counted["decoded"] > 0
    assert counted["UnreadableMediaError"] > 0


def test_images_truncated_at_the_beginning_are_unreadable(tmp_path: Path) -> None:
    for name, content in fuzz_images.make_images().items():
        path = tmp_path / name
        path.write_bytes(content)
        assert fuzz_images.outcome(path) == "decoded"
        path.write_bytes(Edit("cut", 0.02, b"").apply(content, Original(content, [])))
        assert fuzz_images.outcome(path) in ("UnreadableMediaError", "EmptyMediaError")


def test_sidecar_gives_a_known_time_or_a_note(tmp_path: Path) -> None:
    counted = fuzz_sidecars.fuzz(100, tmp_path)
    assert counted.total() >= 100
    assert counted["known"] > 0
    assert counted["unknown"] > 0
