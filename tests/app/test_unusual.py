"""The data of the feed of unusual moments, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.colors import color_suite, detector_suite
from tests.retrievers.test_anomalies import segment, store
from var_plugin.api import Index, open_index
from var_plugin.app import formatting, unusual
from var_plugin.app.cards import feed as feed_html
from var_plugin.app.unusual import UNKNOWN_DAY, Feed, Selection, load_feed
from var_plugin.retrievers.text import NOVELTY_KIND, explain, kinds_of
from var_plugin.types import Moment


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """A calm video, a video with fire and smoke, one with something new, and one without a recording time."""
    with open_index(tmp_path_factory.mktemp("unusual") / "index.db", suite=detector_suite(), create=True) as opened:
        store(opened, "calm", [segment(0, 0.05), segment(8, 0.1)], hour=9)
        store(opened, "fire", [segment(0, 0.2), segment(20, 0.9, fire=0.9), segment(40, 0.6, smoke=0.6)], camera="yard")
        store(opened, "new", [segment(0, 0.8)], hour=23)
        store(opened, "fight", [segment(0, 0.7, fighting=0.7)], hour=None)
        yield opened


def load(index: Index, **selected: str) -> Feed:
    return load_feed(index, Selection(**selected), UTC)


def listed(feed: Feed) -> list[tuple[str, float]]:
    return [(moment.video_id, moment.start) for day in feed.days for moment in day.moments]


def test_the_feed_lists_the_newest_day_first_and_unknown_times_last(index: Index) -> None:
    feed = load(index)
    assert listed(feed) == [("new", 0), ("fire", 40), ("fire", 20), ("fight", 0)]
    assert [(day.day, day.count) for day in feed.days] == [(date(2026, 11, 1), 3), (None, 1)]
    assert (feed.total, feed.shown, feed.is_complete) == (4, 4, True)
    assert feed.kinds == {"fire": 1, "smoke": 1, "fighting": 1, NOVELTY_KIND: 1}
    assert (feed.cameras, feed.recorded_days) == (("north", "yard"), (date(2026, 11, 1),))


def test_the_feed_is_filtered_by_camera_day_and_kind(index: Index) -> None:
    assert listed(load(index, camera="yard")) == [("fire", 40), ("fire", 20)]
    assert listed(load(index, kind="fire")) == [("fire", 20)]
    assert listed(load(index, kind=NOVELTY_KIND)) == [("new", 0)]
    assert listed(load(index, day=UNKNOWN_DAY)) == [("fight", 0)]
    assert listed(load(index, day="2026-11-01", kind="smoke")) == [("fire", 40)]
    assert listed(load(index, day="2026-11-02")) == []
    assert listed(load(index, day=UNKNOWN_DAY, camera="yard")) == []
    assert load(index, kind="fire").kinds["smoke"] == 1, "the other kinds can still be selected"


def test_the_feed_is_filtered_by_a_range_of_days(index: Index) -> None:
    assert listed(load(index, day="2026-10-31", last_day="2026-11-01", kind="fire")) == [("fire", 20)]
    assert listed(load(index, day="2026-11-02", last_day="2026-11-03")) == []
    assert listed(load(index, day="2026-11-01", last_day="2026-10-31", kind="fire")) == [("fire", 20)]
    tokyo = ZoneInfo("Asia/Tokyo")
    days = load_feed(index, Selection(day="2026-11-01", last_day="2026-11-02"), tokyo).days
    assert [(day.day, day.count) for day in days] == [(date(2026, 11, 2), 1), (date(2026, 11, 1), 2)]


def test_a_day_follows_the_time_zone(index: Index) -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    feed = load_feed(index, Selection(day="2026-11-02"), tokyo)
    assert listed(feed) == [("new", 0)]
    assert load_feed(index, Selection(), tokyo).recorded_days == (date(2026, 11, 2), date(2026, 11, 1))


def test_a_long_feed_is_shown_in_parts(index: Index) -> None:
    feed = load_feed(index, Selection(), UTC, limit=2)
    assert (feed.total, feed.shown) == (4, 2)
    assert [day.count for day in feed.days] == [3], "the count of a day includes the moments that are not shown"


def test_a_rare_kind_is_found_among_many_stronger_moments(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unusual, "MAX_MOMENTS", 2)
    feed = load(index, kind="smoke")
    assert (listed(feed), feed.is_complete) == ([("fire", 40)], False)
    assert "At least" in formatting.summarize_feed(load(index), Selection())


def test_a_moment_without_a_recognised_event_is_explained_by_novelty() -> None:
    moment = Moment.model_validate(
        {
            **{"id": "v-0-8000", "video_id": "v", "uri": "/v.mp4", "camera": "north", "start": 0, "end": 8, "peak": 1},
            **{"score": 0.4, "anomaly_score": 0.4, "matched": {}, "novelty": 0.8},
        }
    )
    assert kinds_of(moment) == (NOVELTY_KIND,)
    assert explain(moment) == "Very unlike the other footage of this camera (novelty 0.80)."


def test_a_moment_is_explained_in_plain_words(index: Index) -> None:
    fire = load(index, kind="fire").days[0].moments[0]
    assert explain(fire) == (
        "Looks like fire (0.90): “flames above a roof”. "
        "Somewhat unlike the other footage of this camera (novelty 0.45)."
    )


def test_the_summary_counts_kinds_and_undated_footage(index: Index, tmp_path: Path) -> None:
    assert formatting.summarize_feed(load(index), Selection()) == (
        f"4 unusual moments: fighting 1, fire 1, smoke 1, {NOVELTY_KIND} 1. 1 minute of footage has no recording time."
    )
    selection = Selection(camera="yard", kind="fighting")
    assert formatting.summarize_feed(load_feed(index, selection, UTC), selection) == (
        "No unusual moments with these filters."
    )
    with open_index(tmp_path / "empty.db", suite=color_suite(), create=True) as empty:
        feed = load(empty)
        assert (feed.days, feed.has_footage) == ((), False)
        assert formatting.summarize_feed(feed, Selection()) == formatting.NO_FOOTAGE


def test_names_and_reasons_are_escaped(index: Index, tmp_path: Path) -> None:
    with open_index(tmp_path / "hostile.db", suite=color_suite(), create=True) as hostile:
        store(hostile, "hostile", [segment(0, 0.9, fire=0.9)], camera='<b onclick="x()">yard</b>')
        html = feed_html(load(hostile), lambda moment: moment.video_id, UTC, "knows <fire>", can_mark=True)
    assert "<b" not in html.replace("<button", "")
    assert "<fire>" not in html
    assert html.count('data-vp="mark-normal"') == 1
    assert "mark-" not in feed_html(load(index), lambda moment: moment.video_id, UTC, "", can_mark=False)


def test_a_quoted_reason_has_one_full_stop(index: Index) -> None:
    fire = load(index, kind="fire").days[0].moments[0]
    reason = replace_reason(fire, "Flames rise above a roof.")
    assert explain(reason).startswith("Looks like fire (0.90): “Flames rise above a roof”. ")


def replace_reason(moment: Moment, reason: str) -> Moment:
    return moment.model_copy(update={"events": (moment.events[0].model_copy(update={"reason": reason}),)})
