"""What keeps Milvus Lite from taking many times the memory of its rows, and from half-written copies of vectors."""

from __future__ import annotations

import ctypes
import logging
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
from milvus_lite.index.brute_force import BruteForceIndex
from milvus_lite.storage.memtable import MemTable

from var_plugin.private_files import create_private_file

logger = logging.getLogger(__name__)

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library


def give_back() -> None:
    """Return to the system what was freed and kept for later, tens of megabytes after a flush; takes milliseconds."""
    pa.default_memory_pool().release_unused()
    if _trim:
        _trim(0)


def flush_in_arrow() -> None:
    """Let Milvus Lite bring rows to disk as they are; 3.2 makes a number of Python's of each coordinate first.

    Another version may keep its rows in another way and is left as it is.
    """
    if version("milvus-lite").startswith("3.2."):
        MemTable._build_data_table = _taken


def _taken(table: MemTable, places: list[tuple[int, int]]) -> pa.Table:
    """Return the rows at places, each the number of a batch and that of a row in it, as they are kept on disk."""
    batches = table._insert_batches
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    batch, row = np.array(places).T
    kept = pa.Table.from_batches(batches).select(table._data_schema.names)
    return kept.take(pa.array(starts[batch] + row))


def save_copies_atomically() -> None:
    """Let Milvus Lite write the copy of a segment's vectors beside and rename it; 3.2 writes it in place.

    Without room for it the copy stays in memory only, and searching goes on.
    """
    if version("milvus-lite").startswith("3.2."):
        BruteForceIndex.save = _save


def _save(copy: BruteForceIndex, path: str) -> None:
    partial = Path(f"{path}.tmp")
    try:
        with create_private_file(partial) as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(copy._vectors))
            file.write(np.ascontiguousarray(copy._vectors).data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        logger.warning("%s is not written: %s", path, error)
