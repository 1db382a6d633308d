from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.films import Film
from var_plugin.api import Index
from var_plugin.errors import MediaNotFoundError
from var_plugin.watch import folder as watching
from var_plugin.watch.folder import (
    MAX_RETRY_SECONDS,
    PATIENCE_SECONDS,
    RETRY_SECONDS,
    SETTLE_SECONDS,
    FolderWatch,
    watch,
)


class HandClock:
    """A clock that is advanced by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def long_ago(path: Path, seconds: float = 1000.0) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def test_existing_files_are_returned_at_once_oldest_first(film: Film, tmp_path: Path, clock: HandClock) -> None:
    new, old = long_ago(film("new.mp4"), 500), long_ago(film("cams/old.mkv"), 900)
    (tmp_path / "notes.txt").write_text("no film")
    folder_watch = FolderWatch(tmp_path, clock)
    assert folder_watch.look() == [old, new]
    assert folder_watch.look() == []
    assert not folder_watch.waiting


def test_a_growing_file_waits_until_its_size_is_stable(film: Film, tmp_path: Path, clock: HandClock) -> None:
    content = film("whole.ts", seconds=4).read_bytes()
    (tmp_path / "whole.ts").unlink()
    path = tmp_path / "growing.ts"
    folder_watch = FolderWatch(tmp_path, clock)
    for part in range(1, 5):
        path.write_bytes(content[: len(content) * part // 4])
        assert folder_watch.look() == [], "readable, but still growing"
        assert folder_watch.waiting
        clock.now += SETTLE_SECONDS - 0.5
    assert folder_watch.look() == []
    clock.now += 1.0
    assert folder_watch.look() == [path]


def test_an_mp4_without_its_index_is_not_complete(film: Film, tmp_path: Path, clock: HandClock) -> None:
    """A paused camera: the file is unchanged for a minute, but its table of frames is not written yet."""
    path = film("cam.mp4")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    folder_watch = FolderWatch(tmp_path, clock)
    folder_watch.look()
    clock.now += 60
    assert folder_watch.look() == []
    path.write_bytes(content)
    folder_watch.look()
    clock.now += SETTLE_SECONDS
    assert folder_watch.look() == [path]


def test_an_unreadable_file_is_returned_after_a_time_limit(tmp_path: Path, clock: HandClock) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"not a film")
    folder_watch = FolderWatch(tmp_path, clock)
    folder_watch.look()
    clock.now += PATIENCE_SECONDS - 1
    assert folder_watch.look() == []
    clock.now += 1
    assert folder_watch.look() == [path]
    clock.now += PATIENCE_SECONDS
    assert folder_watch.look() == [], "once is enough"


def test_new_content_at_the_same_path_is_a_new_file(film: Film, tmp_path: Path, clock: HandClock) -> None:
    path = long_ago(film("cam.mp4"))
    folder_watch = FolderWatch(tmp_path, clock)
    assert folder_watch.look() == [path]
    film("cam.mp4", seconds=3)
    assert folder_watch.look() == []
    clock.now += SETTLE_SECONDS
    assert folder_watch.look() == [path]


def test_a_failed_file_is_retried_with_doubling_delay(film: Film, tmp_path: Path, clock: HandClock) -> None:
    path = long_ago(film("cam.mp4"))
    folder_watch = FolderWatch(tmp_path, clock)
    assert folder_watch.look() == [path]
    assert folder_watch.retry(path) == RETRY_SECONDS
    assert folder_watch.look() == []
    clock.now += RETRY_SECONDS
    assert folder_watch.look() == [path]
    assert folder_watch.retry(path) == 2 * RETRY_SECONDS
    assert folder_watch.seconds_to_retry() == 2 * RETRY_SECONDS
    path.chmod(0o640)
    assert folder_watch.look() == [path], "its permissions changed: at once"
    for _ in range(2_000):
        delay = folder_watch.retry(path)
    assert delay == MAX_RETRY_SECONDS
    clock.now += MAX_RETRY_SECONDS
    assert folder_watch.look() == [path]
    assert folder_watch.look() == []


def test_files_that_reappear_are_not_new(film: Film, tmp_path: Path, clock: HandClock) -> None:
    """The folder of an unmounted drive is empty."""
    path = long_ago(film("drive/cam.mp4"))
    folder_watch = FolderWatch(tmp_path / "drive", clock)
    assert folder_watch.look() == [path]
    path.rename(tmp_path / "elsewhere.mp4")
    assert folder_watch.look() == []
    assert not folder_watch.waiting
    (tmp_path / "elsewhere.mp4").rename(path)
    new = long_ago(film("drive/new.mp4"))
    assert folder_watch.look() == [new]


def test_unreadable_folders_are_reported(film: Film, tmp_path: Path, clock: HandClock) -> None:
    path = long_ago(film("cam.mp4"))
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    folder_watch = FolderWatch(tmp_path, clock)
    assert folder_watch.look() == [path]
    assert [problem.name for problem in folder_watch.problems] == ["gone.mp4"]
    (tmp_path / "gone.mp4").unlink()
    folder_watch.look()
    assert folder_watch.problems == {}


@contextmanager
def running(folder: Path, handle, **options) -> Iterator[threading.Event]:
    """Run a watch in a thread and stop it at the end."""
    stop = threading.Event()
    thread = threading.Thread(target=watch, args=(folder, handle), kwargs={"stop": stop, **options})
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def until(condition, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


def test_a_watched_folder_is_indexed_while_cameras_write(
    film: Film, tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Real files, file-system events and index. Unreadable files and failing handlers do not end the watch."""
    monkeypatch.setattr(watching, "SETTLE_SECONDS", 0.5)
    monkeypatch.setattr(watching, "PATIENCE_SECONDS", 1.5)
    cams = tmp_path / "cams"
    long_ago(film("cams/north/first.mp4"))
    content = film("elsewhere.mp4", seconds=4).read_bytes()
    handled: list[str] = []
    cleaned: list[int] = []

    def handle(path: Path) -> None:
        handled.append(path.name)
        if path.name == "trouble.mp4":
            raise ConnectionError("the store is away")
        index.add(path, camera=path.parent.name)

    monkeypatch.setattr(watching, "RETRY_SECONDS", 3600.0)
    with running(cams, handle, housekeeping=lambda: cleaned.append(len(handled))):
        assert until(lambda: handled == ["first.mp4"])
        with (cams / "second.mp4").open("wb") as camera:
            for start in range(0, len(content), len(content) // 4):
                camera.write(content[start : start + len(content) // 4])
                camera.flush()
                time.sleep(0.2)
        (cams / "broken.mp4").write_bytes(b"no film")
        assert until(lambda: {"second.mp4", "broken.mp4"} <= set(handled))
        film("cams/trouble.mp4", seconds=1)
        assert until(lambda: "trouble.mp4" in handled)
        film("cams/last.mp4", seconds=3)
        assert until(lambda: "last.mp4" in handled)
    assert sorted(handled) == sorted(set(handled)), "each once"
    assert {(video.camera, Path(video.uri).name) for video in index.videos()} == {
        ("north", "first.mp4"), ("cams", "second.mp4"), ("cams", "last.mp4"),
    }  # fmt: skip
    assert cleaned == [0]
    assert "trouble.mp4 failed; the watch continues" in caplog.text


def test_a_missing_folder_is_waited_for(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "RESCAN_SECONDS", 0.2)
    drive, elsewhere = tmp_path / "drive", tmp_path / "elsewhere"
    first = long_ago(film("drive/first.mp4"))
    handled: list[Path] = []
    with running(drive, handled.append):
        assert until(lambda: handled == [first])
        drive.rename(elsewhere)
        assert until(lambda: "trying again" in caplog.text)
        path = long_ago(film("elsewhere/new.mp4"))
        elsewhere.rename(drive)
        assert until(lambda: handled == [first, drive / path.name])


def test_a_file_whose_handler_fails_is_returned_again(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "RETRY_SECONDS", 0.1)
    path = long_ago(film("cams/a.mp4"))
    handled: list[Path] = []

    def handle(path: Path) -> bool:
        handled.append(path)
        if len(handled) == 1:
            raise ConnectionError("the store is away")
        return len(handled) < 3

    with running(tmp_path / "cams", handle):
        assert until(lambda: len(handled) == 3)
    assert handled == [path] * 3


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        watch(tmp_path / "no", print, stop=threading.Event())
