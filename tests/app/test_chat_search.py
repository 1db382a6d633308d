"""Answers to requests over test videos with known colours and tones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.colors import color_suite
from tests.films import Film
from tests.ingest.test_add import scene
from tests.retrievers.test_anomalies import segment, store
from var_plugin.api import Index, open_index
from var_plugin.app.chat_search import answer_request
from var_plugin.app.conversation import ChatRequest
from var_plugin.errors import InvalidInputError, UnknownVideoError
from var_plugin.retrievers.text import NOVELTY_KIND

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """North has a tone from second 16, south throughout; east is silent and has no clock time."""
    film = Film(tmp_path_factory.mktemp("footage"))
    with open_index(film.folder / "index.db", suite=color_suite()) as index:
        for camera, hour, tone_starts in (("north", 12, 16.0), ("south", 15, 0.0)):
            path = film(
                f"{camera}.mp4",
                seconds=40,
                fps=5,
                paint=scene("green", "red", "green", "red", "blue"),
                tone=440.0,
                tone_starts=tone_starts,
            )
            assert index.add(path, recorded_at=NOON.replace(hour=hour)).ok
        assert index.add(film("east.mp4", seconds=24, fps=5, paint=scene("blue", "green", "yellow"))).ok
        yield index


def spans(index: Index, request: ChatRequest) -> list[tuple[str, float]]:
    return [(moment.camera, moment.start) for moment in answer_request(index, request).moments]


def test_conditions_filter_the_search(footage: Index) -> None:
    assert {camera for camera, _ in spans(footage, ChatRequest(text="green", cameras=("north",)))} == {"north"}
    assert {camera for camera, _ in spans(footage, ChatRequest(text="green", after=NOON.replace(hour=14)))} == {"south"}
    assert len(spans(footage, ChatRequest(text="green", limit=2))) == 2
    by_video = spans(footage, ChatRequest(text="green", per_video=True))
    assert sorted(camera for camera, _ in by_video) == ["east", "north", "south"]


def test_moments_with_excluded_things_are_removed(footage: Index) -> None:
    everything = spans(footage, ChatRequest(text="green", limit=20))
    without = spans(footage, ChatRequest(text="green", without=("blue",), limit=20))
    assert ("north", 32.0) in everything
    assert not {("north", 32.0), ("south", 32.0), ("east", 0.0)} & set(without)
    assert ("north", 0.0) in without


def test_louder_and_quieter_compare_audio_levels(footage: Index) -> None:
    silent, with_tone = (
        next(
            moment
            for moment in answer_request(footage, ChatRequest(text="green", cameras=("north",))).moments
            if moment.start == at
        )
        for at in (0.0, 16.0)
    )
    louder = spans(footage, ChatRequest(text="green", louder_than=silent.id, limit=20))
    assert ("north", 16.0) in louder
    assert not {camera for camera, _ in louder} & {"east"}
    assert ("north", 0.0) not in louder
    quieter = spans(footage, ChatRequest(text="green", quieter_than=with_tone.id, limit=20))
    assert {("north", 0.0), ("east", 8.0)} <= set(quieter)


def test_similar_moments_exclude_the_moment_itself(footage: Index) -> None:
    first = answer_request(footage, ChatRequest(text="green", cameras=("north",))).moments[0]
    similar = answer_request(footage, ChatRequest(like=first.id)).moments
    assert first.id not in {moment.id for moment in similar}
    assert similar[0].start in (0.0, 8.0, 16.0)


def test_moments_are_sorted_by_clock_time(footage: Index) -> None:
    for order, cameras in (("oldest", ["north", "south", "east"]), ("newest", ["south", "north", "east"])):
        assert (
            list(dict.fromkeys(c for c, _ in spans(footage, ChatRequest(text="green", order=order, limit=9))))
            == cameras
        )


def test_a_video_file_is_a_query(footage: Index, tmp_path: Path) -> None:
    clip = Film(tmp_path)(seconds=4, fps=5, paint=scene("yellow"))
    assert spans(footage, ChatRequest(video=str(clip)))[0] == ("east", 16.0)


def test_a_request_without_a_query_returns_the_most_unusual(footage: Index, tmp_path: Path) -> None:
    film = Film(tmp_path)
    with open_index(tmp_path / "index.db", suite=color_suite()) as index:
        index.add(film("yard.mp4", seconds=120, fps=2, paint=scene(*["blue"] * 6, "yellow", *["blue"] * 8)))
        result = answer_request(index, ChatRequest())
        assert result.is_browsing
        assert result.moments[0].start <= 48 < result.moments[0].end
        assert result.moments[0].anomaly_score > 0.5


def test_unusual_moments_are_grouped_by_kind_with_the_strongest_of_each(tmp_path: Path) -> None:
    with open_index(tmp_path / "index.db", suite=color_suite(), create=True) as index:
        store(index, "a", [segment(20.0 * i, 0.9 - 0.01 * i, fire=0.8) for i in range(6)])
        store(index, "b", [segment(0, 0.5, smoke=0.5), segment(20, 0.4), segment(40, 0.1)], hour=None)
        answer = answer_request(index, ChatRequest())
        assert [(moment.video_id, moment.start) for moment in answer.moments] == [
            ("a", 0), ("a", 20), ("a", 40), ("b", 0), ("b", 20),
        ]  # fmt: skip
        assert answer.kinds == {"fire": 6, "smoke": 1, NOVELTY_KIND: 1}
        assert answer.undated_seconds == 60
        calm = answer_request(index, ChatRequest(cameras=("elsewhere",)))
        assert (calm.moments, calm.kinds) == ((), {})


def test_a_moment_is_found_by_its_id(footage: Index) -> None:
    first = answer_request(footage, ChatRequest(text="green", cameras=("south",))).moments[0]
    again = footage.moment(first.id)
    assert (again.camera, again.start, again.end, again.recorded_at) == (
        first.camera, first.start, first.end, first.recorded_at,
    )  # fmt: skip
    with pytest.raises(UnknownVideoError):
        footage.moment("feed-0-1000")
    with pytest.raises(InvalidInputError):
        footage.moment(f"{first.video_id}-900000-901000")
