"""Locate the footage of an indexed video and check that it has not changed since."""

from __future__ import annotations

import shlex
from functools import lru_cache
from pathlib import Path

from var_plugin.errors import ChangedMediaError, MediaNotFoundError, VarPluginError
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.media.files import check_file, content_hash


def find_footage(entry: Entry, *, always_hash: bool = False) -> Path:
    """Return a file with the unchanged footage of a video. The latest sighting is tried first.

    A file with the same size, mtime and ctime as when it was indexed counts as unchanged. Otherwise its SHA-256 is
    compared.

    Args:
        entry: catalog row of the video.
        always_hash: compare the SHA-256 even if size and times are unchanged.

    Raises:
        ChangedMediaError: a file exists but has other content.
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError: no file exists, or it cannot be read.
    """
    problems: list[VarPluginError] = []
    for sighting in reversed(entry.sightings):
        try:
            check_sighting(entry, sighting, always_hash=always_hash)
        except VarPluginError as error:
            problems.append(error)
        else:
            return Path(sighting.path)
    worst = min(problems, key=lambda problem: not isinstance(problem, ChangedMediaError))
    if isinstance(worst, MediaNotFoundError):
        worst = MediaNotFoundError(
            f"{entry.latest_sighting.path} is gone",
            why="the footage was moved or deleted",
            fix=f"index the file at its new path, or delete the video: var-plugin delete {entry.video_id}",
        )
    raise worst


def check_sighting(entry: Entry, sighting: Sighting, *, always_hash: bool = False) -> None:
    """Check that the file of one sighting is unchanged, by the rules of `find_footage`.

    Args:
        entry: catalog row of the video.
        sighting: one of its sightings.
        always_hash: compare the SHA-256 even if size and times are unchanged.

    Raises:
        ChangedMediaError: the file has other content.
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError: the file does not exist, or cannot be read.
    """
    path = Path(sighting.path)
    if always_hash or not _is_unchanged(path, sighting, entry):
        check_footage(path, entry.content)


def check_footage(path: Path, content: str) -> None:
    """Check that a file has the content that was indexed.

    Args:
        path: the file.
        content: SHA-256 of the content in hex, or a prefix of it, such as the id of a video.

    Raises:
        ChangedMediaError: the file has other content.
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError: the file does not exist, or cannot be read.
    """
    if not _cached_hash(path).startswith(content):
        raise ChangedMediaError(
            f"{path} has changed since it was indexed",
            why="the file was overwritten",
            fix=f"restore the file, or index the new content: var-plugin index {shlex.quote(str(path))}",
        )


def _is_unchanged(path: Path, sighting: Sighting, entry: Entry) -> bool:
    state = check_file(path)
    modified_ms, changed_ms = state.st_mtime_ns // 1_000_000, state.st_ctime_ns // 1_000_000
    # cp -p and rsync -t can preserve the size and the mtime of the file that they overwrite, but not its ctime.
    if sighting.changed_ms is None:  # the times were not recorded
        return max(modified_ms, changed_ms) < entry.added_at
    return (state.st_size, modified_ms, changed_ms) == (sighting.size, sighting.modified_ms, sighting.changed_ms)


def _cached_hash(path: Path) -> str:
    state = check_file(path)
    return _hash(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@lru_cache(maxsize=1024)
def _hash(path: Path, size: int, modified_ns: int, changed_ns: int) -> str:
    return content_hash(path)
