from __future__ import annotations

from var_plugin.index.index import Hit
from var_plugin.terminal import anomaly_bar, clock, moment_lines
from var_plugin.types import Moment


def moment(start: float, end: float) -> Moment:
    return Moment(
        id="m", video_id="v", uri="/a.mp4", camera="north", start=start, end=end, peak=start, score=2.0,
        anomaly_score=0.9, matched={"scene": 2.0},
    )  # fmt: skip


def hit(start: float, end: float, anomaly: float) -> Hit:
    return Hit("v", "north", "uniform", start, end, start, -1, anomaly, 0.0)


def test_times_are_formatted_as_clocks() -> None:
    assert clock(0) == "0:00.0"
    assert clock(59.96) == "1:00.0"
    assert clock(83.25) == "1:23.2"
    assert clock(3723.5) == "1:02:03.5"


def test_the_bar_shows_the_whole_video_and_marks_the_moment() -> None:
    curve = [hit(0, 50, 0.0), hit(50, 60, 0.99), hit(60, 120, 0.3)]
    bar, marks = anomaly_bar(moment(50, 60), curve)
    assert bar == "▁" * 25 + "█" * 5 + "▃" * 30
    assert marks == " " * 25 + "^" * 5


def test_a_moment_shorter_than_a_column_is_marked() -> None:
    assert "^" in anomaly_bar(moment(50.1, 50.2), [hit(0, 3600, 0.1)])[1]


def test_result_lines_have_time_camera_and_score() -> None:
    first = moment_lines(1, moment(8, 16), [hit(0, 24, 0.5)])[0]
    assert first == "1. north  0:08.0 - 0:16.0  score 2.00  anomaly 0.90"
