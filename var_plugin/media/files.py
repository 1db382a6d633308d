"""Finding media files, telling them apart by content, and writing them whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import secrets
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from var_plugin.errors import (
    EmptyMediaError,
    InvalidInputError,
    MediaNotFoundError,
    NoVideosFoundError,
    UnreadableMediaError,
    VarPluginError,
    os_error_message,
)
from var_plugin.private_files import make_private_folder

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 20
_CHECK_DISK = re.compile(r"found\.\d{3}", re.IGNORECASE)  # what Windows' chkdsk saves

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".264", ".265", ".3gp", ".asf", ".avi", ".dav", ".flv", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg",
    ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".vob", ".webm", ".wmv",
})
# fmt: on


SYSTEM_FOLDERS = frozenset({
    "#recycle", "#snapshot", "$recycle.bin", "@eadir", "@recently-snapshot", "@recycle", "@sharebin", "@sharesnap",
    "lost+found", "network trash folder", "recycle bin", "recycler", "system volume information", "temporary items",
    "trashbox", "~snapshot",
})  # fmt: skip
"""Folders of network storage and operating systems that hold deleted files, snapshots or previews, in lower case."""
HIDDEN_FILES = "hidden video files"


@dataclass
class VideoScan:
    """What a look through a folder found."""

    videos: list[Path] = field(default_factory=list)
    """Sorted by name; each file once, however many links lead to it."""
    problems: list[tuple[Path, VarPluginError]] = field(default_factory=list)
    """What could not be looked at: unreadable folders, links that lead nowhere, pipes and devices named like videos."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Folders of the system and hidden ones by name, and `HIDDEN_FILES`, with their number."""


def find_videos(path: Path) -> list[Path]:
    """Return the file itself, or every video below a folder, as `scan_videos`; what cannot be looked at is logged.

    Raises:
        MediaNotFoundError: nothing is there.
        UnreadableMediaError: it cannot be looked at, or nothing in the folder can.
        NoVideosFoundError: the folder holds no file with a video ending.
    """
    scan = scan_videos(path)
    if not scan.videos and scan.problems:
        raise scan.problems[0][1]
    for _, problem in scan.problems:
        logger.warning("left out: %s", problem)
    return scan.videos


def scan_videos(path: Path) -> VideoScan:
    """Look for videos: the file itself, or every video below a folder, by file ending and sorted by name.

    A file named outright is taken whatever its ending, a folder named outright whatever its name. Below it, hidden
    files and folders and those of `SYSTEM_FOLDERS` are passed over. Links to files and folders are followed; a file to
    which several ways lead is taken once, and a link to a folder above itself is passed over.

    Raises:
        MediaNotFoundError: nothing is there.
        UnreadableMediaError: it cannot be looked at.
        NoVideosFoundError: the folder holds no file with a video ending, and nothing that cannot be looked at.
    """
    if not S_ISDIR(file_status(path).st_mode):
        return VideoScan([path])
    scan = _Walk(path).scan
    if not scan.videos and not scan.problems:
        raise NoVideosFoundError(
            f"no videos in {path}",
            why=f"no file in it ends in {', '.join(sorted(VIDEO_SUFFIXES))}"
            + (f", and these are passed over: {', '.join(sorted(scan.skipped))}" if scan.skipped else ""),
            fix="name another folder, or name the files themselves",
        )
    return scan


class _Walk:
    """Walks through a folder: first its real folders, then those that links lead to."""

    def __init__(self, root: Path) -> None:
        self.scan = VideoScan()
        self._files: dict[str, Path] = {}
        """By their real path."""
        self._links: deque[Path] = deque()
        start = os.path.realpath(root)
        self._visited = {start}
        self._walk(root, start)
        while self._links:
            self._follow(self._links.popleft())
        self.scan.videos = sorted(self._files.values())

    def _walk(self, folder: Path, real: str) -> None:
        waiting = [(folder, real)]
        while waiting:
            folder, real = waiting.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        inside = self._look_at(folder / entry.name, entry, real)
                        if inside is not None:
                            waiting.append(inside)
            except OSError as error:
                self.scan.problems.append((folder, read_error(folder, error)))

    def _look_at(self, path: Path, entry: os.DirEntry[str], real_parent: str) -> tuple[Path, str] | None:
        """Take in one entry; return a folder that is to be walked through, with its real path."""
        video = path.suffix.lower() in VIDEO_SUFFIXES
        hidden = entry.name.startswith(".")
        system = entry.name.casefold() in SYSTEM_FOLDERS or _CHECK_DISK.fullmatch(entry.name)
        folder = entry.is_dir(follow_symlinks=False)
        if (hidden and folder) or (system and (folder or entry.is_symlink())):
            self.scan.skipped[entry.name] += 1
        elif entry.is_symlink() and not hidden:
            self._links.append(path)
        elif folder:
            real = os.path.join(real_parent, entry.name)  # noqa: PTH118  (many of them)
            if real not in self._visited:
                self._visited.add(real)
                return path, real
        elif video and hidden:
            self.scan.skipped[HIDDEN_FILES] += 1
        elif video and entry.is_file(follow_symlinks=False):
            self._files.setdefault(os.path.join(real_parent, entry.name), path)  # noqa: PTH118
        elif video:
            self.scan.problems.append((path, _no_file(path)))
        return None

    def _follow(self, link: Path) -> None:
        try:
            state = file_status(link)
            real = os.path.realpath(link)
        except VarPluginError as error:
            self.scan.problems.append((link, error))
            return
        if S_ISDIR(state.st_mode):
            if Path(os.path.realpath(link.parent)).is_relative_to(real):
                self.scan.skipped[f"{link.name} (a link to a folder above it)"] += 1
            elif real not in self._visited:
                self._visited.add(real)
                self._walk(link, real)
        elif VIDEO_SUFFIXES & {link.suffix.lower(), Path(real).suffix.lower()}:
            if S_ISREG(state.st_mode):
                self._files.setdefault(real, link)
            else:
                self.scan.problems.append((link, _no_file(link)))


