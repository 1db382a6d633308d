"""Columns of rows in one file that is mapped into memory: numbers as arrays, texts as numbers of distinct ones.

The file is written beside and then renamed, so it is there as a whole or not at all; a checksum tells damage.
"""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.private_files import create_private_file, open_regular_file

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC = b"var-plugin columns 1\n"
_ALIGNED = 64
_DISTINCT = "distinct:"


class Texts:
    """A column of texts, as the places of its values among the distinct ones."""

    def __init__(self, places: NDArray[np.int32], distinct: NDArray[np.uint8]) -> None:
        self.places = places
        self._distinct = distinct

    @cached_property
    def distinct(self) -> list[str]:
        """The distinct values."""
        return list(json.loads(self._distinct.tobytes()))


Column = NDArray[Any] | Texts


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
    return Texts(places, np.frombuffer(text, np.uint8))


def write(path: Path, columns: Mapping[str, Column], fingerprint: str) -> None:
    """Write columns to a file, in place of the one that is there.

    Raises:
        OSError: the disk is full, or may not be written to.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, column in columns.items():
        arrays[name] = column.places if isinstance(column, Texts) else column
        if isinstance(column, Texts):
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
        name: Texts(array, arrays[f"{_DISTINCT}{name}"]) if f"{_DISTINCT}{name}" in arrays else array
        for name, array in arrays.items()
        if not name.startswith(_DISTINCT)
    }
