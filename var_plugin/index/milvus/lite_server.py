"""Milvus Lite shared by the processes of one user: the first one serves the database, the others connect to it.

Milvus Lite lets one process open a database. Its lock ends with that process, however the process exits. The process
that gets the lock serves the database on a Unix socket and publishes the address in a lease file beside it. Other
processes connect to that address. After the server exits, the next operation of another process cannot connect and
tries to get the lock itself.

The socket and the database are in folders with mode 0700: no port is opened, and other users cannot connect.
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
from var_plugin.index.milvus.lite_folder import check_folder, repair_collection, repair_folder, unavailable
from var_plugin.private_files import create_private_file, open_regular_file

logger = logging.getLogger(__name__)

_LEASE = "lease.json"
_MAX_LEASE_BYTES = 4_096
_SOCKET_FOLDER = "var-plugin-"
_SOCKET = "milvus"
# The limit is 107 bytes on Linux and 103 on macOS.
_MAX_SOCKET_BYTES = 103
# gRPC reads a path of these characters without escapes.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._+@=-]*")
TIMEOUT_SECONDS = 60.0
"""Time to wait for the process that serves a database. On a busy machine, it may answer after many seconds."""
_WORKERS = 10
_MAX_MESSAGE_BYTES = 256 * 1024 * 1024
# According to Milvus Lite, concurrent writes to one collection are unsafe.
_SERIALIZED = ("CreateCollection", "DropCollection", "CreateIndex", "LoadCollection", "Upsert", "Delete", "Flush")
_WRITES = ("Upsert", "Delete", "Flush")


class LiteClient:
    """The address of a database that another process serves."""

    def __init__(self, address: str) -> None:
        self.address = address

    def is_alive(self) -> bool:
        """Return whether the server accepts connections."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.address.removeprefix("unix:"))
            except OSError:
                return False
        return True

    def close(self) -> None:
        """Do nothing: a client holds no resources."""


