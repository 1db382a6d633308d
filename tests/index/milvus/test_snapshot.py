"""Snapshots return what the store contains. Damaged files are detected."""

from __future__ import annotations

import hashlib
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
from var_plugin.index.milvus.client import Store
from var_plugin.index.milvus.snapshot import (
    Column,
    Snapshot,
    TextColumn,
    encode_texts,
    read_snapshot,
    table_columns,
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


def test_codes_outside_the_texts_are_detected(tmp_path: Path) -> None:
    codes = pa.DictionaryArray.from_arrays(pa.array([0, 7], pa.int32()), pa.array(["north"]), safe=False)
    write_snapshot(tmp_path / "a.snapshot", pa.table({"camera": codes}), "state")
    assert read_snapshot(tmp_path / "a.snapshot", "state") is None


def test_vectors_are_mapped_without_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "a.snapshot"
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4)
    table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 4)})
    write_snapshot(path, encode_texts(table), "state")
    columns = read_snapshot(path, "state")
    assert columns is not None
    mapped = columns["vector"]
    assert isinstance(mapped, np.ndarray)
    assert not mapped.flags.owndata
    assert not mapped.flags.writeable
    place = path.read_bytes().index(vectors.tobytes())
    with path.open("r+b") as file:  # a change of the file shows in the array
        file.seek(place)
        file.write(np.float32(9).tobytes())
    assert mapped[0, 0] == 9


def test_columns_of_a_part_of_a_table_hold_its_rows(tmp_path: Path) -> None:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6, dtype=np.float32)), 2)
    part = encode_texts(pa.table({"vector": vectors, "start_ms": [1, 2, 3], "video_id": ["a", "b", "c"]})).slice(1, 2)
    write_snapshot(tmp_path / "a.snapshot", part, "state")
    for columns in (table_columns(part), read_snapshot(tmp_path / "a.snapshot", "state")):
        rows = Snapshot(columns or {}, frozenset()).rows([], ["vector", "start_ms", "video_id"])
        assert [(*row["vector"], row["start_ms"], row["video_id"]) for row in rows] == [(2, 3, 2, "b"), (4, 5, 3, "c")]


def test_every_flipped_bit_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "a.snapshot"
    write_snapshot(path, encode_texts(pa.table({"start_ms": range(20), "video_id": ["v"] * 19 + ["w"]})), "state")
    content = path.read_bytes()
    whole = read_snapshot(path, "state")
    assert whole is not None
    assert isinstance(whole["start_ms"], np.ndarray)
    assert whole["start_ms"].tolist() == list(range(20))
    assert read_snapshot(path, "another state") is None

    def values(columns: dict[str, Column]) -> dict[str, list[object]]:
        return {
            name: [column.distinct[code] for code in column.codes] if isinstance(column, TextColumn) else list(column)
            for name, column in columns.items()
        }

    damaged = tmp_path / "damaged.snapshot"
    for place in range(len(content)):
        flipped = content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
        for changed in (flipped, content[:place]):
            damaged.write_bytes(changed)
            read = read_snapshot(damaged, "state")
            # The bytes between the columns, which align them, mean nothing.
            assert read is None or values(read) == values(whole)


def test_invalid_filters_raise_before_reading() -> None:
    with pytest.raises(InvalidInputError):
        conditions(Filter(metadata={"a": float("nan")}))
