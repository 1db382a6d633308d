"""The vector store: a few operations on Milvus Lite or a Milvus server.

Differences and failures of the two are handled here. A local store connects at the first operation that a snapshot
cannot answer (see `Reader`). Every operation but `scan` is idempotent and is repeated when the process that serves
Milvus Lite has exited and another one, perhaps this one, has replaced it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from var_plugin.errors import IndexUnavailableError, StoreError
from var_plugin.index.failures import file_failure
from var_plugin.index.filters import Condition, Conditions, expression
from var_plugin.index.milvus.options import MilvusOptions, is_local, milvus_uri
from var_plugin.index.milvus.snapshot import Snapshot
from var_plugin.index.milvus.snapshot_cache import SnapshotCache
from var_plugin.index.schema import Row
from var_plugin.private_files import exclusive_lock

if TYPE_CHECKING:
    from pymilvus import CollectionSchema, MilvusClient

    from var_plugin.index.milvus.lite_server import LiteClient

logger = logging.getLogger(__name__)

T = TypeVar("T")

_WRITE_BATCH = 500
# Rows per page of a scan, which keeps one page in memory.
_SCAN_ROWS = 1_000
# Lower bounds that `Reader.top` tries, one after the other.
_BOUNDS = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.0)
MAX_HITS = 16_384
"""Maximum number of rows that one search of Milvus returns."""


@dataclass(frozen=True)
class CollectionInfo:
    """How a server stores a collection."""

    index_type: str = "FLAT"
    partitioned: bool = False
    """True if rows are partitioned by camera."""


class Store:
    """A connection to Milvus Lite or to a Milvus server. Methods may be called from several threads.

    Args:
        location: a path or a URI, see `milvus_uri`.
        token: `user:password` or an API key of the server.

    Raises:
        IndexUnavailableError: the store cannot be opened. A local store is opened at the first operation.
    """

    def __init__(self, location: str | Path, *, token: str = "") -> None:
        self.uri = milvus_uri(location)
        self._is_local = is_local(self.uri)
        self.options = None if self._is_local else MilvusOptions.of(self.uri)
        """Options of the server; None for Milvus Lite."""
        self._collections: dict[str, CollectionInfo] = {}
        if self._is_local:
            check_local(Path(self.uri))
        self.snapshots = SnapshotCache(Path(self.uri)) if self._is_local else None
        self._token = token
        self._loaded: set[str] = set()
        self._written: set[str] = set()
        self._connecting = threading.Lock()
        self._lite: LiteClient | None = None
        self._client: MilvusClient | None = None
        if not self._is_local:
            self._connected()

    def close(self) -> None:
        """Close the connection. If this process serves Milvus Lite, release the database to other processes."""
        if self._client:
            self._client.close()
        if self._lite:
            self._lite.close()
        if self.snapshots:
            for collection in self._written:
                self.snapshots.refresh(collection, force=True)

    @contextmanager
    def lock(self, *keys: str) -> Iterator[None]:
        """Hold the locks of keys against other threads and, with Milvus Lite, against other processes.

        It is a file lock that ends with the process. Milvus servers have no locks: do not let two processes work on
        the same key there.
        """
        if not self._is_local:
            yield
            return
        # 256 files serve all keys. Two keys that share a file wait for each other. Sorting prevents a deadlock.
        names = sorted({hashlib.sha256(key.encode(errors="replace")).hexdigest()[:2] for key in keys})
        folder = Path(self.uri) / "locks"
        with ExitStack() as stack:
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
                for name in names:
                    stack.enter_context(exclusive_lock(folder / name))
            except OSError as error:
                raise _failure("lock", str(folder), error) from error
            yield

    def exists(self) -> bool:
        """Return whether there is a database. True for a server."""
        return not self._is_local or os.path.lexists(self.uri)

    def has(self, collection: str) -> bool:
        """Return whether a collection exists."""
        if self._has_snapshot(collection):
            return True
        return self._run("look up", collection, lambda client: bool(client.has_collection(collection)))

    def ensure(
        self,
        collection: str,
        schema: Callable[[], CollectionSchema],
        *,
        vector: str,
        metric: str,
        options: MilvusOptions | None = None,
    ) -> None:
        """Create a collection and its index if missing, and load it for searching.

        Without options the index is FLAT: exact, and faster with a filter. On Milvus Lite a filtered HNSW index loses
        most of its hits. A collection that was created with other options is left as it is, with a warning.

        Args:
            collection: name of the collection.
            schema: returns the schema of a new collection.
            vector: name of the vector field.
            metric: "IP", "COSINE" or "L2".
            options: options of the server; None for Milvus Lite or for the defaults.
        """
        used_options = options or MilvusOptions()
        if self._has_snapshot(collection):
            self._loaded.add(collection)  # loaded when the store connects
            return

        def prepare(client: MilvusClient) -> None:
            create_collection(client, collection, schema, vector=vector, metric=metric, options=used_options)
            if options is not None:
                self._collections[collection] = describe_collection(client, collection, vector, used_options)
            client.load_collection(collection, replica_number=used_options.replicas)

        self._run("create", collection, prepare)
        self._loaded.add(collection)

    def _has_snapshot(self, collection: str) -> bool:
        """Return whether a snapshot shows that a collection exists, so that Milvus Lite need not be opened."""
        if self._client is not None or self.snapshots is None:
            return False
        self.snapshots.refresh(collection)
        return self.snapshots.find(collection) is not None

    def load(self, collection: str) -> None:
        """Load a collection that another process created."""
        self._run("load", collection, lambda client: client.load_collection(collection))
        self._loaded.add(collection)

    def drop(self, collection: str) -> None:
        """Drop a collection with all its rows if it exists."""
        self._loaded.discard(collection)
        self._written.discard(collection)
        if self.has(collection):
            self._run("drop", collection, lambda client: client.drop_collection(collection))
        if self.snapshots:
            self.snapshots.discard(collection)

    def write(self, collection: str, rows: Sequence[Row]) -> None:
        """Insert rows and replace those with the same id. Every row has all fields."""

        def send(client: MilvusClient) -> None:
            for first in range(0, len(rows), _WRITE_BATCH):
                batch = list(rows[first : first + _WRITE_BATCH])
                if self._collections.get(collection, CollectionInfo()).partitioned:
                    # Milvus 2.3.5 upserts rows into partitions where it does not find them again.
                    client.delete(collection, ids=[row["id"] for row in batch])
                    client.insert(collection, batch)
                else:
                    client.upsert(collection, batch)

        self._written.add(collection)
        self._run("write to", collection, send)

    def flush(self, collection: str) -> None:
        """Flush Milvus Lite to disk, where searching is faster. Servers flush on their own."""
        if self._is_local:
            self._run("flush", collection, lambda client: client.flush(collection))

    def delete(self, collection: str, expression: str) -> None:
        """Delete the matching rows."""
        self._written.add(collection)
        self._run("delete from", collection, lambda client: client.delete(collection, filter=expression))

    def count(self, collection: str, expression: str = "") -> int:
        """Count the matching rows with strong consistency."""
        if expression and self._is_local:
            # For count(*) with a filter, Milvus Lite converts all vectors at once to Python numbers.
            return len(self.rows(collection, expression, ["id"]))
        results = self._run(
            "count in",
            collection,
            lambda client: client.query(
                collection, filter=expression, output_fields=["count(*)"], consistency_level="Strong"
            ),
        )
        return int(results[0]["count(*)"])

    def rows(self, collection: str, expression: str, fields: Sequence[str]) -> list[Row]:
        """Return the fields of every matching row, unordered, with strong consistency."""

        def read(client: MilvusClient) -> list[Row]:
            rows = client.query(
                collection,
                filter=expression,
                output_fields=list(fields),
                limit=MAX_HITS,
                consistency_level="Strong",
            )
            if len(rows) < MAX_HITS:
                return [dict(row) for row in rows]
            # An iterator needs several requests, so it is used only if one response is too small. Milvus Lite reads the
            # whole collection for each of its pages.
            return [row for page in _pages(client, collection, expression, fields, MAX_HITS) for row in page]

        return self._run("read", collection, read)

    def scan(self, collection: str, fields: Sequence[str]) -> Iterator[list[Row]]:
        """Yield all rows of a collection in pages, unordered. Fails if the process that serves Milvus Lite exits."""
        client = self._connected()
        try:
            yield from _pages(client, collection, "", fields, _SCAN_ROWS)
        except Exception as error:  # pymilvus raises its own classes, gRPC's and plain exceptions
            raise _failure("read", collection, error) from error

    def search(
        self, collection: str, vector: np.ndarray, *, limit: int, expression: str, fields: Sequence[str]
    ) -> list[tuple[float, Row]]:
        """Return the most similar rows with their similarity, best first."""
        info = self._collections.get(collection, CollectionInfo())
        parameters = self.options.search(info.index_type, limit) if self.options else {}
        results = self._run(
            "search",
            collection,
            lambda client: client.search(
                collection,
                data=[vector.astype(np.float32).tolist()],
                limit=min(limit, MAX_HITS),
                filter=expression,
                output_fields=list(fields),
                search_params={"params": parameters},
            ),
        )
        return [(float(hit["distance"]), dict(hit["entity"])) for hit in results[0]]

    def _connected(self) -> MilvusClient:
        with self._connecting:
            if self._client is None:
                self._lite, self._client = self._connect()
            return self._client

    def _connect(self) -> tuple[LiteClient | None, MilvusClient]:
        if not self._is_local:
            try:
                return None, self._open_client(self.uri.partition("?")[0])
            except Exception as error:  # pymilvus raises its own classes, gRPC's and plain exceptions
                raise IndexUnavailableError(
                    f"no Milvus server answers at {self.uri}",
                    why=str(error),
                    fix="check the address and that the server runs",
                ) from error
        from pymilvus.client.types import Status

        from var_plugin.index.milvus import lite_server

        deadline = time.monotonic() + lite_server.TIMEOUT_SECONDS
        while True:
            lite = lite_server.connect(Path(self.uri))
            try:
                return lite, self._open_client(lite.address)
            except Exception as error:  # pymilvus raises its own classes, gRPC's and plain exceptions
                has_exited = not lite.is_alive()  # the server exited after it was located
                lite.close()
                if has_exited:
                    continue
                if getattr(error, "code", None) != Status.CONNECT_FAILED:
                    raise _failure("load a collection of", self.uri, error) from error
                if time.monotonic() > deadline:
                    raise lite_server.no_answer(Path(self.uri)) from error

    def _open_client(self, address: str) -> MilvusClient:
        from pymilvus import MilvusClient

        _silence_loggers()
        options = self.options or MilvusOptions()
        client = MilvusClient(address, token=self._token, db_name=options.db, timeout=options.timeout, dedicated=True)
        # A new server starts with no collection loaded.
        for collection in tuple(self._loaded):
            if client.has_collection(collection):
                client.load_collection(collection)
        return client

    def _run(self, action: str, collection: str, operation: Callable[[MilvusClient], T]) -> T:
        """Run an operation and repeat it after a reconnect. Other failures raise a `StoreError` with the action."""
        while True:
            client = self._connected()
            try:
                return operation(client)
            except Exception as error:  # pymilvus raises its own classes, gRPC's and plain exceptions
                if not self._reconnected(client):
                    raise _failure(action, collection, error) from error

    def _reconnected(self, failed: MilvusClient) -> bool:
        """Reconnect if the process that serves Milvus Lite has exited. Return whether the connection is new."""
        with self._connecting:
            if self._client is None or self._client is not failed:  # another thread reconnected
                return True
            if self._lite is None or self._lite.is_alive():
                return False
            failed.close()
            self._lite, self._client = self._connect()
            return True


def _failure(action: str, collection: str, error: Exception) -> StoreError:
    why, fix = file_failure(error) or (str(error), "check that the server runs, then try again")
    return StoreError(f"the vector store could not {action} '{collection}'", why=why, fix=fix)


def check_local(database: Path) -> None:
    """Raise `IndexUnavailableError` if a local folder cannot be opened safely; see `check_folder`."""
    if os.path.lexists(database):
        from var_plugin.index.milvus.lite_folder import check_folder

        check_folder(database)


def _pages(
    client: MilvusClient, collection: str, expression: str, fields: Sequence[str], page_rows: int
) -> Iterator[list[Row]]:
    pages = client.query_iterator(
        collection,
        batch_size=page_rows,
        filter=expression,
        output_fields=list(fields),
        consistency_level="Strong",
    )
    try:
        while page := pages.next():
            yield [dict(row) for row in page]
    finally:
        pages.close()


def _silence_loggers() -> None:
    """Prevent the client libraries from logging tracebacks of errors that are handled here."""
    for name in ("pymilvus", "grpc", "grpc._server", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def create_collection(
    client: MilvusClient,
    collection: str,
    schema: Callable[[], CollectionSchema],
    *,
    vector: str,
    metric: str,
    options: MilvusOptions,
) -> None:
    """Create a collection and its vector index if missing."""
    if not client.has_collection(collection):
        partitions = {"num_partitions": options.partitions} if options.partitions else {}
        try:
            client.create_collection(collection, schema=schema(), consistency_level=options.consistency, **partitions)
        except Exception:  # another process may have created it at the same time
            if not client.has_collection(collection):
                raise
    if not client.list_indexes(collection):
        indexes = client.prepare_index_params()
        indexes.add_index(field_name=vector, index_type=options.index, metric_type=metric, params=options.build)
        # The collection is empty. With sync=True, pymilvus would sleep for half a second before it checks the index.
        client.create_index(collection, indexes, sync=False)


def describe_collection(client: MilvusClient, collection: str, vector: str, options: MilvusOptions) -> CollectionInfo:
    """Return how a collection is stored. Log a warning if that differs from the options."""
    (name,) = client.list_indexes(collection, field_name=vector)
    fields = client.describe_collection(collection)["fields"]
    info = CollectionInfo(
        str(client.describe_index(collection, name)["index_type"]),
        any(field.get("is_partition_key") for field in fields),
    )
    if info != CollectionInfo(options.index, bool(options.partitions)):
        logger.warning(
            "'%s' has index %s%s, not the requested one: run var-plugin reindex to create it again",
            collection,
            info.index_type,
            ", partitioned by camera" if info.partitioned else "",
        )
    return info


class Reader:
    """Reads collections from their snapshots while they are current, otherwise from Milvus.

    Args:
        store: the store.
        pinned: snapshots to read even if they are outdated, by collection.
    """

    def __init__(self, store: Store, pinned: Mapping[str, Snapshot] | None = None) -> None:
        self._store = store
        self._pinned = dict(pinned or {})

    def pinned(self, *collections: str) -> Reader:
        """Return a reader that reads local collections as they are now, whatever is written to them later.

        A collection without a snapshot is read as it is at the time of reading; see `SnapshotCache.pin`.
        """
        snapshots = {name: self._store.snapshots.pin(name) for name in collections} if self._store.snapshots else {}
        return Reader(self._store, {name: snapshot for name, snapshot in snapshots.items() if snapshot is not None})

    def refresh(self, *collections: str) -> None:
        """Create missing or outdated snapshots; see `SnapshotCache.refresh`."""
        if self._store.snapshots:
            for collection in collections:
                self._store.snapshots.refresh(collection)

    def count(self, collection: str) -> int:
        """Count all rows."""
        snapshot = self._snapshot(collection)
        return self._store.count(collection) if snapshot is None else len(snapshot)

    def rows(self, collection: str, conditions: Conditions, fields: Sequence[str]) -> list[Row]:
        """Return the fields of every matching row, unordered."""
        rows = self._from_snapshot(collection, lambda snapshot: snapshot.rows(conditions, fields))
        return self._store.rows(collection, expression(conditions), fields) if rows is None else rows

    def top(
        self,
        collection: str,
        field: str,
        *,
        limit: int,
        conditions: Conditions,
        fields: Sequence[str],
    ) -> list[Row]:
        """Return the matching rows with the highest values (0…1) of a field, highest first."""
        rows = self._from_snapshot(
            collection, lambda snapshot: snapshot.top(field, limit=limit, conditions=conditions, fields=fields)
        )
        if rows is not None:
            return rows
        # Milvus cannot sort by a field: lower the bound until enough rows lie above it.
        for bound in _BOUNDS:
            above = [*conditions, Condition(field, ">=", bound)]
            rows = self._store.rows(collection, expression(above), fields)
            if len(rows) >= limit:
                break
        return sorted(rows or (), key=lambda row: -row[field])[:limit]

    def search(
        self,
        collection: str,
        vector: np.ndarray,
        *,
        metric: str,
        limit: int,
        conditions: Conditions,
        fields: Sequence[str],
        videos: int,
    ) -> list[tuple[float, Row]]:
        """Return the most similar rows with their similarity, best first.

        `videos` has an effect on snapshots only; see `Snapshot.search`.
        """
        results = self._from_snapshot(
            collection,
            lambda snapshot: snapshot.search(
                vector, metric=metric, limit=limit, conditions=conditions, fields=fields, videos=videos
            ),
        )
        if results is not None:
            return results
        return self._store.search(collection, vector, limit=limit, expression=expression(conditions), fields=fields)

    def _from_snapshot(self, collection: str, read: Callable[[Snapshot], T]) -> T | None:
        """Return what `read` returns for the current snapshot, or None if it is missing or damaged."""
        if (snapshot := self._snapshot(collection)) is None or self._store.snapshots is None:
            return None
        try:
            return read(snapshot)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            logger.warning("the snapshot of %s is damaged and is not used: %s", collection, error)
            self._store.snapshots.reject(collection)
            self._pinned.pop(collection, None)
            return None

    def _snapshot(self, collection: str) -> Snapshot | None:
        if collection in self._pinned:
            return self._pinned[collection]
        return self._store.snapshots.find(collection) if self._store.snapshots else None
