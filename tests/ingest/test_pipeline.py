"""A file is stored while the next one is embedded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.colors import color_suite
from tests.films import Film, textured
from var_plugin.api import Index, open_index
from var_plugin.errors import StoreError
from var_plugin.index.generation import VideoGeneration

TIMEOUT = 30.0
"""Seconds."""


@pytest.fixture
def films(film: Film) -> list[Path]:
    return [film(f"in/{i}.mp4", seconds=2, fps=4, paint=lambda time, seed=i: textured(seed, 16, 16)) for i in range(4)]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with open_index(tmp_path / "index.db", suite=color_suite()) as opened:
        yield opened


def test_a_file_is_stored_while_the_next_one_is_embedded(
    index: Index, films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = {film.name: Event() for film in films}
    write_segments = VideoGeneration._write_segments

    def write_after_next_started(generation: VideoGeneration, *args: Any) -> dict[str, int]:
        following = films.index(Path(args[1].latest_sighting.path)) + 1
        assert following == len(films) or started[films[following].name].wait(TIMEOUT)
        return write_segments(generation, *args)

    monkeypatch.setattr(VideoGeneration, "_write_segments", write_after_next_started)
    receipt = index.add(films, progress=lambda file, _: started[file.name].set())
    assert [(video.path, video.status) for video in receipt.videos] == [(str(film), "stored") for film in films]
    assert index.verify().ok


def test_a_failed_write_fails_only_its_own_file(
    index: Index, films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_segments = VideoGeneration._write_segments

    def fail_second(generation: VideoGeneration, *args: Any) -> dict[str, int]:
        if args[1].latest_sighting.path == str(films[1]):
            raise StoreError("the disk is full")
        return write_segments(generation, *args)

    monkeypatch.setattr(VideoGeneration, "_write_segments", fail_second)
    receipt = index.add(films)
    assert [video.status for video in receipt.videos] == ["stored", "failed", "stored", "stored"]
    assert "the disk is full" in str(receipt.videos[1].reason)
    assert len(index.videos()) == 3 and index.verify().ok


def test_files_that_swap_paths_do_not_deadlock(index: Index, films: list[Path]) -> None:
    assert index.add(films).ok
    first, second, *_ = films
    first.rename(first.with_name("moved"))
    second.rename(first)
    first.with_name("moved").rename(second)
    assert index.add(films).ok
    assert {video.uri for video in index.videos()} == {str(film) for film in films}
    assert index.verify().ok


def test_a_path_that_changes_during_its_write_holds_one_video_after_the_next_add(
    index: Index, films: list[Path], film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = film("alone/changing.mp4", seconds=2, fps=4, paint=lambda time: textured(9, 16, 16))
    write_segments = VideoGeneration._write_segments

    def overwrite(generation: VideoGeneration, *args: Any) -> dict[str, int]:
        changing.write_bytes(films[0].read_bytes())
        return write_segments(generation, *args)

    monkeypatch.setattr(VideoGeneration, "_write_segments", overwrite)
    receipts = [index.add(changing).videos[0] for _ in range(2)]
    assert [receipt.status for receipt in receipts] == ["stored", "stored"]
    assert receipts[1].replaced == (receipts[0].video_id,)
    assert [video.video_id for video in index.videos()] == [receipts[1].video_id]
    assert index.verify().ok


def test_consecutive_files_of_the_same_content_are_stored_once(index: Index, films: list[Path]) -> None:
    films[1].write_bytes(films[0].read_bytes())
    receipt = index.add(films)
    assert [video.status for video in receipt.videos] == ["stored", "unchanged", "stored", "stored"]
    assert len(index.videos()) == 3 and index.verify().ok
