from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.colors import color_suite
from var_plugin.api import Index, open_index
from var_plugin.encoders.base import l2_normalize
from var_plugin.errors import (
    FingerprintMismatchError,
    IndexUnavailableError,
    InvalidVectorError,
    StoreError,
    UnknownVideoError,
)
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.index.index import VideoIndex
from var_plugin.index.milvus.client import Store
from var_plugin.index.rows import segment_id
from var_plugin.types import Filter, Segment


def entry(video_id: str = "v1", camera: str = "north") -> Entry:
    return Entry(
        video_id=video_id,
        state="pending",
        content=f"hash of {video_id}",
        sightings=(Sighting(path=f"/footage/{video_id}.mp4", camera=camera, recorded_at=1_000),),
        duration=24.0,
        metadata={"floor": 2},
        settings="s",
        rows={},
        added_at=5,
    )


def rows(colors: Sequence[Sequence[float]]) -> dict[str, Any]:
    segments = [Segment(start=8.0 * i, end=8.0 * i + 8, key=8.0 * i + 4, anomaly=i / 10) for i in range(len(colors))]
    return {"scene": (segments, l2_normalize(np.array(colors, float)))}


RED, GREEN, BLUE = np.eye(3)


def test_written_rows_are_found(index: Index) -> None:
    assert index._inner.write(entry(), rows([RED, GREEN, BLUE])) == {"scene": 3}
    best, *others = index._inner.search_segments("scene", l2_normalize(GREEN), limit=10, filter=Filter())
    assert (best.video_id, best.camera, best.start, best.end, best.key) == ("v1", "north", 8.0, 16.0, 12.0)
    assert (best.similarity, best.anomaly, best.recorded_at) == (pytest.approx(1.0), pytest.approx(0.1), 9_000)
    assert len(others) == 2
    assert [hit.start for hit in index.segments("v1")] == [0.0, 8.0, 16.0]
    curve = index.curves(["v1"])["v1"]
    assert curve == [(hit.start, hit.end, hit.key, hit.anomaly) for hit in index.segments("v1")]
    assert index.curves([]) == {}
    (video,) = index.videos()
    assert (video.video_id, video.state, video.rows, video.metadata) == ("v1", "committed", {"scene": 3}, {"floor": 2})


def test_writing_a_video_again_replaces_it(index: Index) -> None:
    index._inner.write(entry(), rows([RED, GREEN, BLUE]))
    assert index._inner.write(entry(), rows([BLUE])) == {"scene": 1}
    assert len(index._inner.search_segments("scene", l2_normalize(RED), limit=10, filter=Filter())) == 1


def test_a_closed_index_can_be_opened_again(tmp_path: Path) -> None:
    for location in (tmp_path / "a.db", tmp_path / "any name"):
        with open_index(location, suite=color_suite()) as index:
            index._inner.write(entry(), rows([RED]))
        with open_index(location, suite=color_suite()) as index:
            assert index._inner.count("v1") == {"scene": 1}
            assert (
                index._inner.search_segments("scene", l2_normalize(RED), limit=1, filter=Filter())[0].video_id == "v1"
            )


def test_another_suite_is_an_error_that_names_it(tmp_path: Path) -> None:
    open_index(tmp_path / "a.db", suite=color_suite("first")).close()
    with pytest.raises(FingerprintMismatchError) as caught:
        open_index(tmp_path / "a.db", suite=color_suite("second"))
    assert color_suite("first").fingerprint in str(caught.value)
    assert color_suite("second").fingerprint in str(caught.value)
    assert f"reindex --suite colors --index {tmp_path / 'a.db'}" in str(caught.value)
    open_index(tmp_path / "a.db", suite=color_suite("first")).close()


@pytest.mark.parametrize(
    ("version", "remedy"), [(None, "var-plugin index FOLDER --index"), (4, "pip install --upgrade var-plugin")]
)
def test_an_index_of_another_format_is_refused(tmp_path: Path, version: int | None, remedy: str) -> None:
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        (row,) = index._inner._store.rows("footage__videos", 'id == "@generations"', ["*"])
        body = {key: value for key, value in row["body"].items() if key != "format"}
        index._inner._store.write("footage__videos", [{**row, "body": body | ({"format": version} if version else {})}])
    with pytest.raises(IndexUnavailableError, match=f"has format {version or 1}.*{remedy}") as refused:
        open_index(tmp_path / "a.db", suite=color_suite())
    assert "\n" not in str(refused.value)


