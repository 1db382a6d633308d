"""The snapshots of a local database, and when they are current.

A snapshot is derived from the files of Milvus Lite and can be deleted without harm. It is used only while its
fingerprint matches the files of its collection, regardless of which process wrote last or how it exited. Searching a
snapshot does not open Milvus Lite.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from var_plugin.index.milvus.lite_files import (
    CollectionState,
    ManifestStamp,
    collection_state,
    live_rows,
    manifest_stamp,
)
from var_plugin.index.milvus.snapshot import Snapshot, encode_texts, read_snapshot, table_columns, write_snapshot
from var_plugin.private_files import exclusive_lock

logger = logging.getLogger(__name__)

SNAPSHOT_FOLDER = "snapshots"
"""Folder of the snapshots inside the database folder."""

# A large collection that was written to recently is answered by Milvus Lite: it will probably change again.
_MIN_IDLE_SECONDS = 3.0
_MIN_LARGE_BYTES = 16 * 1024 * 1024
# Attempts to read the files of a collection that Milvus Lite is merging.
_MAX_ATTEMPTS = 10
_JSON_FIELDS = frozenset(("metadata", "body", "events", "trained"))


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
        table = encode_texts(rows.drop_columns(["_seq"]).sort_by("video_id")) if rows.num_rows else rows.select([])
        try:
            write_snapshot(self._file(collection), table, state.fingerprint)
        except TypeError:  # a value is missing: Milvus Lite decides what that means
            return None
        except OSError as error:
            logger.info("the snapshot of %s stays in memory: %s", collection, error)
            with self._opening:
                snapshot = Snapshot(table_columns(table), _JSON_FIELDS)
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


def _is_idle(state: CollectionState) -> bool:
    return state.bytes < _MIN_LARGE_BYTES or time.time_ns() - state.stamp[1] > _MIN_IDLE_SECONDS * 1e9