class LiteServer(LiteClient):
    """The database of this process, served to itself and to other processes.

    Raises:
        DataDirLockedError: another process serves it.
        IndexUnavailableError: the folder cannot be opened safely, or is damaged.
        OSError: the folder cannot be read or written.
    """

    def __init__(self, database: Path) -> None:
        database.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(database)
        patch_flush()
        patch_index_save()
        self._lease_file = database / _LEASE
        self._database = _Database(str(database))
        self._writing = threading.Lock()
        with ExitStack() as cleanup:
            cleanup.callback(self._database.close)
            _remove_stale_socket(self._lease_file)
            repair_folder(database, was_killed=self._lease_file.exists())
            self._folder = _create_socket_folder()
            cleanup.callback(_remove_socket_folder, self._folder)
            super().__init__(f"unix:{self._folder / _SOCKET}")
            self._server = grpc.server(
                ThreadPoolExecutor(_WORKERS),
                options=[
                    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
                    # pymilvus pings every 10 s. By default, a gRPC server closes such a connection during a call.
                    ("grpc.keepalive_permit_without_calls", 1),
                    ("grpc.http2.max_ping_strikes", 0),
                ],
            )
            milvus_pb2_grpc.add_MilvusServiceServicer_to_server(self._servicer(), self._server)
            self._server.add_insecure_port(self.address)
            self._server.start()
            cleanup.callback(lambda: self._server.stop(grace=None).wait())
            self._write_lease()
            cleanup.pop_all()
        atexit.register(self.close)

    def close(self) -> None:
        """Stop serving, then release the lock of the database."""
        atexit.unregister(self.close)
        self._server.stop(grace=2).wait()
        with self._writing:
            self._database.lease_file = self._lease_file
            self._database.close()
        _remove_socket_folder(self._folder)

    def _servicer(self) -> Any:
        servicer = MilvusServicer(self._database)
        servicer.LoadCollection = self._with_repair(servicer.LoadCollection)
        servicer.Flush = _with_release(servicer.Flush)
        for name in _WRITES:
            setattr(servicer, name, self._with_reopen(getattr(servicer, name)))
        for name in _SERIALIZED:
            setattr(servicer, name, self._serialized(getattr(servicer, name)))
        return servicer

    def _serialized(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a method to hold the write lock."""

        @wraps(method)
        def call(*arguments: Any) -> Any:
            with self._writing:
                return method(*arguments)

        return call

    def _with_repair(self, load: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the method that loads a collection: repair the collection and retry if loading fails."""

        @wraps(load)
        def call(request: Any, context: Any) -> Any:
            status = load(request, context)
            if _has_failed(status) and self._database.has_collection(request.collection_name):
                self._database.repair(request.collection_name)
                status = load(request, context)
            return status

        return call

    def _with_reopen(self, write: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a method that writes: reopen the collection after a failure.

        Milvus Lite drops rows from memory that are only in its log.
        """

        @wraps(write)
        def call(request: Any, context: Any) -> Any:
            response = write(request, context)
            if _has_failed(response.status):
                names = getattr(request, "collection_names", None) or [request.collection_name]
                for name in names:
                    self._database.reopen(name)
            return response

        return call

    def _write_lease(self) -> None:
        partial = self._lease_file.with_suffix(".partial")
        with create_private_file(partial) as file:
            file.write(json.dumps({"pid": os.getpid(), "address": self.address}).encode())
        partial.replace(self._lease_file)


def _has_failed(status: Any) -> bool:
    return bool(status.code or status.error_code)


class _Database(MilvusLite):  # type: ignore[misc]
    """Milvus Lite that repairs collections and removes the lease file between its last write and its unlock.

    A process that is killed before that leaves its lease file. After the unlock, the lease belongs to the next server.
    """

    lease_file: Path | None = None

    def get_collection(self, name: str, database_name: str = "default") -> Any:
        try:
            return super().get_collection(name, database_name=database_name)
        except CollectionNotFoundError:
            raise
        except Exception:
            repair_collection(self._folder_of(name), remove_indexes=True, thorough=True)
            return super().get_collection(name, database_name=database_name)

    def repair(self, name: str) -> None:
        """Close a collection that cannot be loaded and repair its files."""
        self._close_collection(name)
        repair_collection(self._folder_of(name), remove_indexes=True, thorough=True)

    def reopen(self, name: str) -> None:
        """Reopen a collection from its files and its log."""
        if (collection := self._close_collection(name)) is None:
            return
        try:
            repair_collection(self._folder_of(name), remove_indexes=False)
            if collection.load_state == "loaded":
                self.get_collection(name).load()
        except Exception as error:  # the next call retries
            logger.warning("%s cannot be reopened: %s", name, error)

    def _close_collection(self, name: str) -> Any:
        collection = self._collections.pop(("default", name), None)
        if collection is not None:
            collection._bg_closed = True
            collection._bg_executor.shutdown(wait=True)
        return collection

    def _folder_of(self, name: str) -> Path:
        return Path(self._collection_dir(self.resolve_collection_name(name)))

    def _release_lock(self) -> None:
        if self.lease_file:
            self.lease_file.unlink(missing_ok=True)
        super()._release_lock()


def connect(database: Path) -> LiteClient:
    """Serve a Milvus Lite database, or connect to the process that serves it.

    Raises:
        IndexUnavailableError: the process that holds the database does not answer, or the database cannot be read.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            return LiteServer(database)
        except DataDirLockedError as locked:
            lease = _read_lease(database / _LEASE)
            if lease and _is_private_socket(lease.address, database):
                client = LiteClient(lease.address)
                if client.is_alive():
                    return client
            if time.monotonic() > deadline:
                raise no_answer(database) from locked
        except VarPluginError:
            raise
        except Exception as error:  # a damaged database can make Milvus Lite raise any class
            raise unavailable(database, error) from error
        time.sleep(0.02)


def no_answer(database: Path) -> IndexUnavailableError:
    """Return the error for a process that holds a database and does not answer."""
    lease = _read_lease(database / _LEASE)
    return IndexUnavailableError(
        f"cannot open the index {database}",
        why=f"process {lease.pid if lease else 'unknown'} holds it and does not answer",
        fix="end that process, or run a Milvus server and use its URI",
    )


class _Lease(NamedTuple):
    """The process that serves a database, and its address."""

    pid: int
    address: str


def _read_lease(path: Path) -> _Lease | None:
    """Return the content of a lease file, or None if it is missing or invalid."""
    try:
        with open_regular_file(path) as file:
            lease = json.loads(file.read(_MAX_LEASE_BYTES))
        return _Lease(int(lease["pid"]), str(lease["address"]))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _is_private_socket(address: str, database: Path) -> bool:
    """Return whether an address read from a file is a socket that only the user of the index can have created."""
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


def _create_socket_folder() -> Path:
    """Create a private folder with a path short enough for a socket in it.

    Raises:
        IndexUnavailableError: no temporary folder is suitable.
    """
    configured = [os.environ.get(name) for name in ("TMPDIR", "XDG_RUNTIME_DIR")]
    for base in filter(None, (*configured, "/tmp", "/var/tmp", "/dev/shm")):  # noqa: S108  (mkdtemp makes the name)
        path = os.path.join(base, f"{_SOCKET_FOLDER}{'x' * 8}", _SOCKET)  # noqa: PTH118
        if len(os.fsencode(path)) <= _MAX_SOCKET_BYTES and _PLAIN_PATH.fullmatch(path):
            with suppress(OSError):
                return Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER, dir=base))
    raise IndexUnavailableError(
        "no folder is suitable for the socket that serves the index",
        why="TMPDIR, XDG_RUNTIME_DIR, /tmp, /var/tmp and /dev/shm are too long, have special characters, or are not "
        "writable",
        fix="set TMPDIR to a folder with a short path",
    )


