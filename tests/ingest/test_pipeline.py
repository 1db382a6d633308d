"""One file is stored while the next one is looked at."""

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

PATIENCE = 30.0
"""Seconds."""


@pytest.fixture
def films(film: Film) -> list[Path]:
    return [film(f"in/{i}.mp4", seconds=2, fps=4, paint=lambda time, seed=i: textured(seed, 16, 16)) for i in range(4)]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with open_index(tmp_path / "index.db", suite=color_suite()) as opened:
        yield opened


def test_a_file_is_stored_while_the_next_one_is_looked_at(
    index: Index, films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = {film.name: Event() for film in films}
    written = VideoGeneration._write_segments

    def late(generation: VideoGeneration, *told: Any) -> dict[str, int]:
        following = films.index(Path(told[1].sightings[-1].path)) + 1
        assert following == len(films) or looked_at[films[following].name].wait(PATIENCE)
        return written(generation, *told)

    monkeypatch.setattr(VideoGeneration, "_write_segments", late)
    receipt = index.add(films, progress=lambda file, _: looked_at[file.name].set())
    assert [(line.path, line.status) for line in receipt.videos] == [(str(film), "stored") for film in films]
    assert index.verify().ok


def test_what_cannot_be_stored_fails_alone_and_in_its_place(
    index: Index, films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = VideoGeneration._write_segments

    def full(generation: VideoGeneration, *told: Any) -> dict[str, int]:
        if told[1].sightings[-1].path == str(films[1]):
            raise StoreError("the disk is full")
        return written(generation, *told)

    monkeypatch.setattr(VideoGeneration, "_write_segments", full)
    receipt = index.add(films)
    assert [line.status for line in receipt.videos] == ["stored", "failed", "stored", "stored"]
    assert "the disk is full" in str(receipt.videos[1].reason)
    assert len(index.videos()) == 3 and index.verify().ok


def test_files_that_change_places_do_not_wait_for_each_other_for_ever(index: Index, films: list[Path]) -> None:
    assert index.add(films).ok
    first, second, *_ = films
    first.rename(first.with_name("moved"))
    second.rename(first)
    first.with_name("moved").rename(second)
    assert index.add(films).ok
    assert {video.uri for video in index.videos()} == {str(film) for film in films}
    assert index.verify().ok


def test_a_path_that_changes_while_it_is_stored_and_is_named_again_holds_one_video(
    index: Index, films: list[Path], film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = film("alone/changing.mp4", seconds=2, fps=4, paint=lambda time: textured(9, 16, 16))
    written = VideoGeneration._write_segments

    def overwritten(generation: VideoGeneration, *told: Any) -> dict[str, int]:
        changing.write_bytes(films[0].read_bytes())
        return written(generation, *told)

    monkeypatch.setattr(VideoGeneration, "_write_segments", overwritten)
    receipt = index.add([changing, changing.parent])
    assert [line.status for line in receipt.videos] == ["stored", "stored"]
    assert [video.video_id for video in index.videos()] == [receipt.videos[1].video_id]
    assert index.verify().ok


def test_the_same_content_next_to_itself_is_stored_once(index: Index, films: list[Path]) -> None:
    films[1].write_bytes(films[0].read_bytes())
    receipt = index.add(films)
    assert [line.status for line in receipt.videos] == ["stored", "unchanged", "stored", "stored"]
    assert len(index.videos()) == 3 and index.verify().ok
