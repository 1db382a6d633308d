"""Find media files, identify them by content, and write files atomically."""

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
_CHKDSK_FOLDER = re.compile(r"found\.\d{3}", re.IGNORECASE)  # fragments saved by chkdsk on Windows

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
"""Folders in which network storage and operating systems keep deleted files, snapshots or previews, in lower case."""
HIDDEN_FILES = "hidden video files"


@dataclass
class VideoScan:
    """Result of `scan_videos`."""

    videos: list[Path] = field(default_factory=list)
    """Video files sorted by name. A file with several links is listed once."""
    problems: list[tuple[Path, VarPluginError]] = field(default_factory=list)
    """Unreadable folders, broken links, and pipes and devices with a video suffix, each with its error."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Number of skipped entries: system folders and hidden folders by name, and `HIDDEN_FILES`."""


def find_videos(path: Path) -> list[Path]:
    """Return the videos of `scan_videos` and log its problems.

    Raises:
        MediaNotFoundError: the path does not exist.
        UnreadableMediaError: the path, or everything in the folder, is unreadable.
        NoVideosFoundError: the folder has no file with a video suffix.
    """
    scan = scan_videos(path)
    if not scan.videos and scan.problems:
        raise scan.problems[0][1]
    for _, problem in scan.problems:
        logger.warning("skipped: %s", problem)
    return scan.videos


def scan_videos(path: Path) -> VideoScan:
    """Find the videos below a folder by their suffixes. A path to a file returns that file.

    The given file or folder itself is always accepted, whatever its name. Below a folder, hidden files and folders and
    those of `SYSTEM_FOLDERS` are skipped. Links to files and folders are followed, except links to a parent folder. A
    file that is reachable by several paths is returned once.

    Raises:
        MediaNotFoundError: the path does not exist.
        UnreadableMediaError: the path is unreadable.
        NoVideosFoundError: the folder has neither a file with a video suffix nor an unreadable entry.
    """
    if not S_ISDIR(file_status(path).st_mode):
        return VideoScan([path])
    scan = _FolderWalk(path).scan
    if not scan.videos and not scan.problems:
        raise NoVideosFoundError(
            f"no videos in {path}",
            why=f"no file in it ends in {', '.join(sorted(VIDEO_SUFFIXES))}"
            + (f", and these were skipped: {', '.join(sorted(scan.skipped))}" if scan.skipped else ""),
            fix="choose another folder, or name the files themselves",
        )
    return scan


class _FolderWalk:
    """Walks a folder tree: first the real folders, then those behind links."""

    def __init__(self, root: Path) -> None:
        self.scan = VideoScan()
        self._files: dict[str, Path] = {}
        """Video files by their real path."""
        self._links: deque[Path] = deque()
        start = os.path.realpath(root)
        self._visited = {start}
        self._walk(root, start)
        while self._links:
            self._follow(self._links.popleft())
        self.scan.videos = sorted(self._files.values())

    def _walk(self, folder: Path, real: str) -> None:
        pending = [(folder, real)]
        while pending:
            folder, real = pending.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        subfolder = self._add(folder / entry.name, entry, real)
                        if subfolder is not None:
                            pending.append(subfolder)
            except OSError as error:
                self.scan.problems.append((folder, read_error(folder, error)))

    def _add(self, path: Path, entry: os.DirEntry[str], real_parent: str) -> tuple[Path, str] | None:
        """Add one entry to the scan. Return a folder that is to be walked, with its real path."""
        is_video = path.suffix.lower() in VIDEO_SUFFIXES
        is_hidden = entry.name.startswith(".")
        is_system = entry.name.casefold() in SYSTEM_FOLDERS or _CHKDSK_FOLDER.fullmatch(entry.name)
        is_folder = entry.is_dir(follow_symlinks=False)
        if (is_hidden and is_folder) or (is_system and (is_folder or entry.is_symlink())):
            self.scan.skipped[entry.name] += 1
        elif entry.is_symlink() and not is_hidden:
            self._links.append(path)
        elif is_folder:
            real = os.path.join(real_parent, entry.name)  # noqa: PTH118  (faster, called for every entry)
            if real not in self._visited:
                self._visited.add(real)
                return path, real
        elif is_video and is_hidden:
            self.scan.skipped[HIDDEN_FILES] += 1
        elif is_video and entry.is_file(follow_symlinks=False):
            self._files.setdefault(os.path.join(real_parent, entry.name), path)  # noqa: PTH118
        elif is_video:
            self.scan.problems.append((path, _not_a_file_error(path)))
        return None

    def _follow(self, link: Path) -> None:
        try:
            status = file_status(link)
            real = os.path.realpath(link)
        except VarPluginError as error:
            self.scan.problems.append((link, error))
            return
        if S_ISDIR(status.st_mode):
            if Path(os.path.realpath(link.parent)).is_relative_to(real):
                self.scan.skipped[f"{link.name} (a link to a parent folder)"] += 1
            elif real not in self._visited:
                self._visited.add(real)
                self._walk(link, real)
        elif VIDEO_SUFFIXES & {link.suffix.lower(), Path(real).suffix.lower()}:
            if S_ISREG(status.st_mode):
                self._files.setdefault(real, link)
            else:
                self.scan.problems.append((link, _not_a_file_error(link)))


