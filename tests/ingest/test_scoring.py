from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.colors import color_suite
from tests.crash.life import outdated_scores
from var_plugin.api import Index, open_index, restore_index
from var_plugin.encoders.anomaly import anomaly_score
from var_plugin.encoders.base import Vectors, l2_normalize
from var_plugin.errors import InvalidInputError, UnknownVideoError
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.index.milvus.client import Reader, Store
from var_plugin.index.schema import Row
from var_plugin.ingest.scoring import rescore, score_new_rows
from var_plugin.types import Filter, Segment

RED, GREEN, BLUE = np.eye(3)


def entry(video_id: str, camera: str = "north") -> Entry:
    return Entry(
        video_id=video_id,
        state="pending",
        content=f"hash of {video_id}",
        sightings=(Sighting(path=f"/footage/{video_id}.mp4", camera=camera, recorded_at=-1),),
        duration=24.0,
        metadata={},
        settings="s",
        rows={},
        added_at=5,
    )


def store(index: Index, video_id: str, colors: list[Vectors], *, fighting: float = 0.9, camera: str = "north") -> None:
    """Store a video with one segment per color, and a segment for the whole video."""
    trained = {"fighting": fighting}
    segments = [Segment(start=8.0 * i, end=8.0 * i + 8, key=8.0 * i, trained=trained) for i in range(len(colors))]
    segments.append(Segment(start=0, end=8.0 * len(colors), key=0, kind="video", trained=trained))
    vectors = l2_normalize(np.array([*colors, np.mean(colors, axis=0)]))
    inner = index._inner
    scored, rows = score_new_rows(inner, entry(video_id, camera), {"scene": (segments, vectors)})
    inner.write(scored, rows)


def scores(index: Index) -> dict[tuple[str, float], tuple[float, dict[str, float], str]]:
    """Return the anomaly score, events and reason of every segment, by video and start."""
    hits = index._inner.top_segments("scene", limit=100, filter=Filter())
    return {(hit.video_id, hit.start): (hit.anomaly, dict(hit.events), hit.reason) for hit in hits}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with open_index(tmp_path / "index.db", suite=color_suite(), create=True) as opened:
        store(opened, "red", [RED, RED])
        store(opened, "blue", [BLUE], camera="south")
        yield opened


def test_events_and_novelty_are_combined_by_the_rule(tmp_path: Path) -> None:
    with open_index(tmp_path / "other.db", suite=color_suite(), create=True) as opened:
        segments = [Segment(start=0, end=8, key=0, trained={"fighting": 0.4}, novelty=0.5)]
        _, rows = score_new_rows(opened._inner, entry("v"), {"scene": (segments, l2_normalize(np.array([RED])))})
        ((segment,), _) = rows["scene"]
        expected = anomaly_score(np.array([0.4], np.float32), np.array([0.5], np.float32))
        assert segment.anomaly == pytest.approx(float(expected[0]), abs=1e-3)
        assert segment.events["fighting"] == 0.4


def test_the_whole_video_has_the_scores_of_its_most_anomalous_part(tmp_path: Path) -> None:
    with open_index(tmp_path / "other.db", suite=color_suite(), create=True) as opened:
        segments = [
            Segment(start=0, end=8, key=0, trained={"fighting": 0.1}),
            Segment(start=8, end=16, key=8, trained={"fighting": 0.8}),
            Segment(start=0, end=16, key=0, kind="video", trained={"fighting": 0.2}),
        ]
        vectors = l2_normalize(np.array([RED, BLUE, RED]))
        _, rows = score_new_rows(opened._inner, entry("v"), {"scene": (segments, vectors)})
        assert rows["scene"][0][2].events == rows["scene"][0][1].events
        assert rows["scene"][0][2].anomaly == rows["scene"][0][1].anomaly


def test_a_moment_that_is_normal_lowers_the_scores_of_footage_like_it(index: Index) -> None:
    before = scores(index)
    (moment, *_) = [moment for moment in index.anomalies() if moment.video_id == "red"]
    index.add_example("normal", moment=moment.id)
    after = scores(index)
    assert before["red", 0.0][0] > 0.8
    assert after["red", 0.0][0] < 0.1
    assert "fighting" not in after["red", 0.0][1]
    assert after["blue", 0.0] == before["blue", 0.0], "another camera keeps its scores"


