"""Milvus Lite shared by the processes of one user: the first one owns the database, the others connect to it.

Milvus Lite lets one process open a database, and its lock ends with that process, however it ends. So whoever gets
the lock serves the database on a Unix socket and publishes the address beside it; whoever does not, connects there.
When the owner ends, the next operation of any other process finds nobody listening and tries for the lock itself.

Socket and database lie in folders that only their user may enter: no port is opened, other users cannot connect.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import logging
import os
import re
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pyarrow as pa
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from milvus_lite.db import MilvusLite
from milvus_lite.exceptions import CollectionNotFoundError, DataDirLockedError
from milvus_lite.index.brute_force import BruteForceIndex
from milvus_lite.storage.memtable import MemTable
from pymilvus.grpc_gen import milvus_pb2_grpc

from var_plugin.errors import IndexUnavailableError, VarPluginError
from var_plugin.index.milvus.lite_folder import check_folder, mend_collection, mend_folder, unavailable
from var_plugin.private_files import create_private_file, open_regular_file

logger = logging.getLogger(__name__)

_OWNER = "owner.json"
_MAX_OWNER_BYTES = 4_096
_SOCKET_FOLDER = "var-plugin-"
_SOCKET = "milvus"
# Linux takes 107 bytes, macOS 103.
_MAX_SOCKET_BYTES = 103
# What gRPC reads in an address as it is written.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._+@=-]*")
_PATIENCE_SECONDS = 60.0
_WORKERS = 10
_LARGEST_MESSAGE = 256 * 1024 * 1024
# Milvus Lite calls concurrent writes to one collection unsafe.
_ONE_AT_A_TIME = ("CreateCollection", "DropCollection", "CreateIndex", "LoadCollection", "Upsert", "Delete", "Flush")
_WRITES = ("Upsert", "Delete", "Flush")


class LiteClient:
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


class LiteServer(LiteClient):
    """This process's own database, served to itself and to others.

    Raises:
        DataDirLockedError: another process owns it.
        IndexUnavailableError: the folder is not one that may be opened, or is damaged.
        OSError: the folder cannot be read or written.
    """

    def __init__(self, database: Path) -> None:
        database.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(database)
        flush_in_arrow()
        save_copies_atomically()
        self._note = database / _OWNER
        self._database = _Database(str(database))
        self._changing = threading.Lock()
        with ExitStack() as undo:
            undo.callback(self._database.close)
            _remove_socket(self._note)
            mend_folder(database, killed=self._note.exists())
            self._folder = _socket_folder()
            undo.callback(_remove_socket_folder, self._folder)
            super().__init__(f"unix:{self._folder / _SOCKET}")
            self._server = grpc.server(
                ThreadPoolExecutor(_WORKERS),
                options=[
                    ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
                    ("grpc.max_send_message_length", _LARGEST_MESSAGE),
                    # pymilvus pings every 10 s; a server that expects none hangs up after some, in the midst of a call.
                    ("grpc.keepalive_permit_without_calls", 1),
                    ("grpc.http2.max_ping_strikes", 0),
                ],
            )
            milvus_pb2_grpc.add_MilvusServiceServicer_to_server(self._servicer(), self._server)
            self._server.add_insecure_port(self.address)
            self._server.start()
            undo.callback(lambda: self._server.stop(grace=None).wait())
            self._publish()
            undo.pop_all()
        atexit.register(self.close)

    def close(self) -> None:
        """Hand the database over: stop serving, then release the lock."""
        atexit.unregister(self.close)
        self._server.stop(grace=2).wait()
        with self._changing:
            self._database.note = self._note
            self._database.close()
        _remove_socket_folder(self._folder)

    def _servicer(self) -> Any:
        servicer = MilvusServicer(self._database)
        servicer.LoadCollection = self._loading(servicer.LoadCollection)
        for name in _WRITES:
            setattr(servicer, name, self._reopening(getattr(servicer, name)))
        for name in _ONE_AT_A_TIME:
            setattr(servicer, name, self._alone(getattr(servicer, name)))
        return servicer

    def _alone(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def guarded(*arguments: Any) -> Any:
            with self._changing:
                return method(*arguments)

        return guarded

    def _loading(self, load: Callable[..., Any]) -> Callable[..., Any]:
        """Load a collection, again without the copies of its vectors if one of them is damaged."""

        @wraps(load)
        def loaded(request: Any, context: Any) -> Any:
            status = load(request, context)
            if _failed(status) and self._database.has_collection(request.collection_name):
                self._database.mend(request.collection_name)
                status = load(request, context)
            return status

        return loaded

    def _reopening(self, write: Callable[..., Any]) -> Callable[..., Any]:
        """Open a collection anew after a failed write: Milvus Lite drops rows from memory that only its log holds."""

        @wraps(write)
        def written(request: Any, context: Any) -> Any:
            response = write(request, context)
            if _failed(response.status):
                names = getattr(request, "collection_names", None) or [request.collection_name]
                for name in names:
                    self._database.reopen(name)
            return response

        return written

    def _publish(self) -> None:
        partial = self._note.with_suffix(".partial")
        with create_private_file(partial) as file:
            file.write(json.dumps({"pid": os.getpid(), "address": self.address}).encode())
        partial.replace(self._note)


def _failed(status: Any) -> bool:
    return bool(status.code or status.error_code)


class _Database(MilvusLite):  # type: ignore[misc]
    """Removes the owner's note between its last write and the release of the lock, and mends what does not open.

    A process that is killed before that counts as killed; afterwards the note is that of the next owner.
    """

    note: Path | None = None

    def get_collection(self, name: str, database_name: str = "default") -> Any:
        try:
            return super().get_collection(name, database_name=database_name)
        except CollectionNotFoundError:
            raise
        except Exception:
            mend_collection(self._folder_of(name), without_copies=True, thorough=True)
            return super().get_collection(name, database_name=database_name)

    def mend(self, name: str) -> None:
        """Close a collection that cannot be loaded, and mend its files."""
        self._drop(name)
        mend_collection(self._folder_of(name), without_copies=True, thorough=True)

    def reopen(self, name: str) -> None:
        """Open a collection anew from its files and its log."""
        if (collection := self._drop(name)) is None:
            return
        try:
            mend_collection(self._folder_of(name), without_copies=False)
            if collection.load_state == "loaded":
                self.get_collection(name).load()
        except Exception as error:  # tried again at the next call
            logger.warning("%s cannot be opened anew: %s", name, error)

    def _drop(self, name: str) -> Any:
        collection = self._collections.pop(("default", name), None)
        if collection is not None:
            collection._bg_closed = True
            collection._bg_executor.shutdown(wait=True)
        return collection

    def _folder_of(self, name: str) -> Path:
        return Path(self._collection_dir(self.resolve_collection_name(name)))

    def _release_lock(self) -> None:
        if self.note:
            self.note.unlink(missing_ok=True)
        super()._release_lock()


def connect(database: Path) -> LiteClient:
    """Own a Milvus Lite database, or find the process that does.

    Raises:
        IndexUnavailableError: something else holds the database, or it cannot be read.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return LiteServer(database)
        except DataDirLockedError as locked:
            note = _read_note(database / _OWNER)
            if note and _is_private_socket(note.address, database) and (link := LiteClient(note.address)).answers():
                return link
            if time.monotonic() > deadline:
                raise IndexUnavailableError(
                    f"cannot open the index {database}",
                    why=f"process {note.pid if note else 'unknown'} holds it and does not answer",
                    fix="end that process, or run a Milvus server and name its URI",
                ) from locked
        except VarPluginError:
            raise
        except Exception as error:  # whatever a damaged database makes Milvus Lite raise
            raise unavailable(database, error) from error
        time.sleep(0.02)


