from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from var_plugin.errors import (
    EmptyMediaError,
    InvalidInputError,
    MediaNotFoundError,
    NoVideosFoundError,
    UnreadableMediaError,
)
from var_plugin.media import files
from var_plugin.media.files import (
    HIDDEN_FILES,
    _stored_name,
    atomic_write,
    canonical_path,
    content_hash,
    find_videos,
    scan_videos,
)


def test_videos_of_a_folder_are_sorted(tmp_path: Path) -> None:
    for name in ("b.MP4", "a/c.mkv", "notes.txt", ".hidden/d.mp4", "a/.e.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_videos(tmp_path) == [tmp_path / "a/c.mkv", tmp_path / "b.MP4"]


def test_hidden_folder_is_scanned_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / ".cams").mkdir()
    (tmp_path / ".cams/a.mp4").touch()
    assert len(find_videos(tmp_path / ".cams")) == 1


def test_named_file_is_returned_whatever_its_suffix(tmp_path: Path) -> None:
    odd = tmp_path / "recording.h264"
    odd.touch()
    assert find_videos(odd) == [odd]


def test_missing_folder_and_empty_folder_have_different_errors(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        find_videos(tmp_path / "missing")
    with pytest.raises(NoVideosFoundError):
        find_videos(tmp_path)


def test_content_hash_is_the_sha256_of_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"content")
    assert content_hash(file) == hashlib.sha256(b"content").hexdigest()
    with pytest.raises(MediaNotFoundError):
        content_hash(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(EmptyMediaError):
        content_hash(tmp_path / "empty")


def films(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_system_folders_are_skipped_and_counted(tmp_path: Path) -> None:
    films(
        tmp_path, "front/a.mp4", "front/@eaDir/a.mp4/SYNOPHOTO_FILM_M.mp4", "#recycle/b.mp4", "$RECYCLE.BIN/c.mp4",
        "@Recycle/d.mp4", ".@__thumb/e.mp4", "System Volume Information/f.mp4", "back/@eaDir/x.mp4", "lost+found/g.mp4",
        "found.000/h.mp4", ".Trashes/i.mp4", "front/._a.mp4", "#snapshot/j.mp4",
    )  # fmt: skip
    scan = scan_videos(tmp_path)
    assert scan.videos == [tmp_path / "front/a.mp4"]
    assert scan.skipped == {
        "@eaDir": 2, "#recycle": 1, "$RECYCLE.BIN": 1, "@Recycle": 1, ".@__thumb": 1, "System Volume Information": 1,
        "lost+found": 1, "found.000": 1, ".Trashes": 1, "#snapshot": 1, HIDDEN_FILES: 1,
    }  # fmt: skip
    assert find_videos(tmp_path / "#recycle") == [tmp_path / "#recycle/b.mp4"], "a named folder is scanned"
    with pytest.raises(NoVideosFoundError, match="these were skipped: @eaDir"):
        find_videos(tmp_path / "back")


def test_linked_folders_and_files_are_returned_once(tmp_path: Path) -> None:
    films(tmp_path, "cams/north/a.mp4", "disk2/south/b.mp4", "disk2/c.mp4")
    cams = tmp_path / "cams"
    (cams / "south").symlink_to(tmp_path / "disk2/south")
    (cams / "again").symlink_to(tmp_path / "disk2/south")
    (cams / "north/copy.mp4").symlink_to(cams / "north/a.mp4")
    (cams / "linked.mp4").symlink_to(tmp_path / "disk2/c.mp4")
    (cams / "a_north").symlink_to(cams / "north")
    films(tmp_path, "archive/2026.mp4")
    (cams / "latest").symlink_to(tmp_path / "archive/2026.mp4")
    videos = {path.resolve() for path in find_videos(cams)}
    assert len(find_videos(cams)) == len(videos) == 4
    assert cams / "latest" in find_videos(cams), "the suffix of the link target counts"
    assert cams / "north/a.mp4" in find_videos(cams), "a real path is preferred to a link"


def test_cyclic_links_end(tmp_path: Path) -> None:
    films(tmp_path, "cams/north/a.mp4", "other.mp4")
    cams = tmp_path / "cams"
    (cams / "north/self").symlink_to(cams / "north")
    (cams / "north/up").symlink_to("..")
    (cams / "out").symlink_to(tmp_path)
    (cams / "loop.mp4").symlink_to("loop.mp4")
    scan = scan_videos(cams)
    assert scan.videos == [cams / "north/a.mp4"], "files outside the folder are not returned"
    assert [(path.name, type(problem)) for path, problem in scan.problems] == [("loop.mp4", UnreadableMediaError)]
    assert "out (a link to a parent folder)" in scan.skipped


def test_unreadable_entry_is_a_problem_and_others_are_returned(tmp_path: Path) -> None:
    films(tmp_path, "cams/a.mp4")
    cams = tmp_path / "cams"
    (cams / "gone.mp4").symlink_to(tmp_path / "gone.mp4")
    (cams / "disk").symlink_to(tmp_path / "not mounted")
    os.mkfifo(cams / "pipe.mp4")
    scan = scan_videos(cams)
    assert scan.videos == [cams / "a.mp4"]
    problems = {path.name: str(problem) for path, problem in scan.problems}
    assert problems.keys() == {"gone.mp4", "disk", "pipe.mp4"}
    assert "is a broken link" in problems["disk"]
    assert "a pipe or a device" in problems["pipe.mp4"]


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "/".join(["d" * 200] * 30)])
def test_invalid_paths_are_unreadable(tmp_path: Path, name: str) -> None:
    for function in (find_videos, content_hash):
        with pytest.raises(UnreadableMediaError, match="cannot read"):
            function(tmp_path / name)


