"""A local index and several real processes: the first one serves it, and another takes over when it ends."""

from __future__ import annotations

import json
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pymilvus import MilvusClient

from tests.colors import color_suite
from tests.films import Film, textured
from var_plugin.api import open_index
from var_plugin.errors import IndexUnavailableError
from var_plugin.index.milvus import client, lite_server
from var_plugin.index.milvus.client import Store
from var_plugin.index.milvus.options import MilvusOptions
from var_plugin.types import Filter

ROOT = Path(__file__).parents[2]
WORKER = """
import sys
from tests.colors import color_suite
from var_plugin.index.milvus.client import Store
from var_plugin.api import open_index
from var_plugin.types import Filter
index = open_index(sys.argv[1], suite=color_suite())
print("open", flush=True)
for line in sys.stdin:
    receipt = index.add(line.strip())
    print(receipt.model_dump_json(), flush=True)
index.close()
"""


class Worker:
    """A process with an open index that adds files on request."""

    def __init__(self, database: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(database)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert self.answer() == "open"

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, path: Path) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()

    def add(self, path: Path) -> str:
        self.tell(path)
        return str(json.loads(self.answer())["videos"][0]["status"])

    def end(self) -> None:
        self.process.communicate()


@contextmanager
def worker(database: Path) -> Iterator[Worker]:
    started = Worker(database)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def films(film: Film, count: int) -> list[Path]:
    return [film(f"{i}.mp4", seconds=1, fps=4, paint=lambda time, seed=i: textured(seed, 16, 16)) for i in range(count)]


def test_processes_share_an_index_and_its_server(tmp_path: Path, film: Film) -> None:
    database = tmp_path / "a.db"
    paths = films(film, 5)
    with worker(database) as owner, open_index(database, suite=color_suite()) as index:
        assert owner.add(paths[0]) == "stored"
        assert len(index.videos()) == 1
        assert index.add(paths[1]).ok
        assert owner.add(paths[1]) == "unchanged"
        with worker(database) as third:
            owner.end()
            assert index.add(paths[2]).ok, "handed over in order"
            assert third.add(paths[3]) == "stored"
        assert index.add(paths[4]).ok
        assert len(index.search("red", k=10)) == 5
        assert index.size() == {"scene": 10}


@pytest.mark.parametrize("moment", ["idle", "busy"])
def test_a_killed_owner_is_replaced(tmp_path: Path, film: Film, moment: str) -> None:
    database = tmp_path / "a.db"
    first, second = films(film, 2)
    with worker(database) as owner, open_index(database, suite=color_suite()) as index:
        assert owner.add(first) == "stored"
        assert len(index.search("red")) == 1
        if moment == "busy":
            owner.tell(second)
        owner.process.send_signal(signal.SIGKILL)
        owner.process.wait()
        assert first in {Path(result.uri) for result in index.search("red")}
        assert index.add(second).ok
        assert {Path(video.uri) for video in index.videos() if video.state == "committed"} == {first, second}
        assert index.size() == {"scene": 4}
    sockets = json.loads((database / "lease.json").read_text()) if (database / "lease.json").exists() else None
    assert sockets is None, "an owner that ends in order leaves no address"


