"""Milvus Lite shared by the processes of one user: the first one owns the database, the others connect to it.

Milvus Lite lets one process open a database, and its lock ends with that process, however it ends. So whoever gets
the lock serves the database on a Unix socket and publishes the address beside it; whoever does not, connects there.
When the owner ends, the next operation of any other process finds nobody listening and tries for the lock itself.

Socket and database lie in folders that only their user may enter: no port is opened, other users cannot connect.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from milvus_lite.db import MilvusLite
from milvus_lite.exceptions import DataDirLockedError
from pymilvus import MilvusClient
from pymilvus.grpc_gen import milvus_pb2_grpc

from var_plugin.errors import IndexUnavailableError, said
from var_plugin.index.lite_memory import flush_in_arrow

_OWNER = "owner.json"
_SOCKET_FOLDER = "var-plugin-"
# After a kill the next owner looks at the key of every row before it lets others in.
_PATIENCE_SECONDS = 60.0
_WORKERS = 10
# In one expression.
_KEYS = 1_000
_LARGEST_MESSAGE = 256 * 1024 * 1024
# Milvus Lite calls concurrent writes to one collection unsafe.
_ONE_AT_A_TIME = ("CreateCollection", "DropCollection", "CreateIndex", "LoadCollection", "Upsert", "Delete", "Flush")


class Link:
    """A way to the database of another process."""

    def __init__(self, address: str) -> None:
        self.address = address

    def answers(self) -> bool:
        """Tell whether the owner still listens."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.address.removeprefix("unix:"))
            except OSError:
                return False
        return True

    def close(self) -> None:
        """Nothing is held."""


class Owner(Link):
    """This process's own database, served to itself and to others.

    Raises:
        DataDirLockedError: another process owns it.
    """

    def __init__(self, database: Path) -> None:
        database.mkdir(mode=0o700, parents=True, exist_ok=True)
        flush_in_arrow()
        self._note = database / _OWNER
        self._database = _Database(str(database))
        self._changing = threading.Lock()
        killed = _clear_leftovers(database)
        self._folder = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER))
        super().__init__(f"unix:{self._folder / 'milvus'}")
        self._server = grpc.server(
            ThreadPoolExecutor(_WORKERS),
            options=[
                ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
                ("grpc.max_send_message_length", _LARGEST_MESSAGE),
                # pymilvus pings every 10 s; a server that is told nothing hangs up after some, in the midst of a call.
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.max_ping_strikes", 0),
            ],
        )
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(self._servicer(), self._server)
        self._server.add_insecure_port(self.address)
        self._server.start()
        if killed:
            _undouble(self.address)
        self._publish()
        atexit.register(self.close)

    def close(self) -> None:
        """Hand the database over: stop serving, then release the lock."""
        atexit.unregister(self.close)
        self._server.stop(grace=2).wait()
        with self._changing:
            self._database.note = self._note
            self._database.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _servicer(self) -> Any:
        servicer = MilvusServicer(self._database)
        for name in _ONE_AT_A_TIME:
            setattr(servicer, name, self._alone(getattr(servicer, name)))
        return servicer

    def _alone(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def guarded(*arguments: Any) -> Any:
            with self._changing:
                return method(*arguments)

        return guarded

    def _publish(self) -> None:
        partial = self._note.with_suffix(".partial")
        partial.write_text(json.dumps({"pid": os.getpid(), "address": self.address}), encoding="utf-8")
        partial.replace(self._note)


class _Database(MilvusLite):  # type: ignore[misc]
    """Takes the owner's note away between its last write and the release of the lock.

    Killed before, it counts as killed; afterwards the note is that of the next owner.
    """

    note: Path | None = None

    def _release_lock(self) -> None:
        if self.note:
            self.note.unlink(missing_ok=True)
        super()._release_lock()


def connect(database: Path) -> Link:
    """Own a Milvus Lite database, or find the process that does.

    Raises:
        IndexUnavailableError: something else holds the database, or it cannot be read.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return Owner(database)
        except DataDirLockedError as locked:
            note = _read_note(database)
            if note and (link := Link(note["address"])).answers():
                return link
            if time.monotonic() > deadline:
                raise IndexUnavailableError(
                    f"cannot open the index {database}",
                    why=f"process {note['pid'] if note else 'unknown'} holds it and does not answer",
                    fix="end that process, or run a Milvus server and name its URI",
                ) from locked
        except Exception as error:  # whatever a damaged database makes Milvus Lite raise
            raise IndexUnavailableError(
                f"cannot open the index {database}",
                why=said(error),
                fix="restore it from a backup, or name another place with --index",
            ) from error
        time.sleep(0.02)


def _read_note(database: Path) -> dict[str, Any] | None:
    try:
        note = json.loads((database / _OWNER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def _clear_leftovers(database: Path) -> bool:
    """Remove what a killed owner left; tell whether one was killed.

    That is its socket; collections in the midst of being made or dropped: without its schema a collection does not
    exist for Milvus Lite, yet keeps its name from being used again; and the copies of the vectors for searching, which
    are made again from the rows: Milvus Lite 3.2 writes them in place, and loads no collection with half of one.
    """
    note = _read_note(database)
    if note:
        folder = Path(note["address"].removeprefix("unix:")).parent
        if folder.name.startswith(_SOCKET_FOLDER):
            shutil.rmtree(folder, ignore_errors=True)
    for collection in (database / "collections").iterdir():
        if not (collection / "schema.json").exists():
            shutil.rmtree(collection)
        elif note:
            for copies in collection.glob("partitions/*/indexes"):
                shutil.rmtree(copies)
    return note is not None


def _undouble(address: str) -> None:
    """Write rows that are stored twice once more, which leaves one of each.

    Killed after a flush and before it removed its log, Milvus Lite 3.2 replays the log beside the flushed rows.
    """
    client = MilvusClient(address, dedicated=True)
    for collection in client.list_collections():
        if not client.list_indexes(collection):
            continue  # never finished, so nothing was written
        client.load_collection(collection)
        keys = Counter(row["id"] for row in client.query(collection, filter="", output_fields=["id"]))
        doubled = [key for key, rows in keys.items() if rows > 1]
        for first in range(0, len(doubled), _KEYS):
            listed = json.dumps(doubled[first : first + _KEYS], ensure_ascii=False)
            found = client.query(collection, filter=f"id in {listed}", output_fields=["*"])
            client.upsert(collection, list({row["id"]: dict(row) for row in found}.values()))
        if doubled:
            client.flush(collection)
    client.close()
