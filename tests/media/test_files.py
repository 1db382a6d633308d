from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from var_plugin.errors import EmptyMediaError, MediaNotFoundError, NoVideosFoundError
from var_plugin.media.files import content_hash, find_videos


def test_folders_give_their_videos_sorted(tmp_path: Path) -> None:
    for name in ("b.MP4", "a/c.mkv", "notes.txt", ".hidden/d.mp4", "a/.e.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_videos(tmp_path) == [tmp_path / "a/c.mkv", tmp_path / "b.MP4"]


def test_a_hidden_folder_named_outright_is_searched(tmp_path: Path) -> None:
    (tmp_path / ".cams").mkdir()
    (tmp_path / ".cams/a.mp4").touch()
    assert len(find_videos(tmp_path / ".cams")) == 1


def test_a_file_named_outright_is_taken_as_it_is(tmp_path: Path) -> None:
    odd = tmp_path / "recording.h264"
    odd.touch()
    assert find_videos(odd) == [odd]


def test_nothing_there_and_nothing_in_it_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        find_videos(tmp_path / "missing")
    with pytest.raises(NoVideosFoundError):
        find_videos(tmp_path)


def test_content_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"moving pictures")
    assert content_hash(file) == hashlib.sha256(b"moving pictures").hexdigest()
    with pytest.raises(MediaNotFoundError):
        content_hash(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(EmptyMediaError):
        content_hash(tmp_path / "empty")
