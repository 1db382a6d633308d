"""Snapshots: memory-mapped, exact copies of the rows of a local collection that answer searches.

A snapshot is an Arrow IPC file with dictionary-encoded texts. The metadata of its schema holds the fingerprint of the
collection and a CRC-32 of the columns.
"""

from __future__ import annotations

import json
import mmap
import operator
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.index.filters import AnyOf, Condition, Conditions
from var_plugin.index.schema import Row
from var_plugin.private_files import create_private_file, open_regular_file

if TYPE_CHECKING:
    import pyarrow as pa

_FINGERPRINT, _CHECKSUM = b"fingerprint", b"checksum"

RowIndices = NDArray[np.intp]


class TextColumn:
    """A dictionary-encoded column of texts.

    Args:
        codes: (n,) index of each row's text among the distinct texts.
        texts: the distinct texts.
    """

    def __init__(self, codes: NDArray[np.int32], texts: pa.StringArray) -> None:
        self.codes = codes
        self.texts = texts

    @cached_property
    def distinct(self) -> list[str]:
        """The distinct texts."""
        return list(self.texts.to_pylist())

    @cached_property
    def documents(self) -> list[Any]:
        """The distinct texts of a JSON field, parsed."""
        return [json.loads(text) for text in self.distinct]


Column = NDArray[Any] | TextColumn


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


def encode_texts(table: pa.Table) -> pa.Table:
    """Dictionary-encode the texts of a table of numbers, texts and fixed-size lists of numbers. Join its chunks."""
    import pyarrow as pa

    def encoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
        return column.dictionary_encode() if pa.types.is_string(column.type) else column

    return pa.table({name: encoded(table[name]) for name in table.column_names}).combine_chunks()


def table_columns(table: pa.Table) -> dict[str, Column]:
    """Return the columns of a table of `encode_texts` without copying them.

    Raises:
        TypeError: a value is missing, or a column has an unknown type.
    """
    return {name: _column(table[name].chunk(0)) for name in table.column_names} if table.num_rows else {}


def _column(values: pa.Array) -> Column:
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        return TextColumn(_numbers(values.indices).astype(np.int32, copy=False), values.dictionary)
    if pa.types.is_fixed_size_list(values.type):
        size = values.type.list_size
        # `Array.flatten` would import pyarrow.compute.
        return _numbers(values.values.slice(values.offset * size, len(values) * size)).reshape(len(values), size)
    return _numbers(values)


def _numbers(values: pa.Array) -> NDArray[Any]:
    if values.null_count:
        raise TypeError("a value is missing")
    return np.from_dlpack(values)  # `Array.to_numpy` would import pandas


def write_snapshot(path: Path, table: pa.Table, fingerprint: str) -> None:
    """Write a table of `encode_texts` to a file atomically.

    Raises:
        OSError: the disk is full or read-only.
    """
    import pyarrow as pa

    table = table.replace_schema_metadata({_FINGERPRINT: fingerprint, _CHECKSUM: _checksum(table_columns(table))})
    partial = path.with_suffix(".partial")
    try:
        with create_private_file(partial) as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read_snapshot(path: Path, fingerprint: str) -> dict[str, Column] | None:
    """Memory-map the columns of a file. Return None if it is missing, damaged, or has another fingerprint."""
    import pyarrow as pa

    try:
        with open_regular_file(path) as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        table = pa.ipc.open_file(pa.py_buffer(content)).read_all()
        metadata = table.schema.metadata or {}
        if metadata.get(_FINGERPRINT) != fingerprint.encode():
            return None
        table.validate(full=True)
        columns = table_columns(table)
        return columns if metadata.get(_CHECKSUM) == _checksum(columns) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, pa.ArrowException):
        return None


def _checksum(columns: Mapping[str, Column]) -> bytes:
    """Return the CRC-32 of the names, types and values of columns as a hexadecimal number."""
    checksum = 0
    for name, column in columns.items():
        arrays = list(_text_arrays(column)) if isinstance(column, TextColumn) else [column]
        checksum = zlib.crc32(repr((name, [(array.dtype.str, array.shape) for array in arrays])).encode(), checksum)
        for array in arrays:
            checksum = zlib.crc32(array.data, checksum)
    return b"%08x" % checksum


def _text_arrays(column: TextColumn) -> Iterator[NDArray[Any]]:
    """Yield the codes, the offsets (n + 1,) of the distinct texts, and their characters in UTF-8."""
    texts = column.texts
    _, offsets, characters = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    yield column.codes
    yield bounds
    yield np.frombuffer(characters or b"", np.uint8)[bounds[0] : bounds[-1]]
