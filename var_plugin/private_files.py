"""Private folders and files, file locks, and deletions that are restricted to marked folders.

The functions do not follow a symbolic link in the last path component, write through a hard link, or block on a FIFO.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_MARK = ".var-plugin"
"""File that marks a folder in which var-plugin may delete."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")


def make_private_folder(folder: Path) -> Path:
    """Create a folder and its missing parents for this user only (mode 0700); restrict the mode of an existing one.

    Raises:
        OSError: It cannot be created, or is not a folder.
    """
    missing = [folder, *folder.parents]
    for parent in reversed(missing[: next((i for i, path in enumerate(missing) if path.exists()), len(missing))]):
        parent.mkdir(mode=0o700, exist_ok=True)
    status = folder.stat()
    if status.st_uid == os.geteuid() and status.st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def create_private_file(path: Path) -> IO[bytes]:
    """Create a file for this user only (mode 0600) and open it for writing. Replace an existing file of that name.

    Raises:
        OSError: It cannot be created.
    """
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def open_regular_file(path: Path) -> IO[bytes]:
    """Open a regular file for reading.

    Raises:
        OSError: It cannot be read, or is a link, a FIFO, a device or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Lock a file during the block. The file is created if it does not exist. The lock ends with the process.

    Raises:
        OSError: The file is a link, or cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def mark_folder(folder: Path) -> None:
    """Mark a folder in which `delete_inside` may delete.

    Raises:
        OSError: The mark cannot be written.
    """
    mark = folder / _MARK
    if not _is_file(mark):
        create_private_file(mark).close()


@contextmanager
def unfinished_folder(target: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a new private folder beside the target. It is removed after the block unless `keep_folder` renames it.

    Folders of killed processes for the same target are removed first.

    Args:
        target: Final path of the folder.
        suffix: Suffix of the temporary folder's name.

    Raises:
        OSError: The folder cannot be created.
    """
    prefix = f".{target.name}.unfinished-"
    for entry in os.scandir(target.parent):
        if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False):
            _remove_abandoned(Path(entry.path))
    folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=target.parent))
    mark = folder / _MARK
    try:
        with create_private_file(mark) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield folder
    finally:
        if _is_file(mark):
            shutil.rmtree(folder, ignore_errors=True)


def keep_folder(folder: Path, target: Path) -> None:
    """Rename an `unfinished_folder` to its target, which must not exist or must be an empty folder.

    Raises:
        OSError: It cannot be renamed.
    """
    folder.rename(target)
    (target / _MARK).unlink()


def _remove_abandoned(folder: Path) -> None:
    try:
        with open_regular_file(folder / _MARK) as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # it is not marked, or another process uses it
        return


def is_marked(folder: Path) -> bool:
    """Return whether a folder is marked. A link to a marked folder is not."""
    return not folder.is_symlink() and folder.is_dir() and _is_file(folder / _MARK)


def delete_inside(root: Path, name: str) -> bool:
    """Delete a folder directly inside a marked one without following links. Return whether it was deleted.

    Nothing is deleted if the root is not marked, the name is not a plain name, or the name is that of a link.
    """
    root = root.resolve()
    folder = root / name
    if not _PLAIN_NAME.fullmatch(name) or not is_marked(root) or folder.is_symlink() or not folder.is_dir():
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
