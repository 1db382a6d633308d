"""Copies of a local index's collections, for searching: derived from Milvus Lite's files, thrown away without harm.

A copy is used only while the files it was made from are all there is of its collection (`lite_files`): whoever wrote,
in whatever process, and however that ended. It answers without Milvus Lite being opened at all.
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
from var_plugin.index.milvus import snapshot as columns
from var_plugin.index.milvus import snapshot as lite_files
from var_plugin.index.schema import Row
from var_plugin.private_files import create_private_file, exclusive_lock, open_regular_file

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

# A large collection that changed a moment ago will change again: until it rests, Milvus Lite answers.
_REST_SECONDS = 3.0
_SMALL_BYTES = 16 * 1024 * 1024
_DOCUMENTS = frozenset(("metadata", "body"))


@dataclass(frozen=True)
class _Open:
    stamp: Stamp
    fingerprint: str
    copy: Snapshot


class SnapshotCache:
    """The copies of one Milvus Lite database; may be used by several threads and processes.

    Args:
        database: its folder.
    """

    def __init__(self, database: Path) -> None:
        self._collections = database / "collections"
        self._folder = database / "copies"
        self._places: dict[str, Path] = {}
        self._open: dict[str, _Open] = {}
        self._damaged: dict[str, Stamp] = {}
        self._opening = threading.Lock()

    def find(self, collection: str) -> Snapshot | None:
        """Return the copy that holds just what the collection holds now; None where there is none."""
        known = self._open.get(collection)
        stamp = lite_files.stamp(self._place(collection))
        if stamp is not None and stamp == self._damaged.get(collection):
            return None
        if known is not None and stamp == known.stamp:
            return known.copy
        if stamp is None:
            return None
        state = lite_files.state(self._place(collection))
        return self._opened(collection, state) if state else None

    def refresh(self, collection: str, *, force: bool = False) -> None:
        """Make the copy of a collection if there is none of its present state.

        Not where rows wait in Milvus Lite's log, and not while a large one is being written to.

        Args:
            collection: its name.
            force: also if it was written to a moment ago.
        """
        if self.find(collection) is not None:
            return
        state = lite_files.state(self._place(collection))
        if state is None or state.stamp == self._damaged.get(collection) or not (force or _rests(state)):
            return
        with ExitStack() as held:
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                held.enter_context(exclusive_lock(self._folder / "lock"))
            except OSError as error:  # no room, or no right to write: it stays in memory
                logger.info("the copy of %s for searching is not locked: %s", collection, error)
            # Another process may have made it meanwhile.
            if self._opened(collection, state) is None:
                self._make(collection, state)

    def discard(self, collection: str) -> None:
        """Remove the copy of a collection that is no more."""
        self._open.pop(collection, None)
        self._damaged.pop(collection, None)
        with suppress(OSError):  # it is of no use without the collection
            self._file(collection).unlink(missing_ok=True)

    def _make(self, collection: str, state: State) -> None:
        started = time.perf_counter()
        rows = lite_files.live_rows(state)
        if rows is None:
            return
        made = columns.columns_of(rows.drop_columns(["_seq"]).sort_by("video_id")) if rows.num_rows else {}
        try:
            columns.write(self._file(collection), made, state.fingerprint)
        except OSError as error:
            logger.info("the copy of %s for searching stays in memory: %s", collection, error)
            with self._opening:
                self._open[collection] = _Open(state.stamp, state.fingerprint, Snapshot(made, _DOCUMENTS))
            return
        logger.info("copied %d rows of %s in %.2f s", rows.num_rows, collection, time.perf_counter() - started)
        self._opened(collection, state)

    def reject(self, collection: str) -> None:
        """Remove the copy of a collection, which is damaged; answer nothing from one until the collection changes."""
        known = self._open.get(collection)
        if known is not None:
            self.discard(collection)
            self._damaged[collection] = known.stamp

    def _opened(self, collection: str, state: State) -> Snapshot | None:
        with self._opening:
            known = self._open.get(collection)
            if known is None or known.fingerprint != state.fingerprint:
                held = columns.read(self._file(collection), state.fingerprint)
                if held is None:
                    return None
                known = _Open(state.stamp, state.fingerprint, Snapshot(held, _DOCUMENTS))
            # The manifest may be written anew without any change of the rows.
            self._open[collection] = _Open(state.stamp, known.fingerprint, known.copy)
            return known.copy

    def _place(self, collection: str) -> Path:
        # Joining paths would be a good part of a query's own time.
        if collection not in self._places:
            self._places[collection] = self._collections / collection
        return self._places[collection]

    def _file(self, collection: str) -> Path:
        return self._folder / f"{collection}.columns"


def _rests(state: State) -> bool:
    return state.bytes < _SMALL_BYTES or time.time_ns() - state.stamp[1] > _REST_SECONDS * 1e9


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


_MAGIC = b"var-plugin columns 1\n"
_ALIGNED = 64
_DISTINCT = "distinct:"


class TextColumn:
    """A column of texts, as the places of its values among the distinct ones."""

    def __init__(self, places: NDArray[np.int32], distinct: NDArray[np.uint8]) -> None:
        self.places = places
        self._distinct = distinct

    @cached_property
    def distinct(self) -> list[str]:
        """The distinct values."""
        return list(json.loads(self._distinct.tobytes()))


Column = NDArray[Any] | TextColumn


def columns_of(table: pa.Table) -> dict[str, Column]:
    """Return the columns of a table: numbers, texts, and lists of numbers that are all as long."""
    return {name: _column(table[name].combine_chunks()) for name in table.column_names}


def _column(values: pa.Array) -> Column:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(values.type):
        flat = values.flatten().to_numpy(zero_copy_only=False)
        return np.ascontiguousarray(flat.reshape(len(values), values.type.list_size))
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return np.ascontiguousarray(values.to_numpy(zero_copy_only=False))
    encoded = values.dictionary_encode()
    places = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    text = json.dumps(encoded.dictionary.to_pylist(), ensure_ascii=False).encode("utf-8")
    return TextColumn(places, np.frombuffer(text, np.uint8))


def write(path: Path, columns: Mapping[str, Column], fingerprint: str) -> None:
    """Write columns to a file, in place of the one that is there.

    Raises:
        OSError: the disk is full, or may not be written to.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, column in columns.items():
        arrays[name] = column.places if isinstance(column, TextColumn) else column
        if isinstance(column, TextColumn):
            arrays[f"{_DISTINCT}{name}"] = column._distinct
    described, start, checksum = {}, 0, 0
    for name, array in arrays.items():
        described[name] = (array.dtype.str, array.shape, start)
        start += -(-array.nbytes // _ALIGNED) * _ALIGNED
        checksum = zlib.crc32(array.data, checksum)
    header = json.dumps({"fingerprint": fingerprint, "arrays": described, "checksum": checksum}).encode()
    partial = path.with_suffix(".partial")
    try:
        with create_private_file(partial) as file:
            file.write(_MAGIC + b"%08x %08x\n" % (len(header), zlib.crc32(header)) + header)
            first = -(-file.tell() // _ALIGNED) * _ALIGNED
            for name, array in arrays.items():
                file.seek(first + described[name][2])
                file.write(array.data)
            file.truncate(first + start)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read(path: Path, fingerprint: str) -> dict[str, Column] | None:
    """Map the columns of a file into memory; None where it is not there, is damaged, or has another fingerprint."""
    try:
        with open_regular_file(path) as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _mapped(mapped, fingerprint)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None


def _mapped(file: mmap.mmap, fingerprint: str) -> dict[str, Column] | None:
    lengths = len(_MAGIC) + 18
    if file[: len(_MAGIC)] != _MAGIC:
        return None
    length, checksum = (int(word, 16) for word in file[len(_MAGIC) : lengths].split())
    header = file[lengths : lengths + length]
    if zlib.crc32(header) != checksum:
        return None
    held = json.loads(header)
    if held["fingerprint"] != fingerprint:
        return None
    first = -(-(lengths + length) // _ALIGNED) * _ALIGNED
    arrays: dict[str, NDArray[Any]] = {}
    checksum = 0
    for name, (dtype, shape, start) in held["arrays"].items():
        array = np.frombuffer(file, dtype, int(np.prod(shape)), first + start).reshape(shape)
        checksum = zlib.crc32(array.data, checksum)
        arrays[name] = array
    if checksum != held["checksum"]:
        return None
    return {
        name: TextColumn(array, arrays[f"{_DISTINCT}{name}"]) if f"{_DISTINCT}{name}" in arrays else array
        for name, array in arrays.items()
        if not name.startswith(_DISTINCT)
    }


Places = NDArray[np.intp]

# Below this share of the rows it is faster to gather their vectors than to multiply them all.
_GATHERED = 0.3
# From so many rows that stand together on average, each run is multiplied where it stands.
_LONG_RUN = 32
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, listed: value in listed,
    "not in": lambda value, listed: value not in listed,
}


class Snapshot:
    """The rows of one collection, in order of their videos.

    Args:
        columns: by field; with `video_id`, whose rows stand together. None of them where there is no row.
        documents: fields that hold JSON.
    """

    def __init__(self, columns: Mapping[str, Column], documents: frozenset[str]) -> None:
        self._columns, self._documents = columns, documents

    def __len__(self) -> int:
        return len(self._places("video_id")) if self._columns else 0

    def rows(self, conditions: Conditions, fields: Sequence[str]) -> list[Row]:
        """Return the fields of every row that matches."""
        return self._rows(self._matching(conditions), fields)

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
        """Return the best rows with their similarity, best first; exact.

        Args:
            vector: (dim,) the query.
            metric: "IP" or "COSINE".
            limit: so many of all, at least one.
            conditions: all of them must hold.
            fields: of the rows.
            videos: besides those, of each of so many videos with the best rows an equal part of `limit`.
        """
        places = self._matching(conditions)
        if not len(places):
            return []
        scores = self._similarities(vector.astype(np.float32), places, metric)
        best = _best(scores, limit)
        if videos and len(best) < len(scores):
            groups = self._places("video_id")[places]
            best = np.union1d(best, _best_of_each(scores, groups, videos, max(1, limit // videos)))
        best = best[np.argsort(-scores[best], kind="stable")]
        return list(zip(scores[best].tolist(), self._rows(places[best], fields), strict=True))

    def _similarities(self, vector: NDArray[np.float32], places: Places, metric: str) -> NDArray[np.float32]:
        vectors = self._array("vector")
        every = len(places) == len(vectors)
        if every or len(places) > _GATHERED * len(vectors):
            found = vectors @ vector
            found = found if every else found[places]
        else:
            found = _products(vectors, places, vector)
        if metric == "COSINE":
            lengths = np.linalg.norm(vectors[places], axis=1) * np.linalg.norm(vector)
            found = found / np.maximum(lengths, np.finfo(np.float32).tiny)
        return np.asarray(found, np.float32)

    def _matching(self, conditions: Conditions) -> Places:
        return np.flatnonzero(self._mask(conditions))

    def _mask(self, conditions: Conditions) -> NDArray[np.bool_]:
        mask = np.ones(len(self), bool)
        for condition in conditions if self._columns else ():
            if isinstance(condition, AnyOf):
                mask &= np.logical_or.reduce([self._mask(group) for group in condition.groups])
            else:
                mask &= self._test(condition)
        return mask

    def _test(self, condition: Condition) -> NDArray[np.bool_]:
        column, compare = self._columns[condition.field], _COMPARE[condition.operator]
        if not isinstance(column, TextColumn):
            return np.asarray(compare(column, condition.value), bool)
        wanted = frozenset(condition.value) if isinstance(condition.value, tuple) else condition.value
        if condition.key is None:
            held = [bool(compare(text, wanted)) for text in column.distinct]
        else:
            held = [_holds(json.loads(text), condition.key, wanted, compare) for text in column.distinct]
        return np.array(held, bool)[column.places]

    def _rows(self, places: Places, fields: Sequence[str]) -> list[Row]:
        values = [self._values(field, places) for field in fields] if self._columns else []
        return [dict(zip(fields, row, strict=True)) for row in zip(*values, strict=True)]

    def _values(self, field: str, places: Places) -> list[Any]:
        column = self._columns[field]
        if not isinstance(column, TextColumn):
            return list(column[places]) if column.ndim > 1 else list(column[places].tolist())
        texts = [column.distinct[place] for place in column.places[places].tolist()]
        return [json.loads(text) for text in texts] if field in self._documents else texts

    def _places(self, field: str) -> NDArray[np.int32]:
        column = self._columns[field]
        if not isinstance(column, TextColumn):
            raise TypeError(f"'{field}' holds no texts")
        return column.places

    def _array(self, field: str) -> NDArray[Any]:
        column = self._columns[field]
        if isinstance(column, TextColumn):
            raise TypeError(f"'{field}' holds texts")
        return column


def _holds(document: Any, key: str, wanted: Any, compare: Callable[[Any, Any], Any]) -> bool:
    """What is not there, or is of another kind than what is asked for, satisfies nothing."""
    held = document.get(key) if isinstance(document, dict) else None
    comparable = held is not None and isinstance(held, str) == isinstance(wanted, str)
    return comparable and bool(compare(held, wanted))


def _products(vectors: NDArray[np.float32], places: Places, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the inner products of some of the vectors (n, dim) with one."""
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    if len(breaks) * _LONG_RUN > len(places):
        return np.asarray(vectors[places] @ vector)
    # Whole videos stand together: nothing needs to be gathered.
    return np.concatenate([vectors[run[0] : run[-1] + 1] @ vector for run in np.split(places, breaks)])


def _best(scores: NDArray[np.float32], limit: int) -> Places:
    """Return the places of the highest scores, in no order."""
    if limit >= len(scores):
        return np.arange(len(scores))
    return np.argpartition(-scores, limit)[:limit]


def _best_of_each(scores: NDArray[np.float32], groups: NDArray[np.int32], most: int, each: int) -> Places:
    """Return the places of the `each` best in each of the `most` best groups, whose members stand together."""
    starts = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))
    ends = np.append(starts[1:], len(groups))
    chosen = _best(np.maximum.reduceat(scores, starts), most)
    return np.concatenate([starts[group] + _best(scores[starts[group] : ends[group]], each) for group in chosen])
