"""Snapshots: memory-mapped, exact copies of a local index's collections that answer searches.

A snapshot is derived from the files of Milvus Lite and can be deleted without harm. It is used only while its
fingerprint matches the files of its collection, regardless of which process wrote last or how it exited. Searching a
snapshot does not open Milvus Lite.

File format: a magic line, a line with length and CRC-32 of the header, a JSON header (fingerprint, and dtype, shape
and offset of each array), then the arrays, aligned to 64 bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import operator
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.index.filters import AnyOf, Condition, Conditions
from var_plugin.index.schema import Row
from var_plugin.private_files import create_private_file, exclusive_lock, open_regular_file

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

SNAPSHOT_FOLDER = "snapshots"
"""Folder of the snapshots inside the database folder."""

MANIFEST_FORMAT = 2
"""The supported manifest format: that of Milvus Lite 3.2."""

# A large collection that was written to recently is answered by Milvus Lite: it will probably change again.
_MIN_IDLE_SECONDS = 3.0
_MIN_LARGE_BYTES = 16 * 1024 * 1024
# Attempts to read the files of a collection that Milvus Lite is merging.
_MAX_ATTEMPTS = 10
_JSON_FIELDS = frozenset(("metadata", "body", "events", "trained"))

ManifestStamp = tuple[int, int, int]
"""Identifies a version of a manifest: inode, modification time in ns, size in bytes."""
RowIndices = NDArray[np.intp]


class TextColumn:
    """A dictionary-encoded column of texts.

    Args:
        codes: (n,) index of each row's text among the distinct texts.
        encoded: the distinct texts as a JSON list in UTF-8.
    """

    def __init__(self, codes: NDArray[np.int32], encoded: NDArray[np.uint8]) -> None:
        self.codes = codes
        self.encoded = encoded

    @cached_property
    def distinct(self) -> list[str]:
        """The distinct texts."""
        return list(json.loads(self.encoded.tobytes()))

    @cached_property
    def documents(self) -> list[Any]:
        """The distinct texts of a JSON field, parsed."""
        return [json.loads(text) for text in self.distinct]


Column = NDArray[Any] | TextColumn


@dataclass(frozen=True)
class _OpenSnapshot:
    stamp: ManifestStamp
    fingerprint: str
    snapshot: Snapshot


class SnapshotCache:
    """The snapshots of one Milvus Lite database. Safe for several threads and processes.

    Args:
        database: folder of the database.
    """

    def __init__(self, database: Path) -> None:
        self._collections = database / "collections"
        self._folder = database / SNAPSHOT_FOLDER
        self._paths: dict[str, Path] = {}
        self._open: dict[str, _OpenSnapshot] = {}
        self._rejected: dict[str, ManifestStamp] = {}
        self._opening = threading.Lock()

    def find(self, collection: str) -> Snapshot | None:
        """Return the snapshot of a collection if it is current, else None."""
        opened = self._open.get(collection)
        stamp = manifest_stamp(self._collection_path(collection))
        if stamp is not None and stamp == self._rejected.get(collection):
            return None
        if opened is not None and stamp == opened.stamp:
            return opened.snapshot
        if stamp is None:
            return None
        state = collection_state(self._collection_path(collection))
        return self._open_current(collection, state) if state else None

    def refresh(self, collection: str, *, force: bool = False) -> None:
        """Create the snapshot of a collection if it is missing or outdated.

        Does nothing while rows wait in the log of Milvus Lite, or while a large collection is being written to.

        Args:
            collection: name of the collection.
            force: create it even if the collection was written to recently.
        """
        if self.find(collection) is None:
            self._create_current(collection, force=force)

    def pin(self, collection: str) -> Snapshot | None:
        """Return a snapshot of the rows as they are now, and create it if necessary.

        It stays valid when the collection is written to, or when Milvus Lite merges its files. Returns None while rows
        wait in the log of Milvus Lite.
        """
        for _ in range(_MAX_ATTEMPTS):
            stamp = manifest_stamp(self._collection_path(collection))
            snapshot = self.find(collection)
            if snapshot is None:
                snapshot = self._create_current(collection, force=True)
            if snapshot is not None or stamp == manifest_stamp(self._collection_path(collection)):
                return snapshot
            # The files were merged while they were read.
        return None

    def _create_current(self, collection: str, *, force: bool) -> Snapshot | None:
        """Create and return the snapshot of the current state of a collection, or None if that is not possible."""
        state = collection_state(self._collection_path(collection))
        if state is None or state.stamp == self._rejected.get(collection) or not (force or _is_idle(state)):
            return None
        with ExitStack() as stack:
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                stack.enter_context(exclusive_lock(self._folder / "lock"))
            except OSError as error:  # disk full or read-only: the snapshot stays in memory
                logger.info("the snapshot of %s is created without a lock: %s", collection, error)
            # Another process may have created it while this one waited for the lock.
            snapshot = self._open_current(collection, state)
            return self._create(collection, state) if snapshot is None else snapshot

    def discard(self, collection: str) -> None:
        """Delete the snapshot of a dropped collection."""
        self._open.pop(collection, None)
        self._rejected.pop(collection, None)
        with suppress(OSError):  # a file that stays is ignored: its collection does not exist
            self._file(collection).unlink(missing_ok=True)

    def reject(self, collection: str) -> None:
        """Delete a damaged snapshot and use none for this collection until the collection changes."""
        opened = self._open.get(collection)
        if opened is not None:
            self.discard(collection)
            self._rejected[collection] = opened.stamp

    def _create(self, collection: str, state: CollectionState) -> Snapshot | None:
        started = time.perf_counter()
        rows = live_rows(state)
        if rows is None:
            return None
        columns = table_columns(rows.drop_columns(["_seq"]).sort_by("video_id")) if rows.num_rows else {}
        try:
            write_snapshot(self._file(collection), columns, state.fingerprint)
        except OSError as error:
            logger.info("the snapshot of %s stays in memory: %s", collection, error)
            with self._opening:
                snapshot = Snapshot(columns, _JSON_FIELDS)
                self._open[collection] = _OpenSnapshot(state.stamp, state.fingerprint, snapshot)
            return snapshot
        seconds = time.perf_counter() - started
        logger.info("created a snapshot of %d rows of %s in %.2f s", rows.num_rows, collection, seconds)
        return self._open_current(collection, state)

    def _open_current(self, collection: str, state: CollectionState) -> Snapshot | None:
        with self._opening:
            opened = self._open.get(collection)
            if opened is None or opened.fingerprint != state.fingerprint:
                columns = read_snapshot(self._file(collection), state.fingerprint)
                if columns is None:
                    return None
                opened = _OpenSnapshot(state.stamp, state.fingerprint, Snapshot(columns, _JSON_FIELDS))
            # A manifest can be rewritten without a change of rows.
            self._open[collection] = _OpenSnapshot(state.stamp, opened.fingerprint, opened.snapshot)
            return opened.snapshot

    def _collection_path(self, collection: str) -> Path:
        # Cached: joining paths takes a noticeable part of a query.
        if collection not in self._paths:
            self._paths[collection] = self._collections / collection
        return self._paths[collection]

    def _file(self, collection: str) -> Path:
        return self._folder / f"{collection}.snapshot"


class Snapshot:
    """The rows of one collection, sorted by video.

    Args:
        columns: columns by field name, with `video_id`; rows of one video are adjacent. Empty if there are no rows.
        json_fields: fields that hold JSON.
    """

    def __init__(self, columns: Mapping[str, Column], json_fields: frozenset[str]) -> None:
        self._columns, self._json_fields = columns, json_fields

    def __len__(self) -> int:
        return len(self._codes("video_id")) if self._columns else 0

    def rows(self, conditions: Conditions, fields: Sequence[str]) -> list[Row]:
        """Return the fields of every matching row."""
        return self._rows(self._matching(conditions), fields)

    def top(self, field: str, *, limit: int, conditions: Conditions, fields: Sequence[str]) -> list[Row]:
        """Return the matching rows with the highest values of a field of numbers, highest first."""
        candidates = self._matching(conditions)
        if not len(candidates):
            return []
        values = self._array(field)[candidates]
        best = _top(values, limit)
        best = best[np.argsort(-values[best], kind="stable")]
        return self._rows(candidates[best], fields)

    def search(
        self,
        vector: NDArray[np.float32],
        *,
        metric: str,
        limit: int,
        conditions: Conditions,
        fields: Sequence[str],
        videos: int = 0,
    ) -> list[tuple[float, Row]]:
        """Return the most similar rows with their similarity, best first. The search is exact.

        Args:
            vector: (dim,) query vector.
            metric: "IP" or "COSINE".
            limit: maximum number of rows over all videos, at least 1.
            conditions: conditions that every row must satisfy.
            fields: fields to return.
            videos: also return `limit // videos` rows from each of the `videos` best videos; 0 adds none.
        """
        candidates = self._matching(conditions)
        if not len(candidates):
            return []
        scores = self._similarities(vector.astype(np.float32), candidates, metric)
        best = _top(scores, limit)
        if videos and len(best) < len(scores):
            groups = self._codes("video_id")[candidates]
            best = np.union1d(best, _top_per_group(scores, groups, videos, max(1, limit // videos)))
        best = best[np.argsort(-scores[best], kind="stable")]
        return list(zip(scores[best].tolist(), self._rows(candidates[best], fields), strict=True))

    def _similarities(self, vector: NDArray[np.float32], indices: RowIndices, metric: str) -> NDArray[np.float32]:
        vectors = self._array("vector")
        is_all = len(indices) == len(vectors)
        if is_all or len(indices) > _MAX_GATHERED_SHARE * len(vectors):
            similarities = vectors @ vector
            similarities = similarities if is_all else similarities[indices]
        else:
            similarities = _inner_products(vectors, indices, vector)
        if metric == "COSINE":
            norms = np.linalg.norm(vectors[indices], axis=1) * np.linalg.norm(vector)
            similarities = similarities / np.maximum(norms, np.finfo(np.float32).tiny)
        return np.asarray(similarities, np.float32)

    def _matching(self, conditions: Conditions) -> RowIndices:
        return np.flatnonzero(self._mask(conditions))

    def _mask(self, conditions: Conditions) -> NDArray[np.bool_]:
        mask = np.ones(len(self), bool)
        for condition in conditions if self._columns else ():
            if isinstance(condition, AnyOf):
                mask &= np.logical_or.reduce([self._mask(group) for group in condition.groups])
            else:
                mask &= self._evaluate(condition)
        return mask

    def _evaluate(self, condition: Condition) -> NDArray[np.bool_]:
        column, compare = self._columns[condition.field], _COMPARISONS[condition.operator]
        if not isinstance(column, TextColumn):
            return np.asarray(compare(column, condition.value), bool)
        value = frozenset(condition.value) if isinstance(condition.value, tuple) else condition.value
        if condition.key is None:
            matches = [bool(compare(text, value)) for text in column.distinct]
        else:
            matches = [_json_matches(document, condition.key, value, compare) for document in column.documents]
        return np.array(matches, bool)[column.codes]

    def _rows(self, indices: RowIndices, fields: Sequence[str]) -> list[Row]:
        values = [self._values(field, indices) for field in fields] if self._columns else []
        return [dict(zip(fields, row, strict=True)) for row in zip(*values, strict=True)]

    def _values(self, field: str, indices: RowIndices) -> list[Any]:
        column = self._columns[field]
        if not isinstance(column, TextColumn):
            return list(column[indices]) if column.ndim > 1 else list(column[indices].tolist())
        texts = [column.distinct[code] for code in column.codes[indices].tolist()]
        return [json.loads(text) for text in texts] if field in self._json_fields else texts

    def _codes(self, field: str) -> NDArray[np.int32]:
        column = self._columns[field]
        if not isinstance(column, TextColumn):
            raise TypeError(f"'{field}' is not a column of texts")
        return column.codes

    def _array(self, field: str) -> NDArray[Any]:
        column = self._columns[field]
        if isinstance(column, TextColumn):
            raise TypeError(f"'{field}' is a column of texts")
        return column


# Below this share of the rows, gathering their vectors is faster than multiplying all vectors.
_MAX_GATHERED_SHARE = 0.3
# From this average run length on, each run of adjacent rows is multiplied in place.
_MIN_RUN_LENGTH = 32
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, values: value in values,
    "not in": lambda value, values: value not in values,
}


def _json_matches(document: Any, key: str, value: Any, compare: Callable[[Any, Any], Any]) -> bool:
    """Compare the value under a key of a JSON object. A missing key or another type never matches."""
    stored = document.get(key) if isinstance(document, dict) else None
    is_comparable = stored is not None and isinstance(stored, str) == isinstance(value, str)
    return is_comparable and bool(compare(stored, value))


def _inner_products(
    vectors: NDArray[np.float32], indices: RowIndices, vector: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the inner products of the vectors (n, dim) at ascending indices with one vector (dim,)."""
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    if len(breaks) * _MIN_RUN_LENGTH > len(indices):
        return np.asarray(vectors[indices] @ vector)
    # Whole videos are adjacent, so no copy is needed.
    return np.concatenate([vectors[run[0] : run[-1] + 1] @ vector for run in np.split(indices, breaks)])


