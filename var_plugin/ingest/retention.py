"""Keeping an index within a time and a room: the oldest footage leaves it first. The footage's files stay."""

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

# Milvus keeps a vector twice (rows and index), a local index also the copy that is searched; the rest of a row measured
# about 520 bytes.
_COPIES = {"local": 3, "server": 2}
_ROW_BYTES = 520
# Down to this share of the quota, so that an index that grows slowly is not rewritten every time.
_SHARE = 0.8


class Pruned(Value):
    """What left the index, and the room it takes."""

    deleted: tuple[Video, ...]
    bytes_before: int
    bytes_after: int
    not_deleted: tuple[str, ...] = ()
    """One line per recording that stays: its file and why. It does not hold the footage that was indexed."""


class IncompletePruneError(StoreError):
    """Only some of the old videos were deleted.

    Args:
        pruned: what was done before the failure.
        cause: the failure.
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

    A video is as old as its recording; where the clock time of that is unknown or in the future of its addition to the
    index, as its addition. Milvus
    Lite frees the room of deleted rows at its own time, so past the quota the index is rewritten without them; that
    needs room for the rest a second time while it lasts.

    Args:
        index: the index.
        keep_days: delete what is older; None keeps all.
        max_bytes: room the index may take on disk; on a server, which tells nobody, an estimate counts. None: any.
        recordings: files that are the index's own: they count as part of it, and are deleted with their videos, or when
            they are too old and no video of the index. A file that was replaced since it was indexed stays.
        now: the time from which age counts; default: the clock.

    Raises:
        InvalidInputError: a limit that is not above zero.
        IncompletePruneError: the store failed after some videos were deleted.
        StoreError: the store failed before.
    """
    if any(limit is not None and not limit > 0 for limit in (keep_days, max_bytes)):
        raise InvalidInputError("a limit must be above zero", fix="leave it out to keep everything")
    left = sorted((entry for entry in index.all_entries() if entry.state == "committed"), key=_born)
    own = _Recordings(recordings)
    before = size_in_bytes(index) + own.bytes_of(left)
    doomed: list[Entry] = []
    if keep_days is not None:
        oldest = ((now or datetime.now(UTC)).timestamp() - keep_days * 86_400) * 1000
        own.delete_strays(index.all_entries(), oldest)
        doomed = [entry for entry in left if _born(entry) < oldest]
        left = left[len(doomed) :]
    outgrown = max_bytes is not None and before > max_bytes
    if max_bytes is not None and outgrown:
        sizes = [_estimate(index, [entry]) + own.bytes_of([entry]) for entry in left]
        kept = accumulate(reversed(sizes))
        gone = len(left) - sum(size <= _SHARE * max_bytes for size in kept)
        doomed, left = doomed + left[:gone], left[gone:]
    deleted: list[Video] = []
    not_deleted: list[str] = []
    try:
        for entry in doomed:
            index.delete(entry.video_id)
            deleted.append(entry.video())
            not_deleted += own.delete(entry)
        if outgrown and is_local(index.uri) and not reindex(index, index.suite).ok:
            raise StoreError(
                "the index could not be rewritten", why="some vectors are damaged", fix="var-plugin verify --repair"
            )
    except (VarPluginError, OSError) as error:
        if not deleted:
            raise
        cause = (
            error if isinstance(error, VarPluginError) else StoreError("pruning stopped", why=os_error_message(error))
        )
        remaining = own.bytes_of(doomed[len(deleted) :] + left)
        done = Pruned(
            deleted=tuple(deleted),
            bytes_before=before,
            bytes_after=size_in_bytes(index) + remaining,
            not_deleted=tuple(not_deleted),
        )
        raise IncompletePruneError(done, cause) from error
    after = size_in_bytes(index) + own.bytes_of(left)
    return Pruned(deleted=tuple(deleted), bytes_before=before, bytes_after=after, not_deleted=tuple(not_deleted))


class _Recordings:
    """Footage that belongs to the index: it takes room, and goes with its videos."""

    def __init__(self, files: Collection[Path]) -> None:
        self._files = {str(file.absolute()): file for file in files}

    def bytes_of(self, entries: Sequence[Entry]) -> int:
        return sum(file.stat().st_size for entry in entries for _, file in self._of(entry) if file.is_file())

    def delete(self, entry: Entry) -> list[str]:
        """Delete the recordings that hold the footage of a video; return a line for each that holds something else."""
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

    def delete_strays(self, entries: Sequence[Entry], oldest: float) -> None:
        held = {seen.path for entry in entries for seen in entry.sightings}
        for path, file in self._files.items():
            if path not in held and file.is_file() and file.stat().st_mtime * 1000 < oldest:
                file.unlink(missing_ok=True)

    def _of(self, entry: Entry) -> list[tuple[Sighting, Path]]:
        return [(seen, self._files[seen.path]) for seen in entry.sightings if seen.path in self._files]


def size_in_bytes(index: VideoIndex) -> int:
    """Return what the index takes on disk; on a server, an estimate from its rows."""
    if is_local(index.uri):
        return sum(_file_size(file) for file in Path(index.uri).rglob("*"))
    return _estimate(index, index.all_entries())


def _file_size(path: Path) -> int:
    """Return the bytes of a file; 0 for a folder, and for a file that is deleted meanwhile."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return 0
    return state.st_size if S_ISREG(state.st_mode) else 0


def _estimate(index: VideoIndex, entries: Sequence[Entry]) -> int:
    copies = _COPIES["local" if is_local(index.uri) else "server"]
    row_bytes = {name: copies * 4 * space.dim + _ROW_BYTES for name, space in index.suite.spaces.items()}
    return sum(count * row_bytes[name] for entry in entries for name, count in entry.rows.items())


def _born(entry: Entry) -> int:
    recorded_at = entry.sightings[-1].recorded_at
    # A video recorded after it was added comes from a clock that is ahead; it would stay for years.
    return entry.added_at if recorded_at == UNKNOWN_TIME else min(recorded_at, entry.added_at)
