"""The vector store: the few operations used here, with Milvus' differences and failures handled in one place.

A local one is opened at the first operation that needs it; what `snapshots` can answer (see `reader.py`) does not.

Every operation may be repeated without harm, so each but `scan` is repeated when the process that owned Milvus Lite has
ended and another one, perhaps this, has taken over.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from var_plugin.errors import IndexUnavailableError, StoreError
from var_plugin.index.failures import file_failure
from var_plugin.index.filters import Conditions, expression
from var_plugin.index.milvus.options import MilvusOptions, is_local, milvus_uri
from var_plugin.index.milvus.snapshot import Snapshot, SnapshotCache
from var_plugin.index.schema import Row
from var_plugin.private_files import exclusive_lock

if TYPE_CHECKING:
    from pymilvus import CollectionSchema, MilvusClient

    from var_plugin.index.milvus.lite_server import LiteClient

T = TypeVar("T")

_WRITE_ROWS = 500
_PAGE_ROWS = 1_000
# Milvus' own limit on what one search returns.
MAX_HITS = 16_384


class Store:
    """A connection to Milvus Lite or to a Milvus server; its methods may be called from several threads.

    Args:
        location: a path or a URI, as `milvus_uri`.
        token: what the server asks for, `user:password` or an API key.

    Raises:
        IndexUnavailableError: it cannot be opened; where it is local, that shows at the first operation.
    """

    def __init__(self, location: str | Path, *, token: str = "") -> None:
        self.uri = milvus_uri(location)
        self.options = None if is_local(self.uri) else MilvusOptions.of(self.uri)
        """What the server is asked for; None for Milvus Lite, which has no options."""
        self._kept: dict[str, CollectionInfo] = {}
        if is_local(self.uri):
            check_local(Path(self.uri))
        self.snapshots = SnapshotCache(Path(self.uri)) if is_local(self.uri) else None
        self._token = token
        self._loaded: set[str] = set()
        self._written: set[str] = set()
        self._connecting = threading.Lock()
        self._link: LiteClient | None = None
        self._client: MilvusClient | None = None
        if not is_local(self.uri):
            self._connected()

    def close(self) -> None:
        """Close the connection and, as the owner of Milvus Lite, hand the database over to other processes."""
        if self._client:
            self._client.close()
        if self._link:
            self._link.close()
        if self.snapshots:
            for collection in self._written:
                self.snapshots.refresh(collection, force=True)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Keep other threads, and with Milvus Lite other processes, out of the blocks with the same key.

        Kept with a lock of the operating system, which ends with the process. Milvus servers offer nothing like it:
        there, no two processes should work on the same key.
        """
        if not is_local(self.uri):
            yield
            return
        # A handful of files serves all keys; two keys that share one only wait a little for each other.
        lock = Path(self.uri) / "locks" / hashlib.sha256(key.encode(errors="replace")).hexdigest()[:2]
        with ExitStack() as held:
            try:
                lock.parent.mkdir(mode=0o700, exist_ok=True)
                held.enter_context(exclusive_lock(lock))
            except OSError as error:
                raise _failure("lock", str(lock), error) from error
            yield

    def has(self, collection: str) -> bool:
        """Tell whether the collection exists."""
        return self._do("look up", collection, lambda client: bool(client.has_collection(collection)))

    def ensure(
        self,
        collection: str,
        schema: Callable[[], CollectionSchema],
        *,
        vector: str,
        metric: str,
        options: MilvusOptions | None = None,
    ) -> None:
        """Make a collection, or what is missing of it, and load it for searching.

        Without options its index is FLAT: exact, and filters make it faster. On Milvus Lite a filtered HNSW loses most
        of its hits. What was made with other options stays as it is, which is logged.
        """
        wanted = options or MilvusOptions()
        if self._client is None and self.snapshots:
            self.snapshots.refresh(collection)
            if self.snapshots.find(collection) is not None:
                self._loaded.add(collection)  # as soon as the store is opened
                return

        def prepare(client: MilvusClient) -> None:
            create_collection(client, collection, schema, vector=vector, metric=metric, wanted=wanted)
            if options is not None:
                self._kept[collection] = describe_collection(client, collection, vector, wanted)
            client.load_collection(collection, replica_number=wanted.replicas)

        self._do("create", collection, prepare)
        self._loaded.add(collection)

    def load(self, collection: str) -> None:
        """Make a collection of another process searchable here."""
        self._do("load", collection, lambda client: client.load_collection(collection))
        self._loaded.add(collection)

    def drop(self, collection: str) -> None:
        """Remove a collection with all its rows, if it is there."""
        self._loaded.discard(collection)
        self._written.discard(collection)
        if self.has(collection):
            self._do("drop", collection, lambda client: client.drop_collection(collection))
        if self.snapshots:
            self.snapshots.discard(collection)

    def write(self, collection: str, rows: Sequence[Row]) -> None:
        """Insert rows, or replace those with the same id; every row holds all fields."""

        def send(client: MilvusClient) -> None:
            for first in range(0, len(rows), _WRITE_ROWS):
                batch = list(rows[first : first + _WRITE_ROWS])
                if self._kept.get(collection, CollectionInfo()).by_camera:
                    # Upserted, Milvus 2.3.5 puts rows into partitions in which it does not look for them.
                    client.delete(collection, ids=[row["id"] for row in batch])
                    client.insert(collection, batch)
                else:
                    client.upsert(collection, batch)

        self._written.add(collection)
        self._do("write to", collection, send)

    def flush(self, collection: str) -> None:
        """Let Milvus Lite bring what was written to disk, where it is searched faster; servers do it by themselves."""
        if is_local(self.uri):
            from var_plugin.index.milvus.lite_server import release_memory

            release_memory()
            self._do("flush", collection, lambda client: client.flush(collection))
            release_memory()

    def delete(self, collection: str, expression: str) -> None:
        """Delete the rows that match."""
        self._written.add(collection)
        self._do("delete from", collection, lambda client: client.delete(collection, filter=expression))

    def count(self, collection: str, expression: str = "") -> int:
        """Count the rows that match, as the store sees them now."""
        if expression and is_local(self.uri):
            # Asked for a number, Milvus Lite makes Python's numbers of all vectors at once to count them.
            return len(self.rows(collection, expression, ["id"]))
        found = self._do(
            "count in",
            collection,
            lambda client: client.query(
                collection, filter=expression, output_fields=["count(*)"], consistency_level="Strong"
            ),
        )
        return int(found[0]["count(*)"])

    def rows(self, collection: str, expression: str, fields: Sequence[str]) -> list[Row]:
        """Return the fields of every row that matches, in no particular order, as the store sees them now."""

        def read(client: MilvusClient) -> list[Row]:
            found = client.query(
                collection,
                filter=expression,
                output_fields=list(fields),
                limit=MAX_HITS,
                consistency_level="Strong",
            )
            if len(found) < MAX_HITS:
                return [dict(row) for row in found]
            # An iterator asks a server several times over, so only where one answer does not hold all.
            return [row for page in _pages(client, collection, expression, fields) for row in page]

        return self._do("read", collection, read)

    def scan(self, collection: str, fields: Sequence[str]) -> Iterator[list[Row]]:
        """Yield all rows of a collection, some at a time, in no particular order; a change of owner ends it."""
        client = self._connected()
        try:
            yield from _pages(client, collection, "", fields)
        except Exception as error:  # pymilvus raises its own kinds, gRPC's and plain ones
            raise _failure("read", collection, error) from error

    def search(
        self, collection: str, vector: np.ndarray, *, limit: int, expression: str, fields: Sequence[str]
    ) -> list[tuple[float, Row]]:
        """Return the best rows with their similarity, best first."""
        effort = self.options.search(self._kept.get(collection, CollectionInfo()).index, limit) if self.options else {}
        found = self._do(
            "search",
            collection,
            lambda client: client.search(
                collection,
                data=[vector.astype(np.float32).tolist()],
                limit=min(limit, MAX_HITS),
                filter=expression,
                output_fields=list(fields),
                search_params={"params": effort},
            ),
        )
        return [(float(hit["distance"]), dict(hit["entity"])) for hit in found[0]]

    def _connected(self) -> MilvusClient:
        with self._connecting:
            if self._client is None:
                self._link, self._client = self._connect()
            return self._client

    def _connect(self) -> tuple[LiteClient | None, MilvusClient]:
        if not is_local(self.uri):
            try:
                return None, self._open_client(self.uri.partition("?")[0])
            except Exception as error:  # pymilvus raises its own kinds, gRPC's and plain ones
                raise IndexUnavailableError(
                    f"no Milvus server answers at {self.uri}",
                    why=str(error),
                    fix="check the address and that the server runs",
                ) from error
        from var_plugin.index.milvus.lite_server import connect

        while True:
            link = connect(Path(self.uri))
            try:
                return link, self._open_client(link.address)
            except Exception as error:  # pymilvus raises its own kinds, gRPC's and plain ones
                owner_is_gone = not link.answers()  # its process ended after it was found
                link.close()
                if not owner_is_gone:
                    raise _failure("load a collection of", self.uri, error) from error

    def _open_client(self, address: str) -> MilvusClient:
        from pymilvus import MilvusClient

        _quieten()
        options = self.options or MilvusOptions()
        client = MilvusClient(address, token=self._token, db_name=options.db, timeout=options.timeout, dedicated=True)
        # A new owner opens its collections unloaded.
        for collection in tuple(self._loaded):
            if client.has_collection(collection):
                client.load_collection(collection)
        return client

    def _do(self, doing: str, collection: str, operation: Callable[[MilvusClient], T]) -> T:
        """Run an operation, again after a change of owner; its other failures become a `StoreError` that names it."""
        while True:
            client = self._connected()
            try:
                return operation(client)
            except Exception as error:  # pymilvus raises its own kinds, gRPC's and plain ones
                if not self._reconnected(client):
                    raise _failure(doing, collection, error) from error

    def _reconnected(self, failed: MilvusClient) -> bool:
        """Connect anew where the owner of Milvus Lite is gone; False where the connection is not to blame."""
        with self._connecting:
            if self._client is None or self._client is not failed:  # another thread did it
                return True
            if self._link is None or self._link.answers():
                return False
            failed.close()
            self._link, self._client = self._connect()
            return True