def test_a_moment_that_is_an_alarm_gives_footage_like_it_a_kind(index: Index) -> None:
    store(index, "later", [RED, GREEN], fighting=0.0)
    (moment,) = [moment for moment in index.search("red", k=9) if moment.video_id == "red"]
    index.add_example("alarm", moment=moment.id)
    alarms = index.anomalies(kinds=["alarm"])
    assert {(alarm.video_id, alarm.start) for alarm in alarms} == {("red", 0.0), ("later", 0.0)}
    assert alarms[0].events[0].kind == "alarm"


def test_without_an_example_the_scores_are_as_before(index: Index) -> None:
    before = scores(index)
    moment = index.anomalies(k=1)[0]
    added = index.add_example("normal", moment=moment.id)
    assert scores(index) != before
    assert [marked.id for marked in index.examples()] == [added.id]
    index.remove_example(added.id)
    assert scores(index) == before
    assert index.examples() == []


def test_rescoring_equals_scoring_at_once(index: Index, tmp_path: Path) -> None:
    index.add_example("normal", moment=index.anomalies(k=1)[0].id)
    rescored = scores(index)
    store(index, "red", [RED, RED])
    store(index, "blue", [BLUE], camera="south")
    assert scores(index) == rescored


def test_an_interrupted_rescoring_is_continued(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    store(index, "more", [RED])
    index.add_example("alarm", "red", rescore=False)
    monkeypatch.setattr("var_plugin.ingest.scoring._BATCH_VIDEOS", 1)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rescore(index._inner, interrupt)
    assert rescore(index._inner).videos == 2
    assert rescore(index._inner).videos == 0


def test_an_example_that_is_removed_after_a_kill_has_no_effect(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows were written, the catalog was not. The revision of the examples is then the earlier one again."""
    before = scores(index)
    marked = index.add_example("normal", moment="red-0-8000", rescore=False)

    flush = Store.flush

    def kill(store: Store, collection: str) -> None:
        if collection.endswith("scene"):
            raise KeyboardInterrupt
        flush(store, collection)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "flush", kill)
        index.rescore()
    assert scores(index) != before
    index.remove_example(marked.id)
    assert scores(index) == before


def test_a_moment_of_another_suite_can_be_marked_again(index: Index) -> None:
    marked = index.add_example("normal", moment="red-0-8000", rescore=False)
    index._inner.owner_examples.put(marked.model_copy(update={"fingerprint": "of another suite"}))
    index.rescore()
    assert scores(index)["red", 0.0][0] > 0.8, "it has no effect"
    again = index.add_example("normal", moment="red-0-8000")
    assert [example.id for example in index.examples()] == [again.id]
    assert scores(index)["red", 0.0][0] < 0.1


def test_examples_that_change_during_a_rescoring_are_applied(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process marks a moment and scores the index again after this process has read the examples."""
    index.add_example("alarm", moment="red-0-8000", rescore=False)
    inner = index._inner
    pinned_reader = inner.pinned_reader

    def mark_another() -> Reader:
        monkeypatch.setattr(inner, "pinned_reader", pinned_reader)
        reader = pinned_reader()
        index.add_example("normal", moment="red-8000-16000")
        return reader

    monkeypatch.setattr(inner, "pinned_reader", mark_another)
    index.rescore()
    assert outdated_scores(index) == []
    assert "fighting" not in scores(index)["red", 0.0][1]


def test_many_videos_are_scored_again_at_once(index: Index) -> None:
    """Locks of several videos may be the same file."""
    for number in range(40):
        store(index, f"v{number}", [RED])
    index.add_example("alarm", "red", rescore=False)
    assert index.rescore().videos == 42


def test_rescoring_reads_segments_from_a_snapshot_while_it_writes(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading many rows from Milvus Lite takes minutes."""
    read_from_milvus: list[str] = []
    read = Store.rows

    def record(store: Store, collection: str, *arguments: Any) -> list[Row]:
        read_from_milvus.append(collection)
        return read(store, collection, *arguments)

    for number in range(6):
        store(index, f"v{number}", [RED])
    monkeypatch.setattr("var_plugin.ingest.scoring._BATCH_VIDEOS", 1)
    monkeypatch.setattr(Store, "rows", record)
    for text in ("red", "blue", "green"):
        index.add_example("alarm", text, rescore=False)
        assert index.rescore().videos == 8
    assert "footage__scene" not in read_from_milvus


def test_a_video_that_changes_during_rescoring_is_left_out(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add_example("alarm", "red", rescore=False)
    lock = index._inner.lock

    def move_camera(*video_ids: str) -> AbstractContextManager[None]:
        blue = index._inner.committed_entry("blue")
        moved = blue.latest_sighting.model_copy(update={"camera": "attic"})
        index._inner.update(blue.model_copy(update={"sightings": (moved,)}))
        return lock(*video_ids)

    with monkeypatch.context() as patch:
        patch.setattr(index._inner, "lock", move_camera)
        index.rescore()
    assert index._inner.committed_entry("blue").examples == ""
    assert index._inner.committed_entry("red").examples != ""
    assert index.rescore().videos == 1


def test_an_example_of_one_camera_concerns_its_videos_only(index: Index) -> None:
    index.add_example("alarm", "red", camera="south", rescore=False)
    assert index.rescore().videos == 1
    with pytest.raises(InvalidInputError, match="camera 'attic'"):
        index.add_example("alarm", "red", camera="attic")


def test_a_backup_keeps_the_examples(index: Index, tmp_path: Path) -> None:
    index.add_example("normal", "red")
    index.add_example("alarm", moment=index.anomalies(k=1)[0].id)
    index.backup(tmp_path / "backup")
    restore_index(tmp_path / "backup", tmp_path / "copy.db")
    with open_index(tmp_path / "copy.db", suite=color_suite()) as copy:
        assert copy.examples() == index.examples()
        assert scores(copy) == scores(index)
        assert copy.rescore().videos == 0


@pytest.mark.parametrize("vector", [[1.0], [1.0] * 9, [0.0, 0, 0], [1e38, 1e38, 1e38]])
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_an_example_with_an_invalid_vector_is_left_out(
    index: Index, vector: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """Others may have written it to a backup or an index."""
    before = scores(index)
    added = index.add_example("normal", moment=index.anomalies(k=1)[0].id, rescore=False)
    encoded = base64.b64encode(np.array(vector, "<f4").tobytes()).decode()
    index._inner.owner_examples.put(added.model_copy(update={"encoded_vector": encoded}))
    index.rescore()
    assert scores(index) == before
    assert f"the example {added.id} is damaged and left out" in caplog.text
    store(index, "later", [GREEN])
    assert index.verify().ok


@pytest.mark.parametrize("trained", [[], {"Fire!": 0.5}, {"fire": 7}, {"fire": None}])
def test_damaged_scores_of_a_detector_are_reported_and_others_are_scored_again(index: Index, trained: object) -> None:
    inner = index._inner
    damaged = [{**row, "trained": trained} for row in inner.stored_rows("scene", ["blue"])]
    inner._store.write(inner._collection("scene"), damaged)
    assert [(problem.kind, problem.video_id) for problem in index.verify().problems] == [("row", "blue")]
    index.add_example("alarm", moment="red-0-8000")
    assert scores(index)["red", 0.0][1]["alarm"] > 0.5


@pytest.mark.parametrize("text", ["", "   ", "x" * 301, "a\x00b", "\ud83d"])
def test_what_is_no_sentence_is_refused(index: Index, text: str) -> None:
    with pytest.raises(InvalidInputError):
        index.add_example("normal", text)
    assert index.examples() == []


def test_a_moment_that_does_not_exist_is_refused(index: Index) -> None:
    with pytest.raises(UnknownVideoError):
        index.add_example("normal", moment="absent-0-8000")
    with pytest.raises(InvalidInputError, match="outside its video"):
        index.add_example("normal", moment="red-900000-990000")
    with pytest.raises(InvalidInputError, match="a sentence or a moment"):
        index.add_example("normal")
    with pytest.raises(InvalidInputError, match="applies to its own camera"):
        index.add_example("normal", moment=index.anomalies(k=1)[0].id, camera="south")
