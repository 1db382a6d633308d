"""Contract of an index: one abstract test suite for Milvus Lite and for Milvus servers."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.colors import color_suite
from tests.films import Film, textured
from var_plugin.api import Index, open_index, restore_index
from var_plugin.encoders.base import l2_normalize
from var_plugin.errors import FingerprintMismatchError, InvalidInputError, StoreError, UnknownVideoError
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.index.milvus.client import Store
from var_plugin.index.schema import segment_schema
from var_plugin.ingest.retention import prune
from var_plugin.types import Filter, Segment

RED, GREEN, BLUE = np.eye(3)
CAMERA = "Nord \"1\" \\ 'ä'"
_names = (f"test{number}" for number in itertools.count())


def entry(video_id: str, recorded_at: int = 1_000) -> Entry:
    return Entry(
        video_id=video_id,
        state="pending",
        content=f"hash of {video_id}",
        sightings=(Sighting(path=f"/footage/{video_id}.mp4", camera=CAMERA, recorded_at=recorded_at),),
        duration=24.0,
        metadata={"floor": 1, "gate": "süd", "lit": True},
        settings="s",
        rows={},
        added_at=5,
    )  # fmt: skip


def rows(*colors: np.ndarray) -> dict[str, tuple[list[Segment], np.ndarray]]:
    segments = [Segment(start=8.0 * i, end=8.0 * i + 8, key=8.0 * i + 4, anomaly=i / 10) for i in range(len(colors))]
    return {"scene": (segments, l2_normalize(np.array(colors, float)))}


def row(key: str, vector: np.ndarray, video_id: str = "v") -> dict[str, object]:
    return {
        "id": key, "video_id": video_id, "camera": "c", "kind": "uniform", "start_ms": 0, "end_ms": 8, "key_ms": 4,
        "recorded_at": -1, "anomaly": 0.5, "novelty": 0.0, "events": {"fire": 0.6}, "trained": {}, "reason": "",
        "metadata": {"floor": 2}, "vector": vector.tolist(),
    }  # fmt: skip


class StoreContract:
    """Subclasses have a fixture `location`, the address of a store."""

    @pytest.fixture
    def name(self) -> str:
        return next(_names)

    @pytest.fixture
    def store(self, location: str, name: str) -> Iterator[Store]:
        opened = Store(location)
        opened.ensure(name, lambda: segment_schema(3), vector="vector", metric="IP")
        yield opened
        opened.drop(name)
        opened.close()

    @pytest.fixture
    def index(self, location: str, name: str) -> Iterator[Index]:
        with open_index(location, suite=color_suite(), name=name) as opened:
            yield opened
            opened._inner.remove_inactive_generations()
            for collection in (f"{name}__scene", f"{name}__scene__2", f"{name}__scene__3", f"{name}__videos"):
                opened._inner._store.drop(collection)

    def test_writing_an_existing_key_replaces_its_row(self, store: Store, name: str) -> None:
        store.write(name, [row("a", RED), row("b", GREEN)])
        store.write(name, [{**row("a", BLUE), "metadata": {"gate": 1}}])
        store.flush(name)
        assert store.count(name) == 2
        (stored_row,) = store.rows(name, 'id == "a"', ["id", "metadata", "vector"])
        assert (stored_row["metadata"], stored_row["vector"]) == ({"gate": 1}, BLUE.tolist())

    def test_written_rows_are_counted_read_and_searched_at_once(self, store: Store, name: str) -> None:
        vectors = l2_normalize(np.random.default_rng(1).normal(size=(2_300, 3)))
        store.write(name, [row(f"{i:05}", vector, f"v{i % 7}") for i, vector in enumerate(vectors)])
        assert store.count(name, 'video_id == "v3"') == len(range(3, 2_300, 7))
        assert len(store.rows(name, 'video_id == "v3"', ["id"])) == len(range(3, 2_300, 7))
        assert sorted(r["id"] for page in store.scan(name, ["id"]) for r in page) == [f"{i:05}" for i in range(2_300)]
        hits = store.search(name, vectors[7], limit=20, expression='video_id == "v0"', fields=["id", "anomaly"])
        exact = sorted(range(0, 2_300, 7), key=lambda i: -float(vectors[i] @ vectors[7]))[:20]
        assert [hit["id"] for _, hit in hits] == [f"{i:05}" for i in exact]
        assert [similarity for similarity, _ in hits] == pytest.approx(
            [vectors[i] @ vectors[7] for i in exact], abs=1e-5
        )

    def test_rows_are_deleted_by_expression(self, store: Store, name: str) -> None:
        store.write(name, [row("a", RED, "x"), row("b", GREEN, "y")])
        store.delete(name, 'video_id == "x"')
        store.delete(name, 'id in ["c"]')
        assert [each["id"] for each in store.rows(name, "", ["id"])] == ["b"]

    def test_creating_and_dropping_a_collection_twice_is_no_error(self, store: Store, name: str) -> None:
        store.write(name, [row("a", RED)])
        store.ensure(name, lambda: segment_schema(3), vector="vector", metric="IP")
        assert store.count(name) == 1
        store.drop(name)
        store.drop(name)
        assert not store.has(name)

    def test_a_refused_operation_is_an_error_that_names_it(self, store: Store, name: str) -> None:
        with pytest.raises(StoreError, match="could not read 'nothing'"):
            store.rows("nothing", "", ["id"])

    def test_a_video_is_added_searched_replaced_and_deleted(self, index: Index) -> None:
        assert index._inner.write(entry("v1"), rows(RED, GREEN, BLUE)) == {"scene": 3}
        index._inner.write(entry("v2"), rows(RED))
        (best, *_) = index._inner.search_segments(
            "scene", l2_normalize(GREEN), limit=10, filter=Filter(metadata={"gate": "süd"})
        )
        assert (best.video_id, best.camera, best.start, best.recorded_at) == ("v1", CAMERA, 8.0, 9_000)
        assert (
            len(index._inner.search_segments("scene", l2_normalize(RED), limit=10, filter=Filter(cameras=(CAMERA,))))
            == 4
        )
        for metadata, count in (({"lit": True}, 4), ({"lit": 1}, 0), ({"floor": True}, 0), ({"floor": 1}, 4)):
            assert (
                len(
                    index._inner.search_segments("scene", l2_normalize(RED), limit=10, filter=Filter(metadata=metadata))
                )
                == count
            ), metadata
        assert index._inner.write(entry("v1"), rows(BLUE)) == {"scene": 1}
        assert index.size() == {"scene": 2}
        index._inner.update(entry("v2").model_copy(update={"state": "deleting"}))
        assert {
            hit.video_id for hit in index._inner.search_segments("scene", l2_normalize(RED), limit=10, filter=Filter())
        } == {"v1"}
        index.delete("v2")
        with pytest.raises(UnknownVideoError):
            index.delete("v2")
        assert index.verify().ok

    def test_damage_is_detected_and_repaired(self, index: Index, name: str, film: Film) -> None:
        paths = [film(f"{i}.mp4", seconds=1, fps=4, paint=lambda time, i=i: textured(i, 16, 16)) for i in range(4)]
        ids = [line.video_id for line in index.add(paths).videos]
        verification = index.verify()
        assert (verification.ok, verification.videos, verification.rows) == (True, 4, {"scene": 8})
        store, scene = index._inner._store, f"{name}__scene"
        (missing, *_) = store.rows(scene, f'video_id == "{ids[0]}"', ["id"])
        store.delete(scene, f'id == "{missing["id"]}"')
        (changed, *_) = store.rows(scene, f'video_id == "{ids[1]}"', ["*"])
        store.write(scene, [{**changed, "vector": l2_normalize(BLUE).tolist()}])
        store.write(scene, [{**changed, "video_id": "stranger", "id": "x"}])
        (wrong, *_) = store.rows(scene, f'video_id == "{ids[2]}"', ["*"])
        store.write(scene, [{**wrong, "vector": [2.0, 0.0, 0.0]}])
        half = index._inner.entry(str(ids[3]))
        assert half is not None
        index._inner.update(half.model_copy(update={"state": "pending"}))
        problems = {(problem.kind, problem.video_id) for problem in index.verify().problems}
        assert problems == {
            ("count", ids[0]), ("changed", ids[1]), ("orphan", "stranger"), ("vector", ids[2]), ("changed", ids[2]),
            ("unfinished", ids[3]),
        }  # fmt: skip
        paths[0].unlink()
        receipt = index.repair(index.verify())
        assert {line.path: line.status for line in receipt.videos} == {
            str(paths[0]): "failed", str(paths[1]): "stored", str(paths[2]): "stored", str(paths[3]): "stored",
        }  # fmt: skip
        assert {problem.video_id for problem in index.verify().problems} == {ids[0]}, "its film is gone"
        index.delete(str(ids[0]))
        assert index.verify().ok

    def test_reindexing_switches_to_another_suite(self, index: Index, location: str, name: str, film: Film) -> None:
        paths = [film(f"{i}.mp4", seconds=1, fps=4, paint=lambda time, i=i: textured(i, 16, 16)) for i in range(3)]
        index.add(paths)
        (deleted,) = [video for video in index.videos() if video.uri == str(paths[2])]
        hidden = paths[2].rename(paths[2].with_suffix(".away"))
        with open_index(location, suite=color_suite(), name=name) as other:
            receipt = index.reindex(color_suite("second"))
            assert [(line.status, line.exit_code) for line in receipt.videos] == [
                ("stored", 0),
                ("stored", 0),
                ("failed", 3),
            ]
            assert len(other.search("red", k=9)) == 3, "the old generation counts"
            hidden.rename(paths[2])
            receipt = index.reindex(color_suite("second"))
            assert [line.video_id for line in receipt.videos] == [deleted.video_id], "the others were done already"
            assert index._inner.generation.number == 2
            assert (len(index.search("red", k=9)), index.verify().ok) == (3, True)
            with pytest.raises(FingerprintMismatchError) as caught:
                other.search("red")
            for suite in (color_suite(), color_suite("second")):
                assert suite.fingerprint in str(caught.value)
            with pytest.raises(FingerprintMismatchError):
                other.videos()
            assert index.add(paths[0]).videos[0].status == "unchanged"
        assert not index._inner._store.has(f"{name}__scene"), "the old vectors are gone"

    def test_rewriting_copies_the_vectors_and_other_processes_switch(
        self, index: Index, location: str, name: str
    ) -> None:
        index._inner.write(entry("v1"), rows(RED, GREEN))
        index._inner.write(entry("v2"), rows(BLUE))
        index.delete("v2")
        with open_index(location, suite=color_suite(), name=name) as other:
            assert index.reindex(color_suite()).ok, "needs no footage"
            assert index._inner.generation.number == 2
            assert len(other._inner.search_segments("scene", l2_normalize(RED), limit=9, filter=Filter())) == 2
            other._inner.write(entry("v3"), rows(BLUE))
            assert other._inner.generation.number == 2
        assert index.size() == {"scene": 3}
        assert index.verify().ok

    def test_a_backup_is_restored_at_another_path(self, index: Index, tmp_path: Path) -> None:
        index._inner.write(entry("v1"), rows(RED, GREEN))
        index._inner.write(entry("v2"), rows(BLUE))
        index._inner.write(entry("half"), rows(BLUE))
        index._inner.update(entry("half"))
        manifest = index.backup(tmp_path / "saved")
        assert (manifest.videos, manifest.rows) == (2, {"scene": 3})
        assert restore_index(tmp_path / "saved", tmp_path / "copy.db") == manifest
        with open_index(tmp_path / "copy.db", suite=color_suite()) as copy:
            assert copy.verify().ok
            assert [video for video in index.videos() if video.state == "committed"] == copy.videos()
            here, there = (
                i._inner.search_segments("scene", l2_normalize(GREEN), limit=9, filter=Filter()) for i in (index, copy)
            )
            assert here[0] == there[0]
            assert {hit.start for hit in here} == {hit.start for hit in there}
        with pytest.raises(InvalidInputError, match="there is an index"):
            restore_index(tmp_path / "saved", index.uri, name=index._inner._name)
        with pytest.raises(InvalidInputError, match="never overwrites"):
            index.backup(tmp_path / "saved")
        scene = tmp_path / "saved/scene.jsonl"
        scene.write_text(scene.read_text().replace("uniform", "anomaly", 1))
        with pytest.raises(InvalidInputError, match=r"scene\.jsonl has changed"):
            restore_index(tmp_path / "saved", tmp_path / "other.db")
        assert not (tmp_path / "other.db").exists()
        shutil.rmtree(tmp_path / "saved")

    def test_pruning_deletes_the_oldest_videos_first(self, index: Index) -> None:
        now = datetime(2026, 11, 1, tzinfo=UTC)
        for days in (1, 9, 40):
            moment = round((now - timedelta(days=days)).timestamp() * 1000)
            video = entry(f"day{days}", recorded_at=moment)
            index._inner.write(video.model_copy(update={"added_at": moment}), rows(RED))
        added_at = round(now.timestamp() * 1000)
        index._inner.write(entry("unknown", recorded_at=-1).model_copy(update={"added_at": added_at}), rows(RED))
        pruned = prune(index._inner, keep_days=10, now=now)
        assert [video.video_id for video in pruned.deleted] == ["day40"]
        assert {video.video_id for video in index.videos()} == {"day1", "day9", "unknown"}
        with pytest.raises(InvalidInputError):
            index.prune(keep_days=0)