class _Note(NamedTuple):
    """Which process owns a database, and where it listens."""

    pid: int
    address: str


def _read_note(path: Path) -> _Note | None:
    """Return the owner's note; None where there is none, or it is not one that an owner writes."""
    try:
        with open_regular_file(path) as file:
            note = json.loads(file.read(_MAX_OWNER_BYTES))
        return _Note(int(note["pid"]), str(note["address"]))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _is_private_socket(address: str, database: Path) -> bool:
    """Return whether an address that was read from a file is a socket that only the index's user can have made."""
    path = Path(address.removeprefix("unix:"))
    trusted = {os.geteuid(), database.stat().st_uid}
    try:
        folder, sock = path.parent.lstat(), path.lstat()
    except (OSError, ValueError):
        return False
    return (
        path.is_absolute()
        and path.name == _SOCKET
        and path.parent.name.startswith(_SOCKET_FOLDER)
        and stat.S_ISDIR(folder.st_mode)
        and stat.S_ISSOCK(sock.st_mode)
        and not folder.st_mode & 0o077
        and {folder.st_uid, sock.st_uid} <= trusted
    )


def _socket_folder() -> Path:
    """Create a private folder whose path is short enough for a socket in it.

    Raises:
        IndexUnavailableError: there is none.
    """
    given = [os.environ.get(name) for name in ("TMPDIR", "XDG_RUNTIME_DIR")]
    for base in filter(None, (*given, "/tmp", "/var/tmp", "/dev/shm")):  # noqa: S108  (mkdtemp makes the name)
        path = os.path.join(base, f"{_SOCKET_FOLDER}{'x' * 8}", _SOCKET)  # noqa: PTH118
        if len(os.fsencode(path)) <= _MAX_SOCKET_BYTES and _PLAIN_PATH.fullmatch(path):
            with suppress(OSError):
                return Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER, dir=base))
    raise IndexUnavailableError(
        "there is no place for the socket that serves the index",
        why="TMPDIR, XDG_RUNTIME_DIR, /tmp, /var/tmp and /dev/shm are too long, have special characters, or cannot be "
        "written",
        fix="set TMPDIR to a folder with a short path",
    )


def _remove_socket(note_file: Path) -> None:
    """Remove the socket of an owner that was killed."""
    note = _read_note(note_file)
    if note and _is_private_socket(note.address, note_file.parent):
        _remove_socket_folder(Path(note.address.removeprefix("unix:")).parent)


def _remove_socket_folder(folder: Path) -> None:
    """Remove a folder that holds a socket and nothing else."""
    with suppress(OSError):
        (folder / _SOCKET).unlink(missing_ok=True)
        folder.rmdir()


_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library


def release_memory() -> None:
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
