"""Keep an index within a time limit and a disk quota: delete the oldest videos. Footage files are kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from stat import S_ISREG

from var_plugin.errors import InvalidInputError, MediaNotFoundError, StoreError, VarPluginError, os_error_message
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.index.filters import UNKNOWN_TIME
from var_plugin.index.footage import check_sighting
from var_plugin.index.index import VideoIndex
from var_plugin.index.milvus.options import is_local
from var_plugin.ingest.reindex import reindex
from var_plugin.types import Value, Video

# Milvus stores a vector twice (rows and index). A local index also has a snapshot. Measured on 20,000 rows:
# the other fields of a row, with its kinds of events, take about 700 bytes.
_COPIES = {"local": 3, "server": 2}
_ROW_BYTES = 700
_TARGET_RATIO = 0.8
"""Pruning reduces the index to this share of the quota, so that a slowly growing index is not rewritten each time."""


class Pruned(Value):
    """The deleted videos, and the size of the index in bytes before and after."""

    deleted: tuple[Video, ...]
    bytes_before: int
    bytes_after: int
    not_deleted: tuple[str, ...] = ()
    """One line per recording that was kept because it does not hold the indexed footage any more."""


class IncompletePruneError(StoreError):
    """Only some of the old videos were deleted.

    Args:
        pruned: The result up to the failure.
        cause: The failure.
    """

    def __init__(self, pruned: Pruned, cause: VarPluginError) -> None:
        super().__init__(cause.what, why=cause.why, fix=cause.fix)
        self.pruned = pruned


def prune(
    index: VideoIndex,
    *,
    keep_days: float | None = None,
    max_bytes: float | None = None,
    recordings: Collection[Path] = (),
    now: datetime | None = None,
) -> Pruned:
    """Delete videos that are too old, then the oldest ones until the index fits its quota.

    The age of a video counts from its recording, or from its addition to the index if the clock time is unknown or
    later than the addition. Milvus Lite does not free the disk space of deleted rows, so an index above its quota is
    rewritten. Meanwhile the remaining rows need their disk space twice.

    Args:
        index: The index.
        keep_days: Maximum age in days. None: unlimited.
        max_bytes: Maximum size on disk. On a Milvus server the size is estimated. None: unlimited.
        recordings: Files that belong to the index. They count to its size and are deleted with their videos, or when
            they are too old and belong to no video. A file that was replaced since it was indexed is kept.
        now: Current time. Default: the clock.

    Raises:
        InvalidInputError: A limit is not above zero.
        IncompletePruneError: The store failed after some videos were deleted.
        StoreError: The store failed before.
    """
    if any(limit is not None and not limit > 0 for limit in (keep_days, max_bytes)):
        raise InvalidInputError("a limit of age or size must be above zero", fix="omit the limit to keep everything")
    remaining = sorted((entry for entry in index.all_entries() if entry.state == "committed"), key=_reference_time)
    own = _Recordings(recordings)
    before = size_in_bytes(index) + own.bytes_of(remaining)
    expired: list[Entry] = []
    if keep_days is not None:
        oldest = ((now or datetime.now(UTC)).timestamp() - keep_days * 86_400) * 1000
        own.delete_unindexed(index.all_entries(), oldest)
        expired = [entry for entry in remaining if _reference_time(entry) < oldest]
        remaining = remaining[len(expired) :]
    exceeds_quota = max_bytes is not None and before > max_bytes
    if max_bytes is not None and exceeds_quota:
        sizes = [_estimate(index, [entry]) + own.bytes_of([entry]) for entry in remaining]
        totals = accumulate(reversed(sizes))
        count = len(remaining) - sum(size <= _TARGET_RATIO * max_bytes for size in totals)
        expired, remaining = expired + remaining[:count], remaining[count:]
    deleted: list[Video] = []
    not_deleted: list[str] = []
    try:
        for entry in expired:
            index.delete(entry.video_id)
            deleted.append(entry.video())
            not_deleted += own.delete(entry)
        if exceeds_quota and is_local(index.uri) and not reindex(index, index.suite).ok:
            raise StoreError(
                "the index could not be rewritten", why="some vectors are damaged", fix="var-plugin verify --repair"
            )
    except (VarPluginError, OSError) as error:
        if not deleted:
            raise
        cause = (
            error if isinstance(error, VarPluginError) else StoreError("pruning stopped", why=os_error_message(error))
        )
        recording_bytes = own.bytes_of(expired[len(deleted) :] + remaining)
        pruned = Pruned(
            deleted=tuple(deleted),
            bytes_before=before,
            bytes_after=size_in_bytes(index) + recording_bytes,
            not_deleted=tuple(not_deleted),
        )
        raise IncompletePruneError(pruned, cause) from error
    after = size_in_bytes(index) + own.bytes_of(remaining)
    return Pruned(deleted=tuple(deleted), bytes_before=before, bytes_after=after, not_deleted=tuple(not_deleted))


class _Recordings:
    """Recordings that belong to the index. They count to its size and are deleted with their videos."""

    def __init__(self, files: Collection[Path]) -> None:
        self._files = {str(file.absolute()): file for file in files}

    def bytes_of(self, entries: Sequence[Entry]) -> int:
        return sum(file.stat().st_size for entry in entries for _, file in self._of(entry) if file.is_file())

    def delete(self, entry: Entry) -> list[str]:
        """Delete the recordings of a video. Return a reason for each that now holds other footage."""
        not_deleted = []
        for sighting, file in self._of(entry):
            try:
                check_sighting(entry, sighting)
            except MediaNotFoundError:
                continue
            except VarPluginError as error:
                not_deleted.append(str(error))
                continue
            file.unlink(missing_ok=True)
        return not_deleted

    def delete_unindexed(self, entries: Sequence[Entry], oldest: float) -> None:
        indexed = {sighting.path for entry in entries for sighting in entry.sightings}
        for path, file in self._files.items():
            if path not in indexed and file.is_file() and file.stat().st_mtime * 1000 < oldest:
                file.unlink(missing_ok=True)

    def _of(self, entry: Entry) -> list[tuple[Sighting, Path]]:
        return [(item, self._files[item.path]) for item in entry.sightings if item.path in self._files]


def size_in_bytes(index: VideoIndex) -> int:
    """Return the size of the index on disk. On a server it is estimated from the rows."""
    if is_local(index.uri):
        return sum(_file_size(file) for file in Path(index.uri).rglob("*"))
    return _estimate(index, index.all_entries())


def _file_size(path: Path) -> int:
    """Return the size of a file; 0 for a folder and for a file that was just deleted."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return 0
    return state.st_size if S_ISREG(state.st_mode) else 0


def _estimate(index: VideoIndex, entries: Sequence[Entry]) -> int:
    copies = _COPIES["local" if is_local(index.uri) else "server"]
    row_bytes = {name: copies * 4 * space.dim + _ROW_BYTES for name, space in index.suite.spaces.items()}
    return sum(count * row_bytes[name] for entry in entries for name, count in entry.rows.items())


def _reference_time(entry: Entry) -> int:
    recorded_at = entry.latest_sighting.recorded_at
    # A recording time after the addition comes from a clock that is ahead. Such a video would be kept for years.
    return entry.added_at if recorded_at == UNKNOWN_TIME else min(recorded_at, entry.added_at)
