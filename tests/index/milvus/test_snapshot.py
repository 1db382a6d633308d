"""Snapshots return what the store contains, or are not used, regardless of writers and damaged files."""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.colors import color_suite
from tests.index.test_filters import HOSTILE, filters
from var_plugin.api import Index, open_index
from var_plugin.errors import InvalidInputError
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.index.filters import conditions, expression, stored_metadata
from var_plugin.index.milvus import snapshot
from var_plugin.index.milvus.client import Reader, Store
from var_plugin.index.milvus.snapshot import (
    CollectionState,
    Column,
    TextColumn,
    collection_state,
    live_rows,
    read_snapshot,
    write_snapshot,
)
from var_plugin.index.rows import HIT_FIELDS
from var_plugin.index.schema import Row, segment_schema
from var_plugin.types import Filter, Segment

ROOT = Path(__file__).parents[2]
DIM = 8
ALL = Filter()


def made_row(number: int, seed: int = 0) -> Row:
    noise = np.random.default_rng(seed * 1_000 + number)
    vector = noise.standard_normal(DIM)
    metadata = {"place": HOSTILE[number % 7], "floor": number % 3, "lit": number % 2 == 0}
    return {
        "id": hashlib.sha256(str(number).encode()).hexdigest()[:32],
        "video_id": f"v{number % 5}",
        "camera": HOSTILE[number % len(HOSTILE)],
        "kind": ("uniform", "anomaly", "video")[number % 3],
        "start_ms": 1_000 * number,
        "end_ms": 1_000 * number + 500,
        "key_ms": 1_000 * number + 200,
        "recorded_at": -1 if number % 4 == 0 else 1_000 * number,
        "anomaly": float(noise.random()),
        "novelty": float(noise.random()),
        "events": [{}, {"fire": 0.9}, {"fire": 0.2, "traffic accident": 0.7}][number % 3],
        "trained": {},
        "reason": HOSTILE[number % 5],
        "metadata": stored_metadata(metadata if number % 6 else {}),
        "vector": (vector / np.linalg.norm(vector)).astype(np.float32).tolist(),
    }


def ensure(store: Store, name: str, metric: str = "IP") -> None:
    store.ensure(name, lambda: segment_schema(DIM), vector="vector", metric=metric)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store(tmp_path_factory.mktemp("copies") / "rows.db")
    for name, metric in (("ip", "IP"), ("cosine", "COSINE")):
        ensure(opened, name, metric)
        for first in (0, 60):  # two files of rows, and one of deletions
            opened.write(name, [made_row(number) for number in range(first, first + 80)])
            opened.flush(name)
        opened.delete(name, 'video_id == "v4" and start_ms > 100000')
        opened.flush(name)
        assert opened.snapshots
        opened.snapshots.refresh(name)
        assert opened.snapshots.find(name) is not None
    yield opened
    opened.close()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters, st.sampled_from(["ip", "cosine"]), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_snapshot_returns_the_results_of_milvus_lite(
    store: Store, condition: Filter, name: str, limit: int, seed: int
) -> None:
    vector = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    compiled = conditions(condition)
    truth = store.search(name, vector, limit=limit, expression=expression(compiled), fields=HIT_FIELDS)
    assert store.snapshots
    copy = store.snapshots.find(name)
    assert copy is not None
    results = copy.search(vector, metric=name.upper(), limit=limit, conditions=compiled, fields=HIT_FIELDS)
    np.testing.assert_allclose([score for score, _ in results], [score for score, _ in truth], rtol=1e-4, atol=1e-5)
    assert [row for _, row in results] == [row for _, row in truth]
    in_store = store.rows(name, expression(compiled), ("id", *HIT_FIELDS, "metadata"))
    in_copy = copy.rows(compiled, ("id", *HIT_FIELDS, "metadata"))
    assert sorted(in_copy, key=lambda row: str(row["id"])) == sorted(in_store, key=lambda row: str(row["id"]))


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


