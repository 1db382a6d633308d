"""End to end with the real `lite` suite: index footage with events at known times and search for them."""

from __future__ import annotations

import json
from pathlib import Path

from var_plugin.api import open_index
from var_plugin.demo import DEMO_QUERIES, DemoQuery, compose
from var_plugin.demo.run import DemoReport, run_query
from var_plugin.retrievers.moments import moments_overlap

HELD_OUT = Path(__file__).parent / "demo" / "held_out_queries.json"


def test_the_list_of_unusual_moments_begins_with_anomalies(demo: tuple[Path, DemoReport]) -> None:
    _, report = demo
    assert len(report.listed) >= 5
    assert {"burning-car", "rubbish", "shots"} <= set(report.listed)
    strongest = {event.kind for moment in report.unusual[:3] for event in moment.events}
    assert {"fire", "shooting"} <= strongest
    assert all(moment.thumbnail for moment in report.unusual)


def test_the_demo_finds_the_right_moment_first(demo: tuple[Path, DemoReport]) -> None:
    _, report = demo
    assert len(report.results) == len(DEMO_QUERIES) == 10
    wrong = [result.text for result in report.results if not result.is_correct]
    assert report.correct >= 5, wrong


def test_other_wordings_find_the_moment(demo: tuple[Path, DemoReport]) -> None:
    folder, _ = demo
    queries = [DemoQuery(**query) for query in json.loads(HELD_OUT.read_text())]
    assert len(queries) == 10
    assert not {query.text for query in queries} & {query.text for query in DEMO_QUERIES}
    with open_index(folder / "index.db", suite="lite") as index:
        results = [run_query(index, query, compose(folder)) for query in queries]
    wrong = [result.text for result in results if not result.is_correct]
    assert sum(result.is_correct for result in results) >= 3, wrong


def test_an_image_and_audible_events_are_found(demo: tuple[Path, DemoReport]) -> None:
    """By text, or by another image or recording of the same thing. The siren is not found."""
    _, report = demo
    results = [*report.image_results, *report.audio_results]
    assert len(results) == 5
    correct = [result for result in results if result.is_correct]
    assert len(correct) >= 4, [result.text for result in results if not result.is_correct]
    assert all(result.moments[0].grade != "weak" for result in correct)


def test_moments_have_the_bounds_of_the_events(demo: tuple[Path, DemoReport]) -> None:
    """A correct first moment also covers its event. With segments of 8 s the mean overlap is at most two thirds."""
    _, report = demo
    overlaps = [result.overlap for result in report.results if result.is_correct]
    assert sum(overlaps) / len(overlaps) > 0.4
    assert all(result.moments[0].thumbnail for result in report.results)


def test_events_stand_out_on_the_anomaly_curve(demo: tuple[Path, DemoReport]) -> None:
    """Most visible events have a higher score than most of the background."""
    folder, _ = demo
    above = []
    with open_index(folder / "index.db", suite="lite") as index:
        videos = {video.camera: video for video in index.videos()}
        for video in compose(folder):
            curve = index.segments(videos[video.camera].video_id)
            quiet = [s.anomaly for s in curve if not any(s.start < e.end and e.start < s.end for e in video.events)]
            typical = sorted(quiet)[len(quiet) // 2]
            for event in video.events:
                if event.is_visible:
                    peak = max(s.anomaly for s in curve if s.start < event.end and event.start < s.end)
                    above.append(peak > typical)
    assert sum(above) / len(above) > 0.75


def test_an_image_finds_its_moment(demo: tuple[Path, DemoReport]) -> None:
    """The thumbnail of an event is a query that finds the event."""
    folder, report = demo
    with open_index(folder / "index.db", suite="lite") as index:
        for result in report.results[:4]:
            first = result.moments[0]
            again = index.search(image=first.thumbnail, k=1)[0]
            assert moments_overlap(again, first)
