"""Snapshots are current or not used, regardless of writers, kills and damaged files."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.colors import color_suite
from tests.index.milvus.test_snapshot import add_video, ensure, made_row
from var_plugin.api import Index, open_index
from var_plugin.index.milvus import lite_files, snapshot_cache
from var_plugin.index.milvus.client import Reader, Store
from var_plugin.index.milvus.lite_files import CollectionState, collection_state, live_rows
from var_plugin.index.milvus.snapshot import write_snapshot
from var_plugin.index.milvus.snapshot_cache import SnapshotCache
from var_plugin.index.schema import Row
from var_plugin.types import Filter

ROOT = Path(__file__).parents[2]
DIM = 8
ALL = Filter()


def visible_ids(index: Index, k: int = 50) -> set[str]:
    return {moment.video_id for moment in index.search("red", k=k)}


def test_an_outdated_snapshot_is_never_used(tmp_path: Path) -> None:
    """After each random write, deletion, flush or reopening, reads return what the store contains."""
    path, choose = tmp_path / "a.db", random.Random(3)
    expected_rows: dict[str, Row] = {}
    fresh = 0
    store = Store(path)
    for step in range(40):
        ensure(store, "rows")
        action = choose.choice(["write", "write", "delete", "flush", "flush", "reopen"])
        if action == "write":
            rows = [made_row(number, seed=step) for number in choose.sample(range(60), 12)]
            store.write("rows", rows)
            expected_rows |= {str(row["id"]): row for row in rows}
        elif action == "delete":
            video = f"v{choose.randrange(5)}"
            store.delete("rows", f'video_id == "{video}"')
            expected_rows = {key: row for key, row in expected_rows.items() if row["video_id"] != video}
        elif action == "flush":
            store.flush("rows")
        else:
            store.close()
            store = Store(path)
        reader = Reader(store)
        reader.refresh("rows")
        assert store.snapshots
        fresh += store.snapshots.find("rows") is not None
        fields = ("id", "video_id", "start_ms", "anomaly", "vector")
        read_rows = {str(row["id"]): row for row in reader.rows("rows", [], fields)}
        assert read_rows.keys() == expected_rows.keys()
        assert all(
            np.array_equal(read_rows[key]["vector"], np.float32(expected_rows[key]["vector"])) for key in expected_rows
        )
        assert reader.count("rows") == len(expected_rows)
    store.close()
    assert fresh > 12, "the snapshots were hardly used"


def test_searching_does_not_open_milvus_lite(tmp_path: Path) -> None:
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        for number in range(3):
            add_video(index, number)
        expected = index.search("red")
    assert expected
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        assert index.search("red") == expected
        assert index.segments(expected[0].video_id)
        assert not (tmp_path / "a.db/lease.json").exists(), "nobody owns the database"
        add_video(index, 7)
        assert (tmp_path / "a.db/lease.json").exists()
        assert len(visible_ids(index)) == 4


def test_the_first_search_builds_missing_snapshots(tmp_path: Path) -> None:
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        add_video(index, 1)
    shutil.rmtree(tmp_path / "a.db/snapshots")
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        assert len(visible_ids(index)) == 1
    assert {file.name for file in (tmp_path / "a.db/snapshots").glob("*.snapshot")} == {
        "footage__scene.snapshot",
        "footage__videos.snapshot",
    }


def test_changes_of_other_processes_are_visible_at_once(tmp_path: Path) -> None:
    """One process owns Milvus Lite. The other reads snapshots and connects to write."""
    with (
        open_index(tmp_path / "a.db", suite=color_suite()) as writer,
        open_index(tmp_path / "a.db", suite=color_suite()) as reader,
    ):
        for number in range(4):
            add_video(writer, number)
            assert len(visible_ids(reader)) == number + 1
        writer.delete(f"{2:016x}")
        assert visible_ids(reader) == {f"{number:016x}" for number in (0, 1, 3)}
        reader.delete(f"{3:016x}")
        assert visible_ids(writer) == visible_ids(reader) == {f"{number:016x}" for number in (0, 1)}
        assert writer.verify().ok


def test_a_damaged_snapshot_is_rebuilt(tmp_path: Path) -> None:
    folder, other = tmp_path / "a.db/snapshots", tmp_path / "other.db/snapshots"
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        add_video(index, 1)
        index.search("red")
        older = {file.name: file.read_bytes() for file in folder.glob("*.snapshot")}
        add_video(index, 2)
        expected = visible_ids(index)
    assert expected == {f"{number:016x}" for number in (1, 2)}
    with open_index(tmp_path / "other.db", suite=color_suite()) as index:
        for number in (3, 4):
            add_video(index, number)
    whole = {file.name: file.read_bytes() for file in folder.glob("*.snapshot")}
    assert len(whole) == len(older) == 2

    def one_bit(content: bytes) -> bytes:
        place = len(content.rstrip(b"\0")) - 1
        return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]

    for damage in (
        {name: content[: len(content) // 2] for name, content in whole.items()},
        {name: one_bit(content) for name, content in whole.items()},
        dict.fromkeys(whole, b""),
        dict.fromkeys(whole, b"var-plugin snapshot 1\n"),
        {name: (other / name).read_bytes() for name in whole},
        older,
    ):
        for name, content in damage.items():
            (folder / name).write_bytes(content)
        with open_index(tmp_path / "a.db", suite=color_suite()) as index:
            assert visible_ids(index) == expected
        assert {file.name: file.read_bytes() for file in folder.glob("*.snapshot")} == whole


@pytest.mark.parametrize("field", ["vector", "anomaly"])
def test_an_impossible_snapshot_is_rebuilt(tmp_path: Path, field: str, caplog: pytest.LogCaptureFixture) -> None:
    """The checksum is correct, but another program wrote the snapshot."""
    database = tmp_path / "a.db"
    with open_index(database, suite=color_suite()) as index:
        add_video(index, 1)
    path, state = (
        database / "snapshots/footage__scene.snapshot",
        collection_state(database / "collections/footage__scene"),
    )
    assert state is not None
    with pa.ipc.open_file(path.read_bytes()) as reader:
        table = reader.read_all().drop_columns([field])
    if field == "vector":
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(7 * len(table), np.float32)), 7)
        table = table.append_column(field, vectors)
    write_snapshot(path, table, state.fingerprint)
    for damaged in (True, False):
        caplog.clear()
        with open_index(database, suite=color_suite()) as index:
            assert visible_ids(index) == {f"{1:016x}"}
        assert ("is damaged and is not used" in caplog.text) == damaged


def test_rows_without_a_value_get_no_snapshot(tmp_path: Path) -> None:
    """Another program wrote the rows. Milvus Lite decides what they mean."""
    store = Store(tmp_path / "a.db")
    ensure(store, "rows")
    store.write("rows", [made_row(1), made_row(2)])
    store.close()
    (file,) = (tmp_path / "a.db/collections/rows").glob("partitions/*/data/*.parquet")
    table = pq.read_table(file)
    place = table.column_names.index("anomaly")
    pq.write_table(table.set_column(place, "anomaly", pa.array([0.5, None])), file)
    snapshots = SnapshotCache(tmp_path / "a.db")
    snapshots.refresh("rows", force=True)
    assert snapshots.find("rows") is None


def test_a_kill_during_a_snapshot_leaves_a_valid_index(tmp_path: Path) -> None:
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        add_video(index, 1)
    shutil.rmtree(tmp_path / "a.db/snapshots")
    script = """
