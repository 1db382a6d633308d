from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import av
import pytest

from var_plugin.demo.script import CAMERAS, DEMO_QUERIES, Camera, DemoQuery, Media
from var_plugin.demo.sources import locate

HELD_OUT = Path(__file__).with_name("held_out_queries.json")

EVENTS = [event for camera in CAMERAS for event in camera.events]
SHOTS = [
    shot for camera in CAMERAS for shot in (camera.background, *(event.shot for event in camera.events)) if shot
]  # fmt: skip


def held_out_queries() -> list[DemoQuery]:
    return [DemoQuery(**query) for query in json.loads(HELD_OUT.read_text())]


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
def test_events_are_inside_their_video_and_do_not_overlap(camera: Camera) -> None:
    assert camera.events[0].start > 0
    assert camera.events[-1].end < camera.duration
    assert all(before.end < after.start for before, after in pairwise(camera.events))
    assert all(8 <= event.length <= 20 for event in camera.events)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
def test_most_of_the_time_nothing_happens(camera: Camera) -> None:
    assert sum(event.length for event in camera.events) < 0.35 * camera.duration


def test_every_event_is_unique_and_visible_or_audible() -> None:
    assert len({event.id for event in EVENTS}) == len(EVENTS)
    assert all(event.is_visible or event.recording for event in EVENTS)


def test_five_anomalies_are_visible_and_two_are_audible_only() -> None:
    anomalies = [event for event in EVENTS if event.kind]
    assert sum(event.is_visible for event in anomalies) == 5
    assert sum(not event.is_visible for event in anomalies) == 2


def test_clock_times_are_aware_and_camera_names_are_unique() -> None:
    assert all(camera.recorded_at.utcoffset() is not None for camera in CAMERAS)
    assert len({camera.name for camera in CAMERAS}) == len(CAMERAS)


@pytest.mark.parametrize("queries", [DEMO_QUERIES, held_out_queries()], ids=["demo", "held-out"])
def test_ten_queries_cover_each_visible_event_once(queries: list[DemoQuery]) -> None:
    assert len(queries) == 10
    assert {query.event for query in queries} == {event.id for event in EVENTS if event.is_visible}


def test_held_out_queries_differ_from_the_demo_queries() -> None:
    assert not {query.text for query in held_out_queries()} & {query.text for query in DEMO_QUERIES}


@pytest.mark.parametrize("media", sorted({shot.media for shot in SHOTS}, key=str), ids=lambda media: media.path)
def test_views_are_inside_their_image(media: Media) -> None:
    with av.open(locate(media)) as container:
        width, height = container.streams.video[0].width, container.streams.video[0].height
    for view in (shot.view for shot in SHOTS if shot.media == media):
        left, top, right, bottom = view.box((width, height))
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert (right - left) / (bottom - top) == pytest.approx(16 / 9)
