"""Finding media files, telling them apart by content, and writing them whole or not at all."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from var_plugin.errors import EmptyMediaError, InvalidInputError, MediaNotFoundError, NoVideosFoundError, said
from var_plugin.private_files import make_private_folder

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


@contextmanager
def written_whole(target: Path, *, private: bool = False) -> Iterator[Path]:
    """Give the block a file to write; it becomes the target when the block ends well, and is gone when it does not.

    Several may write the same target at once: the last one to end wins.

    Args:
        target: the file.
        private: only this user can read the file and its folder; default: as the umask says.

    Raises:
        InvalidInputError: nothing can be written there.
    """
    unfinished = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    with _written(target):
        if private:
            make_private_folder(target.parent)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch(mode=0o600 if private else 0o666)
    try:
        yield unfinished
        with _written(target):
            unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _written(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInputError(f"cannot write {target}", why=said(error), fix="name another place for it") from error


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
