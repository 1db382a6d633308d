"""The footage of a video that an index holds: opened only where it is still what was indexed."""

from __future__ import annotations

import shlex
from functools import lru_cache
from pathlib import Path

from var_plugin.errors import ChangedMediaError, MediaNotFoundError, VarPluginError
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.media.files import check_file, content_hash


def find_footage(entry: Entry, *, always_hash: bool = False) -> Path:
    """Return a file that holds the footage of a video, the one seen last first.

    A file of the size and the times (mtime and ctime) that it had when it was indexed is taken for the same. Where one
    of them differs, its SHA-256 decides.

    Args:
        entry: the video's row.
        always_hash: compare the SHA-256 in any case.

    Raises:
        ChangedMediaError: a file lies there, but holds other footage by now.
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError: there is none, or it cannot be read.
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
            f"{entry.sightings[-1].path} is gone",
            why="the footage lies nowhere where it was indexed",
            fix=f"index the file where it lies now, or delete the video: var-plugin delete {entry.video_id}",
        )
    raise worst


def check_sighting(entry: Entry, sighting: Sighting, *, always_hash: bool = False) -> None:
    """Raise unless the file of one sighting of a video still holds its footage, as `find_footage` decides that.

    Args:
        entry: the video's row.
        sighting: one of its sightings.
        always_hash: compare the SHA-256 in any case.

    Raises:
        ChangedMediaError: the file holds something else.
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError: there is none, or it cannot be read.
    """
    path = Path(sighting.path)
    if always_hash or not _looks_the_same(path, sighting, entry):
        check_footage(path, entry.content)


def check_footage(path: Path, content: str) -> None:
    """Raise unless a file holds the footage that was indexed.

    Args:
        path: the file.
        content: the SHA-256 of that footage in hex, or how it begins, as the id of a video does.

    Raises:
        ChangedMediaError: the file holds something else.
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError: there is none, or it cannot be read.
    """
    if not _known_hash(path).startswith(content):
        raise ChangedMediaError(
            f"{path} does not hold the footage any more that was indexed",
            why="the file was overwritten",
            fix=f"bring that footage back, or index what is there now: var-plugin index {shlex.quote(str(path))}",
        )


def _looks_the_same(path: Path, sighting: Sighting, entry: Entry) -> bool:
    state = check_file(path)
    modified_ms, changed_ms = state.st_mtime_ns // 1_000_000, state.st_ctime_ns // 1_000_000
    # A copy may keep the size and the mtime of the file that it overwrites (cp -p, rsync -t), but not its ctime.
    if sighting.changed_ms is None:  # indexed by a version that did not note it
        return max(modified_ms, changed_ms) < entry.added_at
    return (state.st_size, modified_ms, changed_ms) == (sighting.size, sighting.modified_ms, sighting.changed_ms)


def _known_hash(path: Path) -> str:
    state = check_file(path)
    return _hash(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@lru_cache(maxsize=1024)
def _hash(path: Path, size: int, modified_ns: int, changed_ns: int) -> str:
    return content_hash(path)