def test_a_missing_server_is_an_error() -> None:
    with pytest.raises(IndexUnavailableError, match="no Milvus server answers at http://localhost:1"):
        open_index("http://localhost:1", suite=color_suite())


@pytest.mark.parametrize("state", ["pending", "deleting"])
def test_uncommitted_videos_are_hidden(index: Index, state: str) -> None:
    index._inner.write(entry("half"), rows([RED]))
    index._inner.write(entry("whole"), rows([RED]))
    index._inner.update(entry("half").model_copy(update={"state": state}))
    assert {
        hit.video_id for hit in index._inner.search_segments("scene", l2_normalize(RED), limit=10, filter=Filter())
    } == {"whole"}
    assert set(index._inner.entries(["half", "whole"])) == {"whole"}
    with pytest.raises(UnknownVideoError):
        index.segments("half")
    assert set(index.curves(["half", "whole", "absent"])) == {"whole"}


@pytest.mark.parametrize(
    "broken", [np.full((1, 3), np.nan), np.ones((1, 3)), np.zeros((1, 3)), l2_normalize(np.ones((1, 4)))], ids=str
)
def test_invalid_vectors_change_nothing(index: Index, broken: np.ndarray) -> None:
    with pytest.raises(InvalidVectorError):
        index._inner.write(entry(), {"scene": (rows([RED])["scene"][0], broken.astype(np.float32))})
    assert index.videos() == []


