"""Requests answered over films of known colours and tones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.colors import color_suite
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.api import Index, open_index
from var_plugin.app.chat_search import answer, moment_of
from var_plugin.app.conversation import Request
from var_plugin.errors import InvalidInputError, UnknownVideoError

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """North hums from its 16th second on, south all the time, east is silent and its clock is unknown."""
    film = Film(tmp_path_factory.mktemp("footage"))
    with open_index(film.folder / "index.db", suite=color_suite()) as index:
        for camera, hour, sound in (("north", 12, 16.0), ("south", 15, 0.0)):
            path = film(
                f"{camera}.mp4",
                seconds=40,
                fps=5,
                paint=scene("green", "red", "green", "red", "blue"),
                tone=440.0,
                tone_starts=sound,
            )
            assert index.add(path, recorded_at=NOON.replace(hour=hour)).ok
        assert index.add(film("east.mp4", seconds=24, fps=5, paint=scene("blue", "green", "yellow"))).ok
        yield index


def found(index: Index, request: Request) -> list[tuple[str, float]]:
    return [(moment.camera, moment.start) for moment in answer(index, request).moments]


def test_conditions_reach_the_search(footage: Index) -> None:
    assert {camera for camera, _ in found(footage, Request(text="green", cameras=("north",)))} == {"north"}
    assert {camera for camera, _ in found(footage, Request(text="green", after=NOON.replace(hour=14)))} == {"south"}
    assert len(found(footage, Request(text="green", limit=2))) == 2
    by_video = found(footage, Request(text="green", per_video=True))
    assert sorted(camera for camera, _ in by_video) == ["east", "north", "south"]


def test_what_must_not_be_there_is_left_out(footage: Index) -> None:
    everything = found(footage, Request(text="green", limit=20))
    without = found(footage, Request(text="green", without=("blue",), limit=20))
    assert ("north", 32.0) in everything
    assert not {("north", 32.0), ("south", 32.0), ("east", 0.0)} & set(without)
    assert ("north", 0.0) in without


def test_louder_and_quieter(footage: Index) -> None:
    silent, humming = (
        next(
            moment
            for moment in answer(footage, Request(text="green", cameras=("north",))).moments
            if moment.start == at
        )
        for at in (0.0, 16.0)
    )
    louder = found(footage, Request(text="green", louder_than=silent.id, limit=20))
    assert ("north", 16.0) in louder
    assert not {camera for camera, _ in louder} & {"east"}
    assert ("north", 0.0) not in louder
    quieter = found(footage, Request(text="green", quieter_than=humming.id, limit=20))
    assert {("north", 0.0), ("east", 8.0)} <= set(quieter)


def test_likeness_leaves_the_moment_itself_out(footage: Index) -> None:
    first = answer(footage, Request(text="green", cameras=("north",))).moments[0]
    alike = answer(footage, Request(like=first.id)).moments
    assert first.id not in {moment.id for moment in alike}
    assert alike[0].start in (0.0, 8.0, 16.0)


def test_order_by_the_clock(footage: Index) -> None:
    for order, cameras in (("oldest", ["north", "south", "east"]), ("newest", ["south", "north", "east"])):
        assert list(dict.fromkeys(c for c, _ in found(footage, Request(text="green", order=order, limit=9)))) == cameras


def test_a_file_as_a_question(footage: Index, tmp_path: Path) -> None:
    clip = Film(tmp_path)(seconds=4, fps=5, paint=scene("yellow"))
    assert found(footage, Request(video=str(clip)))[0] == ("east", 16.0)


def test_without_a_subject_the_unusual_is_shown(footage: Index, tmp_path: Path) -> None:
    film = Film(tmp_path)
    with open_index(tmp_path / "index.db", suite=color_suite()) as index:
        index.add(film("yard.mp4", seconds=120, fps=2, paint=scene(*["blue"] * 6, "yellow", *["blue"] * 8)))
        shown = answer(index, Request())
        assert shown.browsed
        assert shown.moments[0].start <= 48 < shown.moments[0].end
        assert shown.moments[0].anomaly_score > 0.5


def test_a_moment_by_its_id(footage: Index) -> None:
    first = answer(footage, Request(text="green", cameras=("south",))).moments[0]
    again = moment_of(footage, first.id)
    assert (again.camera, again.start, again.end, again.recorded_at) == (
        first.camera, first.start, first.end, first.recorded_at,
    )  # fmt: skip
    with pytest.raises(UnknownVideoError):
        moment_of(footage, "feed-0-1000")
    with pytest.raises(InvalidInputError):
        moment_of(footage, f"{first.video_id}-900000-901000")
