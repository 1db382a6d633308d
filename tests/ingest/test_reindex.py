"""Other processes search, add and delete during a reindex."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.colors import color_suite
from tests.films import Film, textured
from var_plugin.api import Index, open_index
from var_plugin.errors import FingerprintMismatchError
from var_plugin.index.catalog import Entry, Videos
from var_plugin.index.generation import VideoGeneration
from var_plugin.index.index import VideoIndex

OLD, NEW = color_suite("old"), color_suite("new")


@pytest.fixture
def films(film: Film) -> list[Path]:
    return [film(f"{i}.mp4", seconds=2, fps=4, paint=lambda time, seed=i: textured(seed, 16, 16)) for i in range(6)]


@pytest.fixture
def index(tmp_path: Path, films: list[Path]) -> Iterator[Index]:
    with open_index(tmp_path / "index.db", suite=OLD) as opened:
        assert opened.add(films[:3]).ok
        yield opened


@pytest.fixture
def other(tmp_path: Path, index: Index) -> Iterator[Index]:
    """The same index, opened a second time as by another process."""
    with open_index(tmp_path / "index.db", suite=OLD) as opened:
        yield opened


def video_ids(index: Index) -> set[str]:
    return {Path(video.uri).name for video in index.videos() if video.state == "committed"}


def test_changes_during_a_reindex_are_copied(index: Index, other: Index, films: list[Path]) -> None:
    def meanwhile(file: Path, reached: float) -> None:
        assert other.search("red")
        if file == films[1]:  # 0.mp4 is in the new generation by then, 2.mp4 is not
            other.add(films[3])
            for video in other.videos():
                if video.uri in (str(films[0]), str(films[2])):
                    other.delete(video.video_id)

    assert index.reindex(NEW, progress=meanwhile).ok
    assert video_ids(index) == {"1.mp4", "3.mp4"}
    assert index.verify().ok


def test_changes_before_the_switch_are_copied(
    index: Index, other: Index, films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = VideoIndex.switch_to

    def just_before(self: VideoIndex, built: VideoGeneration) -> None:
        assert other.add(films[3]).ok
        other.delete(other.videos()[0].video_id)
        switch(self, built)

    monkeypatch.setattr(VideoIndex, "switch_to", just_before)
    assert index.reindex(NEW).ok
    assert video_ids(index) == {"1.mp4", "2.mp4", "3.mp4"}
    assert index.verify().ok


def test_all_rows_of_a_video_are_in_one_generation(
    index: Index, other: Index, films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A searching thread switches to the new generation while another thread writes to the old one."""
    written = VideoGeneration._write_segments
    switched = []

    def searched_meanwhile(generation: VideoGeneration, *arguments: Any) -> dict[str, int]:
        counted = written(generation, *arguments)
        if generation is other._inner and not switched:
            assert index.reindex(OLD).ok
            switched.append(other.search("red"))
        return counted

    monkeypatch.setattr(VideoGeneration, "_write_segments", searched_meanwhile)
    assert other.add(films[4]).ok
    assert switched
    assert video_ids(index) == {"0.mp4", "1.mp4", "2.mp4", "4.mp4"}
    assert index.verify().ok


def test_a_change_is_written_to_the_active_generation(
    index: Index, other: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change starts in the old generation. A searching thread switches to the new one before it ends."""
    entry = other._inner.all_entries()[0]
    put, pending = Videos.put, [True]

    def searched_meanwhile(videos: Videos, row: Entry) -> None:
        if pending:
            pending.clear()
            assert index.reindex(OLD).ok
            put(videos, row)
            assert other.search("red")
        else:
            put(videos, row)

    monkeypatch.setattr(Videos, "put", searched_meanwhile)
    other._inner.update(entry.model_copy(update={"metadata": {"seen": "twice"}}))
    entry_after = index._inner.entry(entry.video_id)
    assert entry_after is not None
    assert entry_after.metadata == {"seen": "twice"}
    assert index.verify().ok


def test_a_change_after_the_switch_is_not_acknowledged(index: Index, other: Index, films: list[Path]) -> None:
    def reindexed_meanwhile(file: Path, reached: float) -> None:
        if index.suite is OLD:
            assert index.reindex(NEW).ok

    receipt = other.add(films[4], progress=reindexed_meanwhile)
    assert [video.error for video in receipt.videos] == [FingerprintMismatchError.__name__]
    with pytest.raises(FingerprintMismatchError):
        other.delete(index.videos()[0].video_id)
    with pytest.raises(FingerprintMismatchError):
        other.add(films[4])
    assert video_ids(index) == {"0.mp4", "1.mp4", "2.mp4"}
    assert index.verify().ok


def test_the_next_add_completes_an_interrupted_switch(
    index: Index, other: Index, films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = VideoIndex.switch_to

    def killed_after(self: VideoIndex, built: VideoGeneration) -> None:
        assert other.add(films[3]).ok
        switch(self, built)
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoIndex, "switch_to", killed_after)
    assert index.reindex(NEW).interrupted
    assert index._inner.generations().previous is not None
    assert index.add(films[4]).ok
    assert video_ids(index) == {f"{i}.mp4" for i in range(5)}
    assert index._inner.generations().previous is None


def test_another_suite_discards_an_unfinished_generation(index: Index, films: list[Path]) -> None:
    films[0].rename(films[0].with_suffix(".away"))
    assert not index.reindex(NEW).ok
    unfinished = index._inner.generations().building
    assert unfinished is not None
    assert index.reindex(OLD).ok, "rewriting needs no footage"
    assert index._inner.generations().building is None
    assert index._inner.generation.number > unfinished.number
    assert (len(video_ids(index)), index.size(), index.verify().ok) == (3, {"scene": 6}, True)