def test_an_owner_that_ends_during_a_connection_is_replaced(
    tmp_path: Path, film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "a.db"
    (path,) = films(film, 1)
    open_client = Store._open_client
    monkeypatch.setattr(client, "MilvusOptions", lambda: MilvusOptions(timeout=1))
    with worker(database) as owner:
        assert owner.add(path) == "stored"

        def open_late(store: Store, address: str) -> MilvusClient:
            owner.process.kill()
            owner.process.wait()
            return open_client(store, address)

        monkeypatch.setattr(Store, "_open_client", open_late)
        with open_index(database, suite=color_suite()) as index:
            assert [video.uri for video in index.videos()] == [str(path)]


def test_a_busy_owner_gets_more_time(tmp_path: Path, film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, an owner may answer after more time than one attempt to connect takes."""
    database = tmp_path / "a.db"
    (path,) = films(film, 1)
    attempts = 0
    open_client = Store._open_client

    def count(store: Store, address: str) -> MilvusClient:
        nonlocal attempts
        attempts += 1
        if attempts == 3:
            owner.process.send_signal(signal.SIGCONT)
        return open_client(store, address)

    monkeypatch.setattr(Store, "_open_client", count)
    with worker(database) as owner:
        assert owner.add(path) == "stored"
        owner.process.send_signal(signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr(client, "MilvusOptions", lambda: MilvusOptions(timeout=0.2))
            patch.setattr(lite_server, "TIMEOUT_SECONDS", 0.0)
            message = f"process {owner.process.pid} holds it and does not answer"
            with pytest.raises(IndexUnavailableError, match=message):
                open_index(database, suite=color_suite()).verify()
            patch.setattr(lite_server, "TIMEOUT_SECONDS", 60.0)
            patch.setattr(client, "MilvusOptions", lambda: MilvusOptions(timeout=2.0 if attempts > 2 else 0.2))
            with open_index(database, suite=color_suite()) as index:
                assert index.verify().ok
    assert attempts >= 3


def test_two_processes_that_add_one_video_store_it_once(tmp_path: Path, film: Film) -> None:
    database = tmp_path / "a.db"
    paths = films(film, 4)
    with worker(database) as one, worker(database) as other:
        for path in paths:
            one.tell(path)
            other.tell(path)
        statuses = [
            (json.loads(one.answer())["videos"][0]["status"], json.loads(other.answer())["videos"][0]["status"])
            for _ in paths
        ]
    assert all(sorted(pair) == ["stored", "unchanged"] for pair in statuses)
    with open_index(database, suite=color_suite()) as index:
        assert index.size() == {"scene": 8}


def test_two_indexes_in_one_process_share_a_server(tmp_path: Path, film: Film) -> None:
    (path,) = films(film, 1)
    with open_index(tmp_path / "a.db", suite=color_suite()) as first:
        first.add(path)
        second = open_index(tmp_path / "a.db", suite=color_suite())
        assert len(second.videos()) == 1
    assert len(second.search("red")) == 1
    second.close()


def test_rows_of_a_leftover_log_are_not_duplicated(tmp_path: Path, film: Film) -> None:
    """Milvus Lite flushes rows, then removes its log. After a kill in between, it would replay the log."""
    database = tmp_path / "a.db"
    flush = Store.flush
    logs = tmp_path / "logs"

    def copy_logs(self: Store, collection: str) -> None:
        shutil.copytree(database / "collections" / collection / "wal", logs / collection, dirs_exist_ok=True)
        flush(self, collection)

    with pytest.MonkeyPatch.context() as patch, open_index(database, suite=color_suite()) as index:
        patch.setattr(Store, "flush", copy_logs)
        assert index.add(films(film, 3)).ok
    for collection in logs.iterdir():
        shutil.copytree(collection, database / "collections" / collection.name / "wal", dirs_exist_ok=True)
    with open_index(database, suite=color_suite()) as index:
        assert len(index.videos()) == 3
        assert index.size() == {"scene": 6}
        assert index.verify().ok


DAMAGE = {
    "empty": lambda content: b"",
    "short": lambda content: content[:-3],
    "other": lambda content: b"\x00" * len(content),
}


@pytest.fixture(scope="module")
def two_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of two videos, stored by two owners in turn, so that every kind of file exists."""
    folder = tmp_path_factory.mktemp("stored")
    for path in films(Film(folder), 2):
        with open_index(folder / "a.db", suite=color_suite()) as index:
            assert index.add(path).ok
    with open_index(folder / "a.db", suite=color_suite()) as index:
        index.verify()
    return folder / "a.db"


@pytest.fixture
def stored(two_videos: Path, tmp_path: Path) -> Path:
    """A copy of the index of two videos."""
    return shutil.copytree(two_videos, tmp_path / "a.db")


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "files",
    ["collections/*/partitions/*/indexes/*.idx", "collections/*/manifest.json", "snapshots/*.snapshot", "lease.json"],
)
def test_derived_files_are_rebuilt(stored: Path, files: str, damage: str) -> None:
    if files == "lease.json":
        (stored / files).write_text(json.dumps({"pid": 1, "address": "unix:/nowhere/var-plugin-x/milvus"}))
    damaged = list(stored.glob(files))
    assert damaged
    for file in damaged:
        file.write_bytes(DAMAGE[damage](file.read_bytes()))
    with open_index(stored, suite=color_suite()) as index:
        assert len(index.videos()) == 2
        assert len(index.search("red", k=9)) == 2
        assert index.verify().ok
        index.delete(index.videos()[0].video_id)
    with open_index(stored, suite=color_suite()) as index:
        assert (len(index.videos()), index.verify().ok) == (1, True)


def test_a_rebuilt_manifest_contains_all_flushed_rows(stored: Path) -> None:
    for manifest in stored.glob("collections/*/manifest.json"):
        (manifest.parent / "manifest.json.prev").unlink()
        manifest.write_bytes(b"{")
    with open_index(stored, suite=color_suite()) as index:
        assert (len(index.videos()), index.verify().ok) == (2, True)
        assert len(index._inner.search_segments("scene", np.ones(3, np.float32), limit=9, filter=Filter())) == 4


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_end_of_a_log_is_accepted(tmp_path: Path, damage: str) -> None:
    """Only rows that were flushed are acknowledged."""
    database = tmp_path / "a.db"
    script = """
import os, signal, sys
from tests.index.milvus.test_snapshot import ensure, made_row
from var_plugin.index.milvus.client import Store
store = Store(sys.argv[1])
ensure(store, "rows")
store.write("rows", [made_row(number) for number in range(10)])
store.flush("rows")
store.write("rows", [made_row(number) for number in range(10, 13)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(database)], cwd=ROOT, check=False)
    (log,) = database.glob("collections/rows/wal/*.arrow")
    log.write_bytes(DAMAGE[damage](log.read_bytes()))
    store = Store(database)
    store.load("rows")
    assert store.count("rows") in (10, 13)
    store.close()


@pytest.mark.parametrize("damage", [*DAMAGE, "gone", "middle"])
def test_damaged_rows_are_reported_and_embedded_again(
    stored: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = sorted(stored.glob("collections/footage__scene/partitions/*/data/*.parquet"))[0]
    content = file.read_bytes()
    middle = len(content) // 4
    if damage == "gone":
        file.unlink()
    elif damage == "middle":
        file.write_bytes(content[:middle] + b"\xff" * 64 + content[middle + 64 :])
    else:
        file.write_bytes(DAMAGE[damage](content))
    shutil.rmtree(stored / "snapshots")
    with open_index(stored, suite=color_suite()) as index:
        verification = index.verify()
        assert [problem.kind for problem in verification.problems] == ["count"]
        assert str(file) in caplog.text
        assert "verify --repair" in caplog.text
        assert index.repair(verification).ok
        assert index.verify().ok
    assert (damage == "gone") or len(list(stored.glob("damaged/footage__scene/*"))) == 1


@pytest.mark.parametrize("name", ["footage__videos/partitions/*/data/*.parquet", "*/schema.json"])
def test_files_that_cannot_be_rebuilt_are_named(stored: Path, name: str) -> None:
    file = sorted(stored.glob(f"collections/{name}"))[0]
    file.write_bytes(b"")
    shutil.rmtree(stored / "snapshots")
    with pytest.raises(IndexUnavailableError, match=re.escape(str(file))) as caught:
        open_index(stored, suite=color_suite())
    assert "restore the index from a backup" in str(caught.value)


def test_an_owner_without_a_final_write_counts_as_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = tmp_path / "a.db/lease.json"
    release = lite_server._Database._release_lock
    there: list[tuple[bool, bool]] = []

    def seen(self: lite_server._Database) -> None:
        before = note.exists()
        release(self)
        there.append((before, note.exists()))

    monkeypatch.setattr(lite_server._Database, "_release_lock", seen)
    open_index(tmp_path / "a.db", suite=color_suite()).close()
    assert there == [(True, False)]


@pytest.mark.slow
def test_an_owner_does_not_disconnect_waiting_clients(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """pymilvus pings its server continuously. gRPC servers disconnect such clients after 150 s by default."""
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        time.sleep(200)
        assert index.videos() == []
    assert "too_many_pings" not in capfd.readouterr().err


def test_other_users_cannot_connect(tmp_path: Path) -> None:
    with open_index(tmp_path / "a.db", suite=color_suite()):
        socket = Path(json.loads((tmp_path / "a.db/lease.json").read_text())["address"].removeprefix("unix:"))
        assert socket.is_socket()
        for folder in (tmp_path / "a.db", socket.parent):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not socket.parent.exists()


def test_a_process_that_holds_the_index_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program may lock the database without serving it."""
    from milvus_lite.db import MilvusLite

    monkeypatch.setattr(lite_server, "TIMEOUT_SECONDS", 0.1)
    stranger = MilvusLite(str(tmp_path / "a.db"))
    with pytest.raises(IndexUnavailableError, match="process unknown holds it and does not answer"):
        open_index(tmp_path / "a.db", suite=color_suite())
    stranger.close()
    open_index(tmp_path / "a.db", suite=color_suite()).close()


def test_a_damaged_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    open_index(tmp_path / "a.db", suite=color_suite()).close()
    (tmp_path / "a.db/collections").rename(tmp_path / "lost")
    (tmp_path / "a.db/collections").write_text("no folder")
    with pytest.raises(IndexUnavailableError, match="cannot open the index"):
        open_index(tmp_path / "a.db", suite=color_suite())
