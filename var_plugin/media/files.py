"""Finding media files and telling them apart by content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from var_plugin.errors import EmptyMediaError, MediaNotFoundError, NoVideosFoundError

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3gp", ".asf", ".avi", ".dav", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts",
    ".vob", ".webm", ".wmv",
})
# fmt: on


def find_videos(path: Path) -> list[Path]:
    """Return the file itself, or every video below a folder, by file ending and sorted by name.

    A file named outright is taken whatever its ending. Hidden files and folders are passed over.

    Raises:
        MediaNotFoundError: nothing is there.
        NoVideosFoundError: the folder holds no file with a video ending.
    """
    if not path.exists():
        raise MediaNotFoundError(f"{path} does not exist", fix="check the spelling of the path")
    if not path.is_dir():
        return [path]
    found = sorted(
        child
        for child in path.rglob("*")
        if child.suffix.lower() in VIDEO_SUFFIXES and child.is_file() and not _hidden(child.relative_to(path))
    )
    if not found:
        raise NoVideosFoundError(
            f"no videos in {path}",
            why=f"no file in it ends in {', '.join(sorted(VIDEO_SUFFIXES))}",
            fix="name another folder, or name the files themselves",
        )
    return found


def content_hash(path: Path) -> str:
    """Return the SHA-256 of the file's bytes in hex: the same content is the same video, wherever it lies.

    Raises:
        MediaNotFoundError: nothing is there, or it is not a file.
        EmptyMediaError: the file holds no bytes.
    """
    check_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path) -> None:
    """Raise unless there is a file with something in it."""
    if not path.is_file():
        raise MediaNotFoundError(f"{path} is not a file", fix="check the spelling of the path")
    if path.stat().st_size == 0:
        raise EmptyMediaError(f"{path} is empty", why="it holds no bytes", fix="copy or record it again")


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