def _remove_stale_socket(lease_file: Path) -> None:
    """Remove the socket of a server that was killed."""
    lease = _read_lease(lease_file)
    if lease and _is_private_socket(lease.address, lease_file.parent):
        _remove_socket_folder(Path(lease.address.removeprefix("unix:")).parent)


def _remove_socket_folder(folder: Path) -> None:
    """Remove a folder that contains a socket and nothing else."""
    with suppress(OSError):
        (folder / _SOCKET).unlink(missing_ok=True)
        folder.rmdir()


def _with_release(flush: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the method that writes rows to disk: release cached memory to the operating system before and after it.

    That takes milliseconds and releases tens of megabytes.
    """

    @wraps(flush)
    def call(request: Any, context: Any) -> Any:
        _release_memory()
        response = flush(request, context)
        _release_memory()
        return response

    return call


_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # GNU C library only


def _release_memory() -> None:
    pa.default_memory_pool().release_unused()
    if _trim:
        _trim(0)


def patch_flush() -> None:
    """Make Milvus Lite 3.2 flush Arrow rows without converting each coordinate to a Python number.

    Other versions may store rows differently and are not patched.
    """
    if version("milvus-lite").startswith("3.2."):
        MemTable._build_data_table = _take_rows


def _take_rows(table: MemTable, positions: list[tuple[int, int]]) -> pa.Table:
    """Return the rows at positions (number of the batch, row in the batch) in the schema on disk."""
    batches = table._insert_batches
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    batch, row = np.array(positions).T
    rows = pa.Table.from_batches(batches).select(table._data_schema.names)
    return rows.take(pa.array(starts[batch] + row))


def patch_index_save() -> None:
    """Make Milvus Lite 3.2 write vector indexes atomically: to a temporary file that is renamed.

    If the disk is full, the index stays in memory and searching continues.
    """
    if version("milvus-lite").startswith("3.2."):
        BruteForceIndex.save = _save_index


def _save_index(index: BruteForceIndex, path: str) -> None:
    partial = Path(f"{path}.tmp")
    try:
        with create_private_file(partial) as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(index._vectors))
            file.write(np.ascontiguousarray(index._vectors).data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        logger.warning("%s was not written: %s", path, error)