def test_devices_and_pipes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(MediaNotFoundError, match="a pipe or a device"):
            content_hash(path)


def test_canonical_path_is_the_same_for_all_spellings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films(tmp_path, "a/f.mp4", "b/g.mp4")
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    spellings = [
        "a/f.mp4",
        "./a//f.mp4",
        "b/../a/f.mp4",
        "linked/f.mp4",
        "linked/../a/f.mp4",
        str(tmp_path / "a/f.mp4"),
    ]
    assert {canonical_path(Path(spelling)) for spelling in spellings} == {str(tmp_path.resolve() / "a/f.mp4")}


def test_name_gets_the_case_stored_in_its_folder(tmp_path: Path) -> None:
    # A file system that ignores case finds a name in any spelling.
    films(tmp_path, "Cams/f.mp4")
    assert _stored_name(str(tmp_path), "cAMS") == "Cams"
    films(tmp_path, "north/f.mp4", "NORTH/f.mp4")
    assert (_stored_name(str(tmp_path), "north"), _stored_name(str(tmp_path), "NORTH")) == ("north", "NORTH")


def test_hash_of_a_growing_file_covers_its_initial_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.mp4"
    file.write_bytes(b"x" * 10)
    real = files.check_file

    def growing(path: Path) -> os.stat_result:
        state = real(path)
        with path.open("ab") as grown:
            grown.write(b"more")
        return state

    monkeypatch.setattr(files, "check_file", growing)
    assert content_hash(file) == hashlib.sha256(b"x" * 10).hexdigest()


def test_file_is_written_through_a_link(tmp_path: Path) -> None:
    link, file = tmp_path / "clip.mp4", tmp_path / "share" / "clip.mp4"
    link.symlink_to("share/clip.mp4")
    for content in ("new", "newer"):
        with atomic_write(link) as temporary:
            temporary.write_text(content)
        assert (link.is_symlink(), file.read_text()) == (True, content)
    with pytest.raises(RuntimeError), atomic_write(link):
        raise RuntimeError
    assert file.read_text() == "newer"
    assert sorted(file.parent.iterdir()) == [file]


def test_private_file_replaces_a_link(tmp_path: Path) -> None:
    """Another program may have placed a link in the cache."""
    link, file = tmp_path / "cache" / "1000.jpg", tmp_path / "other.jpg"
    link.parent.mkdir()
    file.write_text("other")
    link.symlink_to(file)
    with atomic_write(link, private=True) as temporary:
        temporary.write_text("new")
    assert (link.is_symlink(), link.read_text(), file.read_text()) == (False, "new", "other")


def test_devices_and_pipes_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InvalidInputError, match="it is not a regular file"), atomic_write(tmp_path / "pipe.jpg"):
        pytest.fail("it is written")
    assert (tmp_path / "pipe.jpg").is_fifo()


@pytest.mark.parametrize("folder", [".", "..", "/"])
def test_a_folder_is_not_replaced(folder: str) -> None:
    with pytest.raises(InvalidInputError) as error, atomic_write(Path(folder)):
        pytest.fail("it is written")
    assert str(error.value) == f"cannot write {folder}: it is a folder; choose another path"
