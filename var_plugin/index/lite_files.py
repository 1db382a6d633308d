"""What Milvus Lite keeps of a collection on disk, read without opening it.

A collection is a manifest, replaced as one, that names files which never change: rows (`data`) and keys that were
deleted (`delta`), each with the number of its write. What was written since the last flush lies in a log, which is
there before a write is acknowledged and gone after its flush. So without a log the named files are all of the
collection, and names, sizes and times of change tell one state of it from any other.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from var_plugin.private_files import open_regular_file

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 2
"""The form of the manifest that is understood here: that of Milvus Lite 3.2."""

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class State:
    """All of a collection that is on disk, at one moment."""

    fingerprint: str
    data: tuple[Path, ...]
    delta: tuple[Path, ...]
    stamp: Stamp
    """Tells one manifest from another: inode, time of change in ns, size."""
    bytes: int
    """What the files take."""


def stamp(collection: Path) -> Stamp | None:
    """Return the stamp of the manifest; None where there is none, or where something waits in the log."""
    log, manifest = _watched(collection)
    # The log first: what was acknowledged before is in the manifest that is read after it.
    try:
        if any(file.name.startswith("wal_") for file in log.iterdir()):
            return None
        found = manifest.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(256)
def _watched(collection: Path) -> tuple[Path, Path]:
    return collection / "wal", collection / "manifest.json"


def state(collection: Path) -> State | None:
    """Return what is on disk; None where that is not all of the collection, or is of an unknown form."""
    seen = stamp(collection)
    if seen is None:
        return None
    try:
        with open_regular_file(collection / "manifest.json") as file:
            manifest = json.loads(file.read())
        if manifest["manifest_format_version"] != FORMAT or not manifest["index_specs"]:
            return None  # written by another version, or in the midst of being made
        data, delta = (
            tuple(
                collection / "partitions" / name / file
                for name, partition in sorted(manifest["partitions"].items())
                for file in partition[kind]
            )
            for kind in ("data_files", "delta_files")
        )
        known = [collection / "schema.json", *data, *delta]
        files = [(str(file.relative_to(collection)), file.stat()) for file in known]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # in the midst of a change, or damaged: Milvus Lite has the word
    described = [(name, found.st_size, found.st_mtime_ns) for name, found in files]
    fingerprint = hashlib.sha256(json.dumps([collection.name, described]).encode()).hexdigest()
    return State(fingerprint, data, delta, seen, sum(size for _, size, _ in described))


def live_rows(collection: State, key: str = "id") -> pa.Table | None:
    """Return the rows that count: of each key the one written last, unless it was deleted after that.

    None where a file cannot be read: it was merged with others meanwhile, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        tables = [pq.read_table(file) for file in collection.data]
        deletions = [pq.read_table(file, columns=[key, "_seq"]) for file in collection.delta]
    except (OSError, pa.ArrowException, KeyError):
        return None
    if not tables:
        return pa.table({})
    rows = pa.concat_tables(tables).combine_chunks()
    return rows.filter(_counts(rows, pa.concat_tables(deletions) if deletions else None, key))


def _counts(rows: pa.Table, deletions: pa.Table | None, key: str) -> pa.BooleanArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    def latest(table: pa.Table) -> pa.Table:
        return table.group_by(key).aggregate([("_seq", "max")])

    def written_last(table: pa.Table) -> pa.ChunkedArray:
        """Of each row, the number of the last write of its key in a table; -1 where there was none."""
        found = latest(table)
        places = pc.index_in(rows[key], value_set=found[key].combine_chunks())
        numbers = found["_seq_max"].cast(pa.int64()).combine_chunks()
        return pc.fill_null(pc.take(numbers, places), -1)

    numbers = rows["_seq"].cast(pa.int64())
    counts = pc.equal(numbers, written_last(rows))
    if deletions is not None:
        counts = pc.and_(counts, pc.greater_equal(numbers, written_last(deletions)))
    return counts