def canonical_path(path: Path) -> str:
    """Return the path under which an index stores a file: absolute, without `..` and links, in its stored case.

    Raises:
        MediaNotFoundError: the file does not exist.
        UnreadableMediaError: the path is unreadable.
    """
    file_status(path)
    return _stored_case(os.path.realpath(path))


def _stored_case(path: str) -> str:
    """Return a path in the case in which its folders store it. Some file systems find `CAMS/A.MP4` as `cams/a.mp4`."""
    result = Path(path).anchor
    for part in Path(path).parts[1:]:
        result = os.path.join(result, _stored_name(result, part))  # noqa: PTH118
    return result


@lru_cache(maxsize=4096)
def _stored_name(folder: str, name: str) -> str:
    if os.path.lexists(os.path.join(folder, name.swapcase())):  # noqa: PTH118
        with suppress(OSError), os.scandir(folder) as entries:
            names = {entry.name for entry in entries}
            if name not in names:
                return next((other for other in names if other.casefold() == name.casefold()), name)
    return name


def file_status(path: Path) -> os.stat_result:
    """Return the status of a file or folder. Links are followed.

    Raises:
        MediaNotFoundError: the path does not exist.
        UnreadableMediaError: no permission, a link to itself, or a name that is too long.
    """
    try:
        return path.stat()
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise read_error(path, error) from error


def read_error(path: Path, error: Exception) -> VarPluginError:
    """Return the error for a file or folder that the operating system cannot read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if os.path.islink(path):  # noqa: PTH114  (does not raise)
            return MediaNotFoundError(f"{path} is a broken link", fix="mount its target, or remove the link")
        return MediaNotFoundError(f"{path} does not exist", fix="check the spelling of the path")
    fix = "check that it is a file on a working disk"
    if isinstance(error, PermissionError):
        fix = "give the current user permission to read it"
    elif getattr(error, "errno", None) == errno.ELOOP:
        fix = "remove the link, which points to itself"
    elif getattr(error, "errno", None) == errno.ENAMETOOLONG:
        fix = "shorten the name"
    return UnreadableMediaError(f"cannot read {path}", why=os_error_message(error), fix=fix)


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content in hex.

    If the file grows meanwhile, only the bytes of its initial size are hashed.

    Raises:
        MediaNotFoundError: the path does not exist or is not a file.
        EmptyMediaError: the file is empty.
        UnreadableMediaError: the file is unreadable.
    """
    remaining = check_file(path).st_size
    sha256 = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while remaining > 0 and (block := file.read(min(remaining, _BLOCK_BYTES))):
                sha256.update(block)
                remaining -= len(block)
    except OSError as error:
        raise read_error(path, error) from error
    return sha256.hexdigest()


def check_file(path: Path) -> os.stat_result:
    """Return the status of a regular file that is not empty.

    Raises:
        MediaNotFoundError: the path does not exist or is not a file.
        EmptyMediaError: the file is empty.
        UnreadableMediaError: the path is unreadable.
    """
    status = file_status(path)
    if not S_ISREG(status.st_mode):
        raise _not_a_file_error(path)
    if status.st_size == 0:
        raise EmptyMediaError(f"{path} is empty", why="its size is 0 bytes", fix="copy or record it again")
    return status


def _not_a_file_error(path: Path) -> MediaNotFoundError:
    return MediaNotFoundError(
        f"{path} is not a file", why="it is a folder, a pipe or a device", fix="name a video, audio or image file"
    )


def resolve_target(path: Path) -> Path:
    """Return the path to replace in order to write to `path`: the target of a link, otherwise `path` itself.

    Raises:
        OSError: the path exists and is not a regular file, or the user may not follow the link.
    """
    try:
        # `stat` applies the kernel's rule that links of other users in shared folders, such as /tmp, are not followed.
        mode = path.stat().st_mode
        if not S_ISREG(mode):
            kind = "it is a folder" if S_ISDIR(mode) else "it is not a regular file"
            raise OSError(errno.EINVAL, kind, str(path))
    except FileNotFoundError:
        pass
    return path.resolve()


@contextmanager
def atomic_write(target: Path, *, private: bool = False) -> Iterator[Path]:
    """Write atomically: yield a temporary file that replaces `target` on success and is deleted on failure.

    If several processes write the same target, the last one to finish wins. A link is followed unless the file is
    private.

    Args:
        target: the file to write.
        private: whether only the current user can read the file and its folder. Default: according to the umask.

    Raises:
        InvalidInputError: the target cannot be written.
    """
    with convert_write_errors(target):
        file = target if private else resolve_target(target)
        if private:
            make_private_folder(file.parent)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{secrets.token_hex(4)}.{file.name}")
        temporary.touch(mode=0o600 if private else 0o666)
    try:
        yield temporary
        with convert_write_errors(target):
            temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def convert_write_errors(target: Path) -> Iterator[None]:
    """Convert an OSError inside the block to an InvalidInputError about writing `target`."""
    try:
        yield
    except OSError as error:
        raise InvalidInputError(
            f"cannot write {target}", why=os_error_message(error), fix="choose another path"
        ) from error