@pytest.mark.parametrize("step", ["write", "flush", "count"])
def test_a_failed_write_leaves_no_rows(index: Index, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The third segment write, flush or count fails once, as on a full disk. All other calls are real."""
    real = getattr(Store, step)

    def fails_on_segments(self: Store, collection: str, *rest: Any, **more: Any) -> Any:
        if collection.endswith("__scene"):
            raise StoreError("the disk is full")
        return real(self, collection, *rest, **more)

    monkeypatch.setattr(Store, step, fails_on_segments)
    with pytest.raises(StoreError, match="disk is full"):
        index._inner.write(entry(), rows([RED]))
    monkeypatch.undo()
    assert index.videos() == []
    assert index._inner.count("v1") == {"scene": 0}
    assert index._inner.write(entry(), rows([RED])) == {"scene": 1}


def test_lost_rows_are_detected(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Store.write

    def loses_one(self: Store, collection: str, sent: Sequence[dict[str, Any]]) -> None:
        real(self, collection, sent[1:] if collection.endswith("__scene") else sent)

    monkeypatch.setattr(Store, "write", loses_one)
    with pytest.raises(StoreError, match=r"holds \{'scene': 1\} rows"):
        index._inner.write(entry(), rows([RED, GREEN]))
    assert index.videos() == []


def test_delete_removes_all_rows_of_a_video(index: Index) -> None:
    index._inner.write(entry("a"), rows([RED]))
    index._inner.write(entry("b"), rows([RED]))
    index.delete("a")
    assert [video.video_id for video in index.videos()] == ["b"]
    assert index._inner.count("a") == {"scene": 0}
    with pytest.raises(UnknownVideoError):
        index.delete("a")


def test_keys_depend_on_content_span_kind_and_settings() -> None:
    segment = Segment(start=0, end=8, key=1)
    keys = [
        segment_id(entry(), segment),
        segment_id(entry("v2"), segment),
        segment_id(entry().model_copy(update={"settings": "t"}), segment),
        segment_id(entry(), segment.model_copy(update={"end": 9.0})),
        segment_id(entry(), segment.model_copy(update={"kind": "video"})),
    ]
    assert len(set(keys)) == len(keys)
    assert segment_id(entry(), segment) == keys[0]


def test_two_indexes_share_one_location(tmp_path: Path) -> None:
    with VideoIndex(tmp_path / "a.db", color_suite(), name="first") as index:
        index.write(entry(), rows([RED]))
    with VideoIndex(tmp_path / "a.db", color_suite(), name="second") as index:
        assert index.all_entries() == []


def test_segments_that_include_a_time_are_found_after_it(index: Index, tmp_path: Path) -> None:
    """Three segments of 8 s from 1 s past 1970 on, and a video of unknown time; by the store and by the snapshot."""
    index._inner.write(entry("v1"), rows([RED, GREEN, BLUE]))
    unknown = entry("v2").sightings[0].model_copy(update={"recorded_at": -1})
    index._inner.write(entry("v2").model_copy(update={"sightings": (unknown,)}), rows([RED]))

    def starts(**bounds: float) -> list[float]:
        condition = Filter(**{name: datetime.fromtimestamp(time, UTC) for name, time in bounds.items()})
        return sorted(
            hit.start for hit in index._inner.search_segments("scene", l2_normalize(RED), limit=10, filter=condition)
        )

    def check() -> None:
        assert starts(after=8.9) == [0.0, 8.0, 16.0], "the first one ends at 9 s"
        assert starts(after=9.0) == [8.0, 16.0]
        assert starts(after=20.0) == [16.0]
        assert starts(after=25.0) == []
        assert starts(before=9.0) == [0.0]
        assert starts(after=10.0, before=11.0) == [8.0], "it lasts longer than the interval"

    check()
    index._inner.refresh_snapshots()
    check()


IMPOSSIBLE = {
    "video_id": "../../outside", "camera": "a\x1b[2J", "kind": "other", "start_ms": -5, "end_ms": 10**17,
    "key_ms": -1, "recorded_at": 10**17, "anomaly": float("nan"), "novelty": 1.5, "events": {"../x": 0.5},
    "reason": "a\x1b[2J",
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [*IMPOSSIBLE.items(), ("end_ms", 0)])
def test_invalid_segment_rows_are_omitted_and_reported(
    index: Index, field: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Other programs may have written to the store."""
    index._inner.write(entry("v1"), rows([RED, RED]))
    (row, _) = index._inner._store.rows("footage__scene", "", ["*"])
    index._inner._store.write("footage__scene", [{**row, field: value}])
    for _ in range(2):
        assert len(index._inner.search_segments("scene", l2_normalize(RED), limit=10, filter=Filter())) == 1
        assert len(index.search("red")) == 1
        assert len(index.segments("v1")) == 1
        index._inner.refresh_snapshots()
    assert "damaged rows are left out" in caplog.text
    assert not index.verify().ok


@pytest.mark.parametrize(
    "change",
    [
        {"video_id": "../outside"}, {"video_id": "v2"}, {"duration": -1.0}, {"duration": 1e300}, {"added_at": 10**17},
        {"sightings": []}, {"sightings": [{"path": "a\x1b[2Jb", "camera": "north", "recorded_at": 0}]}, {"rows": None},
        {"sightings": [{"path": "a", "camera": "north", "recorded_at": 10**17}]}, {"metadata": {"a b": 1}},
        {"state": "other"}, {"rows": {"../x": 1}}, {"checksums": {"scene": "x"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_catalog_row_hides_only_its_video(
    index: Index, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    index._inner.write(entry("v1"), rows([RED]))
    index._inner.write(entry("v3"), rows([RED]))
    (row,) = index._inner._store.rows("footage__videos", 'video_id == "v1"', ["*"])
    index._inner._store.write("footage__videos", [{**row, "body": {**row["body"], **change}}])
    for _ in range(2):
        assert [video.video_id for video in index.videos()] == ["v3"]
        assert [moment.video_id for moment in index.search("red")] == ["v3"]
        assert Filter(after=datetime.fromtimestamp(0, UTC))
        index.search("red", filter=Filter(after=datetime.fromtimestamp(2, UTC)))
        index._inner.refresh_snapshots()
    assert "damaged and left out" in caplog.text
    assert [problem.kind for problem in index.verify().problems] == ["orphan"]
    index._inner.write(entry("v1"), rows([RED]))
    assert index.verify().ok, "storing it again mends it"