import os, signal, sys
from var_plugin.index.milvus import snapshot
from tests.colors import color_suite
from var_plugin.api import open_index
class Dying:
    def __init__(self, file): self.file = file
    def __getattr__(self, name): return getattr(self.file, name)
    def __enter__(self): return self
    def __exit__(self, *error): self.file.close()
    def write(self, content):
        self.file.write(content); self.file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
created = snapshot.create_private_file
snapshot.create_private_file = lambda path: Dying(created(path))
open_index(sys.argv[1], suite=color_suite()).search("red")
"""
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.db")], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "a.db/snapshots").glob("*.partial"))
    assert not list((tmp_path / "a.db/snapshots").glob("*.snapshot"))
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        assert len(visible_ids(index)) == 1
    assert not list((tmp_path / "a.db/snapshots").glob("*.partial"))


def test_unflushed_rows_are_read_from_the_store(tmp_path: Path) -> None:
    """A process that is killed between write and flush leaves such rows."""
    script = """
import os, signal, sys
from tests.index.milvus.test_snapshot import ensure, made_row
from var_plugin.index.milvus.client import Store
store = Store(sys.argv[1])
ensure(store, "rows")
store.write("rows", [made_row(number) for number in range(10)])
store.flush("rows")
store.snapshots.refresh("rows")
assert store.snapshots.find("rows") is not None
store.write("rows", [made_row(number) for number in range(10, 13)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.db")], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    for _ in range(2):  # the second time from the copy that was made when the first one closed
        store = Store(tmp_path / "a.db")
        ensure(store, "rows")
        assert Reader(store).count("rows") == 13
        store.close()


def test_a_large_collection_gets_a_snapshot_after_its_last_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_cache, "_MIN_LARGE_BYTES", 0)
    store = Store(tmp_path / "a.db")
    ensure(store, "rows")
    store.write("rows", [made_row(1)])
    store.flush("rows")
    assert store.snapshots
    store.snapshots.refresh("rows")
    assert store.snapshots.find("rows") is None
    assert Reader(store).count("rows") == 1
    monkeypatch.setattr(snapshot_cache, "_MIN_IDLE_SECONDS", 0.0)
    store.snapshots.refresh("rows")
    assert store.snapshots.find("rows") is not None
    store.close()


def test_a_collection_that_is_merged_while_it_is_read_gets_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "a.db")
    ensure(store, "rows")
    written = iter(range(100))

    def write() -> None:
        store.write("rows", [made_row(next(written))])
        store.flush("rows")

    attempts: list[bool] = []

    def read(state: CollectionState) -> pa.Table | None:
        if not attempts:  # Milvus Lite merges four files
            for _ in range(4):
                write()
            store._lite._database.get_collection("rows")._wait_for_bg()  # type: ignore[union-attr]
        rows = live_rows(state)
        attempts.append(rows is not None)
        return rows

    write()
    monkeypatch.setattr(snapshot_cache, "live_rows", read)
    assert store.snapshots
    pinned = store.snapshots.pin("rows")
    assert attempts == [False, True]
    assert pinned is not None
    assert len(pinned) == 5
    store.close()