def canonical_path(path: Path) -> str:
    """Return the one path of a file under which an index stores it: absolute, without `..` and links, in its own case.

    Raises:
        MediaNotFoundError, UnreadableMediaError: it is not there, or cannot be looked at.
    """
    file_status(path)
    return _true_case(os.path.realpath(path))


def _true_case(path: str) -> str:
    """Spell each part of a path as its folder does: a file system may take `CAMS/A.MP4` for `cams/a.mp4`."""
    spelled = Path(path).anchor
    for part in Path(path).parts[1:]:
        spelled = os.path.join(spelled, _spelling(spelled, part))  # noqa: PTH118
    return spelled


@lru_cache(maxsize=4096)
def _spelling(folder: str, name: str) -> str:
    if os.path.lexists(os.path.join(folder, name.swapcase())):  # noqa: PTH118
        with suppress(OSError), os.scandir(folder) as entries:
            names = {entry.name for entry in entries}
            if name not in names:
                return next((other for other in names if other.casefold() == name.casefold()), name)
    return name


def file_status(path: Path) -> os.stat_result:
    """Return the state of what a path leads to.

    Raises:
        MediaNotFoundError: nothing is there.
        UnreadableMediaError: it cannot be looked at: no permission, a link that leads to itself, a name too long.
    """
    try:
        return path.stat()
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise read_error(path, error) from error


def read_error(path: Path, error: Exception) -> VarPluginError:
    """Return the error for a file or folder that the system does not let us read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if os.path.islink(path):  # noqa: PTH114  (does not raise)
            return MediaNotFoundError(
                f"{path} is a link that leads nowhere", fix="mount what it leads to, or remove the link"
            )
        return MediaNotFoundError(f"{path} does not exist", fix="check the spelling of the path")
    fix = "check that it is a file on a disk that works"
    if isinstance(error, PermissionError):
        fix = "give the user that runs this the right to read it"
    elif getattr(error, "errno", None) == errno.ELOOP:
        fix = "remove the link: it leads to itself"
    elif getattr(error, "errno", None) == errno.ENAMETOOLONG:
        fix = "shorten the name"
    return UnreadableMediaError(f"cannot read {path}", why=os_error_message(error), fix=fix)


def content_hash(path: Path) -> str:
    """Return the SHA-256 of the file's bytes in hex: the same content is the same video, wherever it lies.

    Of a file that grows meanwhile, the bytes that it had at first count.

    Raises:
        MediaNotFoundError: nothing is there, or it is not a file.
        EmptyMediaError: the file holds no bytes.
        UnreadableMediaError: the system does not let us read it.
    """
    left = check_file(path).st_size
    sha256 = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while left > 0 and (block := file.read(min(left, _BLOCK_BYTES))):
                sha256.update(block)
                left -= len(block)
    except OSError as error:
        raise read_error(path, error) from error
    return sha256.hexdigest()


def check_file(path: Path) -> os.stat_result:
    """Return the state of a file; raise unless there is one with something in it.

    Raises:
        MediaNotFoundError: nothing is there, or it is not a file.
        EmptyMediaError: it holds no bytes.
        UnreadableMediaError: it cannot be looked at.
    """
    state = file_status(path)
    if not S_ISREG(state.st_mode):
        raise _no_file(path)
    if state.st_size == 0:
        raise EmptyMediaError(f"{path} is empty", why="it holds no bytes", fix="copy or record it again")
    return state


def _no_file(path: Path) -> MediaNotFoundError:
    return MediaNotFoundError(
        f"{path} is not a file", why="it is a folder, a pipe or a device", fix="name a file that holds footage"
    )


def resolve_target(path: Path) -> Path:
    """Return the file to replace in order to write a file that a user names: of a link, what it leads to.

    Raises:
        OSError: something else than a file lies there, or the system does not let this user follow the link.
    """
    try:
        # Not `resolve` alone: the kernel refuses links of other users in shared folders, such as /tmp.
        if not S_ISREG(path.stat().st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    except FileNotFoundError:
        pass
    return path.resolve()


@contextmanager
def atomic_write(target: Path, *, private: bool = False) -> Iterator[Path]:
    """Give the block a file to write; it becomes the target when the block ends well, and is gone when it does not.

    Several may write the same target at once: the last one to end wins. A link is followed, except to a private file.

    Args:
        target: the file.
        private: only this user can read the file and its folder; default: as the umask says.

    Raises:
        InvalidInputError: nothing can be written there.
    """
    with convert_write_errors(target):
        file = target if private else resolve_target(target)
        if private:
            make_private_folder(file.parent)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f".{secrets.token_hex(4)}.{file.name}")
        unfinished.touch(mode=0o600 if private else 0o666)
    try:
        yield unfinished
        with convert_write_errors(target):
            unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def convert_write_errors(target: Path) -> Iterator[None]:
    """Raise InvalidInputError where the system does not let us write a file."""
    try:
        yield
    except OSError as error:
        raise InvalidInputError(
            f"cannot write {target}", why=os_error_message(error), fix="name another place for it"
        ) from error
