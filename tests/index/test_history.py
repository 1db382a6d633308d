from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.colors import color_suite
from var_plugin.encoders.base import Vectors, l2_normalize
from var_plugin.encoders.novelty import UNDATED
from var_plugin.index import history
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.index.filters import UNKNOWN_TIME
from var_plugin.index.history import CameraHistories
from var_plugin.index.index import VideoIndex
from var_plugin.types import Segment, SegmentKind

HOUR = 3_600_000


@pytest.fixture
def index(tmp_path: Path) -> Iterator[VideoIndex]:
    with VideoIndex(tmp_path / "index.db", color_suite()) as opened:
        yield opened


def entry(video_id: str, camera: str = "north", recorded_at: int = 0) -> Entry:
    return Entry(
        video_id=video_id,
        state="pending",
        content=f"hash of {video_id}",
        sightings=(Sighting(path=f"/footage/{video_id}.mp4", camera=camera, recorded_at=recorded_at),),
        duration=3_600.0,
        metadata={},
        settings="s",
        rows={},
        added_at=5,
    )


def footage(seed: int, kind: SegmentKind = "uniform", count: int = 60) -> tuple[list[Segment], Vectors]:
    """Segments of a minute that are mostly red."""
    segments = [Segment(start=60.0 * i, end=60.0 * i + 60, key=60.0 * i, kind=kind) for i in range(count)]
    return segments, l2_normalize(np.array([1.0, 0, 0]) + 0.05 * np.random.default_rng(seed).random((count, 3)))


def write(index: VideoIndex, of: Entry, rows: tuple[Sequence[Segment], Vectors]) -> None:
    index.write(of, {"scene": rows})


def test_unknown_times_are_the_same_in_rows_and_histories() -> None:
    assert UNDATED == UNKNOWN_TIME


def test_a_loaded_history_equals_one_that_was_updated(index: VideoIndex) -> None:
    updated = CameraHistories(index)
    assert len(updated.of("north")) == 0
    for hour in range(6):
        write(index, entry(f"v{hour}", recorded_at=hour * HOUR), footage(hour))
        updated.add(entry(f"v{hour}", recorded_at=hour * HOUR), *footage(hour))
    loaded = CameraHistories(index)
    assert len(loaded.of("north")) == len(updated.of("north")) == 360
    assert loaded.of("north").hours == pytest.approx(6)
    new, blue = entry("new", recorded_at=27 * HOUR), (footage(9)[0][:2], np.eye(3, dtype=np.float32)[[0, 2]])
    scores = loaded.novelty(new, *blue)
    assert scores.scores == pytest.approx(updated.novelty(new, *blue).scores, abs=1e-5)
    assert scores.scores[1] > 0.5 > scores.scores[0]
    assert scores.learned == pytest.approx(6 / 24)


def test_only_committed_uniform_segments_of_the_camera_count(index: VideoIndex) -> None:
    write(index, entry("v1"), footage(1))
    write(index, entry("v2", camera="south"), footage(2))
    write(index, entry("v3"), footage(3, kind="anomaly"))
    write(index, entry("v4"), footage(4))
    index.update(index.all_entries()[-1].model_copy(update={"state": "pending"}))
    hidden = [each.video_id for each in index.all_entries() if each.state == "pending"]
    assert len(hidden) == 1
    expected = 60 * sum(video not in hidden for video in ("v1", "v4"))
    assert len(CameraHistories(index).of("north")) == expected
    assert len(CameraHistories(index).of("nowhere")) == 0


def test_added_anomaly_segments_do_not_count(index: VideoIndex) -> None:
    histories = CameraHistories(index)
    histories.add(entry("v1"), *footage(1, kind="anomaly"))
    assert len(histories.of("north")) == 0


def test_deleted_videos_are_left_out_after_forgetting(index: VideoIndex) -> None:
    write(index, entry("v1"), footage(1))
    write(index, entry("v2"), footage(2))
    histories = CameraHistories(index)
    assert len(histories.of("north")) == 120
    index.delete("v1")
    histories.discard("north")
    assert len(histories.of("north")) == 60


def test_a_large_camera_is_sampled(index: VideoIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_MIN_LOADED", 100)
    for hour in range(10):
        write(index, entry(f"v{hour}", recorded_at=hour * HOUR), footage(hour))
        write(index, entry(f"s{hour}", camera="south", recorded_at=hour * HOUR), footage(hour, count=3))
    loaded = CameraHistories(index)
    assert 100 <= len(loaded.of("north")) < 500
    assert loaded.of("north").hours == pytest.approx(10, rel=0.3)
    assert len(loaded.of("south")) == 30, "the sample of a small camera is everything"


def test_least_recently_used_histories_are_dropped_from_memory(
    index: VideoIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_MAX_CACHED_BYTES", 2 * 4 * 2_000 * 3)
    histories = CameraHistories(index)
    first = histories.of("a")
    histories.of("b")
    assert histories.of("a") is first
    histories.of("c")
    assert histories.of("a") is first
    histories.of("b")
    histories.of("c")
    assert histories.of("a") is not first


def test_another_generation_is_loaded_again(index: VideoIndex) -> None:
    write(index, entry("v1"), footage(1))
    histories = CameraHistories(index)
    assert len(histories.of("north")) == 60
    index.switch_to(index.begin_generation(color_suite("colors-2")))
    assert len(histories.of("north")) == 0


def test_damaged_rows_are_left_out(index: VideoIndex, caplog: pytest.LogCaptureFixture) -> None:
    write(index, entry("v1"), footage(1))
    collection = index._collection("scene")
    (row, *_) = index._store.rows(collection, "", ["*"])
    index._store.write(collection, [{**row, "anomaly": 7.0}])
    assert len(CameraHistories(index).of("north")) == 59
    assert "1 damaged rows are left out" in caplog.text
