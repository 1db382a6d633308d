from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.colors import color_suite, detector_suite
from var_plugin.api import Index, open_index
from var_plugin.encoders.base import l2_normalize
from var_plugin.errors import InvalidInputError
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.types import Filter, Segment

RED = l2_normalize(np.array([[1.0, 0, 0]]))


def store(
    index: Index,
    video_id: str,
    segments: list[Segment],
    *,
    camera: str = "north",
    hour: int | None = 12,
    at: datetime | None = None,
) -> None:
    at = at or (None if hour is None else datetime(2026, 11, 1, hour, tzinfo=UTC))
    recorded = -1 if at is None else round(at.timestamp() * 1000)
    entry = Entry(
        video_id=video_id,
        state="pending",
        content=f"hash of {video_id}",
        sightings=(Sighting(path=f"/footage/{video_id}.mp4", camera=camera, recorded_at=recorded),),
        duration=60.0,
        metadata={},
        settings="s",
        rows={},
        added_at=5,
    )
    index._inner.write(entry, {"scene": (segments, np.repeat(RED, len(segments), axis=0))})


def segment(start: float, anomaly: float, **events: float) -> Segment:
    reason = "flames above a roof" if events else ""
    novelty = anomaly / 2 if events else min(1.0, 2 * anomaly)
    return Segment(
        start=start, end=start + 8, key=start + 1, anomaly=anomaly, events=events, novelty=novelty, reason=reason
    )


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with open_index(tmp_path / "index.db", suite=detector_suite(), create=True) as opened:
        store(opened, "calm", [segment(0, 0.05), segment(8, 0.1)], hour=9)
        store(opened, "fire", [segment(0, 0.2), segment(20, 0.9, fire=0.9), segment(40, 0.6, smoke=0.6)], camera="yard")
        store(opened, "fight", [segment(0, 0.7, fighting=0.7)], hour=None)
        yield opened


def test_the_strongest_moments_come_first_without_a_query(index: Index) -> None:
    moments = index.anomalies(k=3)
    assert [(moment.video_id, moment.start) for moment in moments] == [("fire", 20), ("fight", 0), ("fire", 40)]
    best = moments[0]
    assert best.score == best.anomaly_score == pytest.approx(0.9)
    assert [(event.kind, event.score, event.reason) for event in best.events] == [
        ("fire", pytest.approx(0.9), "flames above a roof")
    ]
    assert best.novelty == pytest.approx(0.45)
    assert (best.matched, best.confidence) == ({}, None)


@pytest.mark.parametrize("searched", ["store", "snapshot"])
def test_moments_are_limited_to_kinds_of_events(index: Index, searched: str) -> None:
    if searched == "snapshot":
        index._inner.refresh_snapshots()
    assert [moment.start for moment in index.anomalies(kinds=["smoke", "fire"])] == [20, 40]
    assert index.anomalies(kinds=["traffic accident"]) == []
    assert [moment.video_id for moment in index.search("red", filter=Filter(kinds=("fighting",)))] == ["fight"]


def test_moments_below_the_minimum_score_are_left_out(index: Index) -> None:
    assert len(index.anomalies(min_score=0.65)) == 2
    assert len(index.anomalies(filter=Filter(min_anomaly=0.65))) == 2
    assert index.anomalies(min_score=0.95) == []
    with pytest.raises(InvalidInputError, match="no effect without a query"):
        index.search(filter=Filter(cameras=("north",)), min_score=0.65)


def test_newest_first_puts_unknown_times_last(index: Index) -> None:
    assert [moment.video_id for moment in index.anomalies(k=4, order="time")] == ["fire", "fire", "fire", "fight"]


def test_one_moment_of_each_video(index: Index) -> None:
    assert [moment.video_id for moment in index.anomalies(group_by="video")] == ["fire", "fight", "calm"]


def test_a_filter_without_words_lists_anomalies(index: Index) -> None:
    (best, *_) = index.search(filter=Filter(cameras=("yard",)))
    assert (best.video_id, best.start) == ("fire", 20)
    with pytest.raises(InvalidInputError, match="nothing to search for"):
        index.search()


def test_the_part_of_an_anomaly_is_preferred_to_the_uniform_segment_around_it(tmp_path: Path) -> None:
    with open_index(tmp_path / "other.db", suite=color_suite(), create=True) as opened:
        exact = Segment(start=10, end=13, key=11, kind="anomaly", anomaly=0.8)
        store(opened, "v", [Segment(start=8, end=16, key=9, anomaly=0.8), exact])
        (best, *_) = opened.anomalies(k=1)
        assert (best.peak, best.anomaly_score) == (11, pytest.approx(0.8))


def test_one_video_with_many_anomalies_does_not_hide_others(tmp_path: Path) -> None:
    with open_index(tmp_path / "other.db", suite=color_suite(), create=True) as opened:
        store(opened, "long", [segment(20.0 * i, 0.9) for i in range(300)])
        store(opened, "short", [segment(0, 0.5)])
        videos = {moment.video_id for moment in opened.anomalies(k=5, group_by="video")}
        assert videos == {"long", "short"}


@pytest.mark.parametrize("kinds", [['fire" or 1 == 1'], ["Fire"], [""], []])
def test_what_is_no_kind_is_refused(index: Index, kinds: list[str]) -> None:
    with pytest.raises(InvalidInputError):
        index.anomalies(kinds=kinds)


def test_no_moments_are_no_request(index: Index) -> None:
    with pytest.raises(InvalidInputError, match="0 moments"):
        index.anomalies(k=0)


def test_a_weak_event_is_not_named(tmp_path: Path) -> None:
    with open_index(tmp_path / "other.db", suite=color_suite(), create=True) as opened:
        store(opened, "v", [segment(0, 0.8, fire=0.49)])
        assert opened.anomalies(k=1)[0].events == ()
