"""The vector store: the few operations used here, with Milvus' differences and failures handled in one place."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from var_plugin.errors import IndexUnavailableError, StoreError
from var_plugin.index.location import is_local, milvus_uri

if TYPE_CHECKING:
    from pymilvus import CollectionSchema

Row = dict[str, Any]

_CONNECT_SECONDS = 10
_WRITE_ROWS = 500
_PAGE_ROWS = 1_000
# Milvus' own limit on what one search returns.
MOST_HITS = 16_384


class Store:
    """A connection to Milvus Lite or to a Milvus server.

    Args:
        location: a path or a URI, as `milvus_uri`.
        token: what the server asks for, `user:password` or an API key.

    Raises:
        IndexUnavailableError: it cannot be opened.
    """

    def __init__(self, location: str | Path, *, token: str = "") -> None:
        from pymilvus import MilvusClient

        self.uri = milvus_uri(location)
        _quieten()
        try:
            self._client = MilvusClient(self.uri, token=token, timeout=_CONNECT_SECONDS)
        except Exception as error:  # pymilvus raises its own kinds, gRPC's and plain ones
            raise _unavailable(self.uri, error) from error
        # Milvus Lite calls concurrent writes unsafe.
        self._writing = threading.Lock()

    def close(self) -> None:
        """Close the connection and, with Milvus Lite, give the folder free for other processes."""
        self._client.close()
        if is_local(self.uri):
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self.uri)

    def has(self, collection: str) -> bool:
        """Tell whether the collection exists."""
        with _translated("look up", collection):
            return bool(self._client.has_collection(collection))

    def create(self, collection: str, schema: CollectionSchema, *, vector: str, metric: str) -> None:
        """Create a collection with an exact index, ready for searching.

        FLAT: exact, and filters make it faster. On Milvus Lite a filtered HNSW loses most of its hits.
        """
        indexes = self._client.prepare_index_params()
        indexes.add_index(field_name=vector, index_type="FLAT", metric_type=metric)
        with self._writing, _translated("create", collection):
            # Session: what this process wrote, it finds.
            self._client.create_collection(collection, schema=schema, index_params=indexes, consistency_level="Session")

    def load(self, collection: str) -> None:
        """Make a collection searchable; Milvus Lite opens them unloaded."""
        with _translated("load", collection):
            self._client.load_collection(collection)

    def write(self, collection: str, rows: Sequence[Row]) -> None:
        """Insert rows, or replace those with the same id; every row holds all fields."""
        with self._writing, _translated("write to", collection):
            for first in range(0, len(rows), _WRITE_ROWS):
                self._client.upsert(collection, list(rows[first : first + _WRITE_ROWS]))

    def flush(self, collection: str) -> None:
        """Bring what was written to disk; unflushed rows are also very slow to search."""
        with self._writing, _translated("flush", collection):
            self._client.flush(collection)

    def delete(self, collection: str, expression: str) -> None:
        """Delete the rows that match."""
        with self._writing, _translated("delete from", collection):
            self._client.delete(collection, filter=expression)

    def count(self, collection: str, expression: str = "") -> int:
        """Count the rows that match, as the store sees them now."""
        with _translated("count in", collection):
            found = self._client.query(
                collection, filter=expression, output_fields=["count(*)"], consistency_level="Strong"
            )
        return int(found[0]["count(*)"])

    def rows(self, collection: str, expression: str, fields: Sequence[str]) -> list[Row]:
        """Return the fields of every row that matches, in no particular order."""
        with _translated("read", collection):
            pages = self._client.query_iterator(
                collection, batch_size=_PAGE_ROWS, filter=expression, output_fields=list(fields)
            )
            try:
                found: list[Row] = []
                while page := pages.next():
                    found.extend(dict(row) for row in page)
            finally:
                pages.close()
        return found

    def search(
        self, collection: str, vector: np.ndarray, *, limit: int, expression: str, fields: Sequence[str]
    ) -> list[tuple[float, Row]]:
        """Return the best rows with their similarity, best first."""
        with _translated("search", collection):
            found = self._client.search(
                collection,
                data=[vector.astype(np.float32).tolist()],
                limit=min(limit, MOST_HITS),
                filter=expression,
                output_fields=list(fields),
            )
        return [(float(hit["distance"]), dict(hit["entity"])) for hit in found[0]]


@contextmanager
def _translated(doing: str, collection: str) -> Iterator[None]:
    """Turn whatever the client raises into a `StoreError` that names the operation."""
    try:
        yield
    except Exception as error:  # pymilvus raises its own kinds, gRPC's and plain ones
        raise StoreError(
            f"the vector store could not {doing} '{collection}'",
            why=str(error),
            fix="check that the server runs and the disk has room, then try again",
        ) from error


def _unavailable(uri: str, error: Exception) -> IndexUnavailableError:
    if not is_local(uri):
        return IndexUnavailableError(
            f"no Milvus server answers at {uri}", why=str(error), fix="check the address and that the server runs"
        )
    if (Path(uri) / "LOCK").exists():
        return IndexUnavailableError(
            f"cannot open the index {uri}",
            why="another process has it open, or it is damaged",
            fix="close the other program, or run a Milvus server and name its URI",
        )
    return IndexUnavailableError(f"cannot open the index {uri}", why=str(error), fix="name another place with --index")


def _quieten() -> None:
    """Keep the client libraries from printing tracebacks of errors that are handled here."""
    for name in ("pymilvus", "grpc", "grpc._server", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