def _top(scores: NDArray[np.float32], limit: int) -> RowIndices:
    """Return the indices of the highest scores, unordered."""
    if limit >= len(scores):
        return np.arange(len(scores))
    return np.argpartition(-scores, limit)[:limit]


def _top_per_group(
    scores: NDArray[np.float32], groups: NDArray[np.int32], max_groups: int, per_group: int
) -> RowIndices:
    """Return the indices of the best `per_group` scores of each of the best groups. Members are adjacent."""
    starts = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))
    ends = np.append(starts[1:], len(groups))
    chosen = _top(np.maximum.reduceat(scores, starts), max_groups)
    return np.concatenate([starts[group] + _top(scores[starts[group] : ends[group]], per_group) for group in chosen])


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


def _is_idle(state: CollectionState) -> bool:
    return state.bytes < _MIN_LARGE_BYTES or time.time_ns() - state.stamp[1] > _MIN_IDLE_SECONDS * 1e9


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


def table_columns(table: pa.Table) -> dict[str, Column]:
    """Return the columns of a table of numbers, texts and fixed-size lists of numbers."""
    return {name: _column(table[name].combine_chunks()) for name in table.column_names}


def _column(values: pa.Array) -> Column:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(values.type):
        flat = values.flatten().to_numpy(zero_copy_only=False)
        return np.ascontiguousarray(flat.reshape(len(values), values.type.list_size))
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return np.ascontiguousarray(values.to_numpy(zero_copy_only=False))
    encoded = values.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    text = json.dumps(encoded.dictionary.to_pylist(), ensure_ascii=False).encode("utf-8")
    return TextColumn(codes, np.frombuffer(text, np.uint8))