def add_video(index: Index, number: int, segments: int = 4, like: tuple[float, ...] | None = None) -> None:
    """Store a video without a file. Its vectors are `like`, or random directions."""
    noise = np.random.default_rng(number)
    vectors = np.array([like] * segments if like else noise.standard_normal((segments, 3)), np.float32)
    vectors += noise.normal(0, 1e-3, vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    video_id = f"{number:016x}"
    entry = Entry(
        video_id=video_id, state="pending", content=f"{number:064x}", duration=10.0 * segments, metadata={},
        sightings=(Sighting(path=f"/footage/{number}.mp4", camera="north", recorded_at=-1),),
        settings="test", rows={}, added_at=number,
    )  # fmt: skip
    cut = [Segment(start=20.0 * i, end=20.0 * i + 10, key=20.0 * i + 5) for i in range(segments)]
    with index._inner.lock(video_id):
        index._inner.write(entry, {"scene": (cut, vectors)})


def visible_ids(index: Index, k: int = 50) -> set[str]:
    return {moment.video_id for moment in index.search("red", k=k)}


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


def test_one_video_does_not_hide_the_others(tmp_path: Path) -> None:
    """Six videos have hundreds of nearer segments, eight have a few. All fourteen are found."""
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        for number in range(6):
            add_video(index, number, segments=200, like=(1.0, 0.0, 0.0))
        for number in range(6, 14):
            add_video(index, number, segments=2, like=(0.9, 0.1 * number, 0.2))
        moments = index.search("red", k=14, group_by="video")
    assert len({moment.video_id for moment in moments}) == 14
    assert [moment.score for moment in moments] == sorted((moment.score for moment in moments), reverse=True)


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
        {name: (other / name).read_bytes() for name in whole},
        older,
    ):
        for name, content in damage.items():
            (folder / name).write_bytes(content)
        with open_index(tmp_path / "a.db", suite=color_suite()) as index:
            assert visible_ids(index) == expected
        assert {file.name: file.read_bytes() for file in folder.glob("*.snapshot")} == whole


@pytest.mark.parametrize("field", ["camera", "vector", "gone"])
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
    columns = read_snapshot(path, state.fingerprint)
    assert columns is not None
    if field == "gone":
        del columns["anomaly"]
    elif isinstance(texts := columns["camera"], TextColumn) and field == "camera":
        columns["camera"] = TextColumn(texts.codes + np.int32(1_000), texts.encoded)
    else:
        columns["vector"] = np.zeros((4, 7), np.float32)
    write_snapshot(path, columns, state.fingerprint)
    for damaged in (True, False):
        caplog.clear()
        with open_index(database, suite=color_suite()) as index:
            assert visible_ids(index) == {f"{1:016x}"}
        assert ("is damaged and is not used" in caplog.text) == damaged


def test_every_flipped_bit_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "a.snapshot"
    columns = {
        "start_ms": np.arange(20),
        "video_id": TextColumn(np.zeros(20, np.int32), np.frombuffer(b'["v"]', "u1")),
    }
    write_snapshot(path, columns, "state")
    content = path.read_bytes()
    whole = read_snapshot(path, "state")
    assert whole is not None
    assert isinstance(whole["start_ms"], np.ndarray)
    assert whole["start_ms"].tolist() == list(range(20))
    assert read_snapshot(path, "another state") is None

    def same(read: dict[str, Column] | None, whole: dict[str, Column]) -> bool:
        return read is None or all(
            np.array_equal(getattr(read[name], "codes", read[name]), getattr(whole[name], "codes", whole[name]))
            for name in whole
        )

    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        # The bytes between the columns, which align them, mean nothing.
        assert same(read_snapshot(path, "state"), whole)
        path.write_bytes(content[:place])
        assert same(read_snapshot(path, "state"), whole)


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
    monkeypatch.setattr(snapshot, "_MIN_LARGE_BYTES", 0)
    store = Store(tmp_path / "a.db")
    ensure(store, "rows")
    store.write("rows", [made_row(1)])
    store.flush("rows")
    assert store.snapshots
    store.snapshots.refresh("rows")
    assert store.snapshots.find("rows") is None
    assert Reader(store).count("rows") == 1
    monkeypatch.setattr(snapshot, "_MIN_IDLE_SECONDS", 0.0)
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
    monkeypatch.setattr(snapshot, "live_rows", read)
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
    monkeypatch.setattr(snapshot, "MANIFEST_FORMAT", snapshot.MANIFEST_FORMAT + 1)
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


def test_invalid_filters_raise_before_reading() -> None:
    with pytest.raises(InvalidInputError):
        conditions(Filter(metadata={"a": float("nan")}))