def _failure(doing: str, collection: str, error: Exception) -> StoreError:
    why, fix = file_failure(error) or (str(error), "check that the server runs, then try again")
    return StoreError(f"the vector store could not {doing} '{collection}'", why=why, fix=fix)


def check_local(database: Path) -> None:
    """Raise `IndexUnavailableError` where a local folder must not or cannot be opened; see `check_folder`."""
    if os.path.lexists(database):
        from var_plugin.index.milvus.lite_folder import check_folder

        check_folder(database)


def _pages(client: MilvusClient, collection: str, expression: str, fields: Sequence[str]) -> Iterator[list[Row]]:
    pages = client.query_iterator(
        collection,
        batch_size=_PAGE_ROWS,
        filter=expression,
        output_fields=list(fields),
        consistency_level="Strong",
    )
    try:
        while page := pages.next():
            yield [dict(row) for row in page]
    finally:
        pages.close()


def _quieten() -> None:
    """Keep the client libraries from printing tracebacks of errors that are handled here."""
    for name in ("pymilvus", "grpc", "grpc._server", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CollectionInfo:
    """How a server keeps a collection."""

    index: str = "FLAT"
    by_camera: bool = False


def create_collection(
    client: MilvusClient,
    collection: str,
    schema: Callable[[], CollectionSchema],
    *,
    vector: str,
    metric: str,
    wanted: MilvusOptions,
) -> None:
    """Make a collection and its index, or what is missing of them."""
    if not client.has_collection(collection):
        spread = {"num_partitions": wanted.partitions} if wanted.partitions else {}
        try:
            client.create_collection(collection, schema=schema(), consistency_level=wanted.consistency, **spread)
        except Exception:  # another process may have been faster
            if not client.has_collection(collection):
                raise
    if not client.list_indexes(collection):
        indexes = client.prepare_index_params()
        indexes.add_index(field_name=vector, index_type=wanted.index, metric_type=metric, params=wanted.build)
        # It holds no rows yet, so there is nothing to wait for; pymilvus would sleep half a second before it asks.
        client.create_index(collection, indexes, sync=False)


def describe_collection(client: MilvusClient, collection: str, vector: str, wanted: MilvusOptions) -> CollectionInfo:
    """Return how a collection is kept; log it where that is not what is wanted now."""
    (name,) = client.list_indexes(collection, field_name=vector)
    fields = client.describe_collection(collection)["fields"]
    kept = CollectionInfo(
        str(client.describe_index(collection, name)["index_type"]),
        any(field.get("is_partition_key") for field in fields),
    )
    if kept != CollectionInfo(wanted.index, bool(wanted.partitions)):
        spread = ", spread by camera" if kept.by_camera else ""
        logger.warning(
            "'%s' was made with index %s%s and stays so; reindex makes it anew", collection, kept.index, spread
        )
    return kept


class Reader:
    """Reads the collections of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def refresh(self, *collections: str) -> None:
        """Make copies of collections that changed; see `SnapshotCache.refresh`."""
        if self._store.snapshots:
            for collection in collections:
                self._store.snapshots.refresh(collection)

    def count(self, collection: str) -> int:
        """Count the rows."""
        copy = self._copy(collection)
        return self._store.count(collection) if copy is None else len(copy)

    def rows(self, collection: str, conditions: Conditions, fields: Sequence[str]) -> list[Row]:
        """Return the fields of every row that matches, in no particular order."""
        rows = self._asked(collection, lambda copy: copy.rows(conditions, fields))
        return self._store.rows(collection, expression(conditions), fields) if rows is None else rows

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
        """Return the best rows with their similarity, best first; `videos` counts for copies, see `Snapshot`."""
        best = self._asked(
            collection,
            lambda copy: copy.search(
                vector, metric=metric, limit=limit, conditions=conditions, fields=fields, videos=videos
            ),
        )
        if best is not None:
            return best
        return self._store.search(collection, vector, limit=limit, expression=expression(conditions), fields=fields)

    def _asked(self, collection: str, ask: Callable[[Snapshot], T]) -> T | None:
        """Return what a copy answers; None where there is none, or it is damaged."""
        if (copy := self._copy(collection)) is None or self._store.snapshots is None:
            return None
        try:
            return ask(copy)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            logger.warning("the copy of %s for searching is damaged and not used: %s", collection, error)
            self._store.snapshots.reject(collection)
            return None

    def _copy(self, collection: str) -> Snapshot | None:
        return self._store.snapshots.find(collection) if self._store.snapshots else None
