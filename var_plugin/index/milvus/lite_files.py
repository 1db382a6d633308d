"""Read the files of a collection of Milvus Lite without opening it."""

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

MANIFEST_FORMAT = 2
"""The supported manifest format: that of Milvus Lite 3.2."""

ManifestStamp = tuple[int, int, int]
"""Identifies a version of a manifest: inode, modification time in ns, size in bytes."""


@dataclass(frozen=True)
class CollectionState:
    """The files of a collection at one moment."""

    fingerprint: str
    """SHA-256 over names, sizes and modification times of the files."""
    data: tuple[Path, ...]
    """Parquet files of inserted rows."""
    delta: tuple[Path, ...]
    """Parquet files of deletions."""
    stamp: ManifestStamp
    bytes: int
    """Total size of the files."""


def manifest_stamp(collection: Path) -> ManifestStamp | None:
    """Return the stamp of a collection's manifest, or None if it is missing or rows wait in the log."""
    log, manifest = _log_and_manifest(collection)
    # The log is read first: rows that were acknowledged before are then in the manifest.
    try:
        if any(file.name.startswith("wal_") for file in log.iterdir()):
            return None
        status = manifest.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


@lru_cache(256)
def _log_and_manifest(collection: Path) -> tuple[Path, Path]:
    return collection / "wal", collection / "manifest.json"


def collection_state(collection: Path) -> CollectionState | None:
    """Return the state of a collection, or None if its files are incomplete or of an unknown format."""
    stamp = manifest_stamp(collection)
    if stamp is None:
        return None
    try:
        with open_regular_file(collection / "manifest.json") as file:
            manifest = json.loads(file.read())
        if manifest["manifest_format_version"] != MANIFEST_FORMAT or not manifest["index_specs"]:
            return None  # written by another version of Milvus Lite, or being created
        data, delta = (
            tuple(
                collection / "partitions" / name / file
                for name, partition in sorted(manifest["partitions"].items())
                for file in partition[kind]
            )
            for kind in ("data_files", "delta_files")
        )
        paths = [collection / "schema.json", *data, *delta]
        files = [(str(file.relative_to(collection)), file.stat()) for file in paths]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # being changed, or damaged: Milvus Lite decides which
    descriptions = [(name, status.st_size, status.st_mtime_ns) for name, status in files]
    fingerprint = hashlib.sha256(json.dumps([collection.name, descriptions]).encode()).hexdigest()
    return CollectionState(fingerprint, data, delta, stamp, sum(size for _, size, _ in descriptions))


def live_rows(collection: CollectionState, key: str = "id") -> pa.Table | None:
    """Return the latest row of each key that was not deleted afterwards.

    Returns None if a file cannot be read: it was merged with others meanwhile, or it is damaged.
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
    return rows.filter(_is_live(rows, pa.concat_tables(deletions) if deletions else None, key))


def _is_live(rows: pa.Table, deletions: pa.Table | None, key: str) -> pa.BooleanArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    def last_sequence(table: pa.Table) -> pa.ChunkedArray:
        """Return, for each row, the last sequence number of its key in a table; -1 if the key does not occur."""
        latest = table.group_by(key).aggregate([("_seq", "max")])
        positions = pc.index_in(rows[key], value_set=latest[key].combine_chunks())
        numbers = latest["_seq_max"].cast(pa.int64()).combine_chunks()
        return pc.fill_null(pc.take(numbers, positions), -1)

    sequence = rows["_seq"].cast(pa.int64())
    is_live = pc.equal(sequence, last_sequence(rows))
    if deletions is not None:
        is_live = pc.and_(is_live, pc.greater_equal(sequence, last_sequence(deletions)))
    return is_live