def test_a_pinned_reader_reads_the_rows_of_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "a.db")
    ensure(store, "rows")
    ensure(store, "empty")
    store.write("rows", [made_row(1)])
    store.flush("rows")
    store.flush("empty")
    reader = Reader(store).pinned("rows", "empty")
    store.write("rows", [made_row(2)])
    store.flush("rows")
    with monkeypatch.context() as patch:
        patch.delattr(Store, "rows")
        assert [row["id"] for row in reader.rows("rows", [], ["id"])] == [made_row(1)["id"]]
        assert reader.rows("empty", [], ["id"]) == []
    assert Reader(store).count("rows") == 2
    store.close()


def test_a_snapshot_that_cannot_be_written_stays_in_memory(tmp_path: Path) -> None:
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        (tmp_path / "a.db/snapshots").write_text("in the way")
        add_video(index, 1)
        assert len(visible_ids(index)) == 1
        assert index._inner._store.snapshots
        assert index._inner._store.snapshots.find("footage__scene") is not None
    assert (tmp_path / "a.db/snapshots").read_text() == "in the way"


def test_unknown_file_formats_are_read_by_milvus_lite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite_files, "MANIFEST_FORMAT", lite_files.MANIFEST_FORMAT + 1)
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        add_video(index, 1)
        assert len(visible_ids(index)) == 1
    assert not (tmp_path / "a.db/snapshots").exists()


def test_threads_can_search_during_a_write(tmp_path: Path) -> None:
    """Every search returns all videos that were committed before."""
    committed, wrong = 0, []
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                before = committed
                visible = len(visible_ids(index))
                if not before <= visible <= committed + 1:
                    wrong.append((before, visible, committed))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(6):
            add_video(index, number)
            committed += 1
        done.set()
        for thread in threads:
            thread.join()
    assert not wrong