_MAGIC = b"var-plugin snapshot 1\n"
_ALIGNMENT = 64
_DISTINCT = "distinct:"


def write_snapshot(path: Path, columns: Mapping[str, Column], fingerprint: str) -> None:
    """Write columns to a file atomically.

    Raises:
        OSError: the disk is full or read-only.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, column in columns.items():
        arrays[name] = column.codes if isinstance(column, TextColumn) else column
        if isinstance(column, TextColumn):
            arrays[f"{_DISTINCT}{name}"] = column.encoded
    descriptions, offset, checksum = {}, 0, 0
    for name, array in arrays.items():
        descriptions[name] = (array.dtype.str, array.shape, offset)
        offset += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        checksum = zlib.crc32(array.data, checksum)
    header = json.dumps({"fingerprint": fingerprint, "arrays": descriptions, "checksum": checksum}).encode()
    partial = path.with_suffix(".partial")
    try:
        with create_private_file(partial) as file:
            file.write(_MAGIC + b"%08x %08x\n" % (len(header), zlib.crc32(header)) + header)
            first = -(-file.tell() // _ALIGNMENT) * _ALIGNMENT
            for name, array in arrays.items():
                file.seek(first + descriptions[name][2])
                file.write(array.data)
            file.truncate(first + offset)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read_snapshot(path: Path, fingerprint: str) -> dict[str, Column] | None:
    """Memory-map the columns of a file. Return None if it is missing, damaged, or has another fingerprint."""
    try:
        with open_regular_file(path) as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _parse_snapshot(content, fingerprint)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None


def _parse_snapshot(content: mmap.mmap, fingerprint: str) -> dict[str, Column] | None:
    header_start = len(_MAGIC) + 18
    if content[: len(_MAGIC)] != _MAGIC:
        return None
    length, checksum = (int(word, 16) for word in content[len(_MAGIC) : header_start].split())
    encoded = content[header_start : header_start + length]
    if zlib.crc32(encoded) != checksum:
        return None
    header = json.loads(encoded)
    if header["fingerprint"] != fingerprint:
        return None
    first = -(-(header_start + length) // _ALIGNMENT) * _ALIGNMENT
    arrays: dict[str, NDArray[Any]] = {}
    checksum = 0
    for name, (dtype, shape, offset) in header["arrays"].items():
        array = np.frombuffer(content, dtype, int(np.prod(shape)), first + offset).reshape(shape)
        checksum = zlib.crc32(array.data, checksum)
        arrays[name] = array
    if checksum != header["checksum"]:
        return None
    return {
        name: TextColumn(array, arrays[f"{_DISTINCT}{name}"]) if f"{_DISTINCT}{name}" in arrays else array
        for name, array in arrays.items()
        if not name.startswith(_DISTINCT)
    }
