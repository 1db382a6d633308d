"""The tools without LangChain and MCP: schemas, answers, invalid arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from tests.films import Film
from tests.ingest.test_add import scene
from tests.retrievers.conftest import HOSTILE, NOON
from var_plugin.api import Index
from var_plugin.errors import InvalidInputError, MediaNotFoundError, UnknownVideoError
from var_plugin.media.frames import image_at
from var_plugin.retrievers.text import sanitize_name
from var_plugin.tools import TOOLS
from var_plugin.tools.base import Tool, ToolResult

BY_NAME = {tool.name: tool for tool in TOOLS}
NAMES = sorted(BY_NAME)


def ask(index: Index, name: str, **arguments: Any) -> ToolResult:
    tool = BY_NAME[name]
    return tool.run(index, tool.arguments.model_validate(arguments))


def examples(index: Index) -> Mapping[str, dict[str, Any]]:
    moment = index.search("green")[0].id
    return {
        "search_moments": {"query": "green", "cameras": ["north"], "after": "2026-11-01T12:00:00Z", "limit": 2},
        "similar_moments": {"moment_id": moment},
        "get_moment": {"moment_id": moment},
        "list_anomalies": {"kinds": ["alarm"], "min_anomaly": 0.2, "order": "time", "limit": 3},
        "list_cameras": {},
        "summarise_timeline": {"bucket": "minute", "min_anomaly": 0.5},
    }


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_schemas_are_valid_and_complete(tool: Tool, footage: Index) -> None:
    arguments, result = tool.arguments.model_json_schema(), tool.result.model_json_schema(mode="serialization")
    for schema in (arguments, result):
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
    example = examples(footage)[tool.name]
    Draft202012Validator(arguments).validate(example)
    answer = tool.run(footage, tool.arguments.model_validate(example))
    Draft202012Validator(result).validate(answer.data.model_dump(mode="json"))
    assert not Draft202012Validator(arguments).is_valid({**example, "nonsense": 1})
    for name, described in arguments.get("properties", {}).items():
        assert described.get("description"), name
    for required in arguments.get("required", []):
        assert not Draft202012Validator(arguments).is_valid({k: v for k, v in example.items() if k != required})


@pytest.mark.parametrize("name", NAMES)
def test_answers_contain_no_path_and_no_markup(name: str, footage: Index) -> None:
    of_the_yard = {"moment_id": footage.search("yellow", k=1)[0].id}
    arguments = {"search_moments": {"query": "yellow"}, "similar_moments": of_the_yard, "get_moment": of_the_yard}
    answer = ask(footage, name, **arguments.get(name, {}))
    assert "Obey." in answer.text or name == "similar_moments", "the hostile name is part of the answer"
    for text in (answer.text, json.dumps(answer.data.model_dump(mode="json"), ensure_ascii=False)):
        assert str(Path(footage.uri).parent) not in text
        assert not any(mark in text for mark in ("![", "](", "://", "\u202e"))
        assert "Obey. " * 20 not in text, "names are cut"


def test_search_applies_filters(footage: Index) -> None:
    everything = ask(footage, "search_moments", query="blue", limit=20)
    assert {moment.camera for moment in everything.data.moments} == {"north", "south", sanitize_name(HOSTILE)}
    some = ask(
        footage, "search_moments", query="blue", cameras=["south"], before=NOON + timedelta(seconds=30), limit=20
    )
    assert {(moment.camera, moment.recorded_at < NOON + timedelta(seconds=30)) for moment in some.data.moments} == {
        ("south", True)
    }
    assert [file.kind for file in some.files] == ["video"] * len(some.data.moments)
    unusual = ask(footage, "search_moments", query="blue", min_anomaly=0.9)
    assert [moment.start for moment in unusual.data.moments] == [48.0]
    assert ask(footage, "search_moments", query="blue", min_anomaly=1.0).text == "No moments match."


def test_a_camera_is_accepted_by_its_displayed_name(footage: Index) -> None:
    (name,) = {row.camera for row in ask(footage, "list_cameras").data.cameras} - {"north", "south"}
    assert name != HOSTILE
    moments = ask(footage, "search_moments", query="yellow", cameras=[name], limit=20).data.moments
    assert {moment.file for moment in moments} == {"yard.mp4"}
    with pytest.raises(InvalidInputError, match='no camera "attic"'):
        ask(footage, "search_moments", query="yellow", cameras=["attic"])


def test_similar_moments_exclude_the_moment(footage: Index) -> None:
    green = next(m for m in footage.search("green", k=2) if m.camera == "north")
    moments = ask(footage, "similar_moments", moment_id=green.id, limit=1).data.moments
    assert [(moment.camera, moment.start) for moment in moments] == [("south", 8.0)]
    others = ask(footage, "similar_moments", moment_id=green.id, limit=20, cameras=["north"]).data.moments
    assert {moment.camera for moment in others} == {"north"}
    assert green.id not in {moment.id for moment in others}


def test_get_moment_returns_image_and_clip(footage: Index) -> None:
    green = next(m for m in footage.search("green", k=2) if m.camera == "north")
    answer = ask(footage, "get_moment", moment_id=green.id)
    assert answer.data.recorded_at == NOON + timedelta(seconds=8)
    assert answer.data.anomaly_score == pytest.approx(green.anomaly_score)
    thumbnail, clip = answer.files
    assert (thumbnail.kind, clip.kind) == ("thumbnail", "clip")
    assert thumbnail.path.parent == clip.path.parent, "deleting the video deletes both"
    assert answer.data.clip.start <= green.start < green.end <= answer.data.clip.end
    image = image_at(clip.path, green.peak - answer.data.clip.start, width=64)
    assert image[..., 1].mean() > 3 * image[..., 0].mean(), "it is green"


def test_a_missing_file_removes_image_and_clip_only(index: Index, film: Film) -> None:
    # Content that no other test has: thumbnails are kept by content, and one made elsewhere would be no loss.
    path = film(seconds=40, fps=5, paint=scene("white", "green", "red", "blue", "white"))
    index.add(path)
    moment = index.search("green")[0].id
    path.unlink()
    answer = ask(index, "get_moment", moment_id=moment)
    assert answer.data.clip is None
    assert answer.files == ()
    assert "cannot be read" in answer.text
    with pytest.raises(MediaNotFoundError, match="is gone"):
        ask(index, "similar_moments", moment_id=moment)


def test_spans_that_differ_little_share_their_files(footage: Index, small_cache: Path) -> None:
    video = footage.videos()[0].video_id
    clips = [ask(footage, "get_moment", moment_id=f"{video}-{n}-{5000 + n}").files[1].path for n in range(0, 60, 4)]
    assert len(set(clips)) <= 2


def test_clips_of_the_tools_fit_the_quota_of_the_cache(footage: Index, small_cache: Path) -> None:
    video = footage.videos()[0].video_id
    for start in (0, 8000, 16000):
        ask(footage, "get_moment", moment_id=f"{video}-{start}-{start + 8000}")
    assert len([*small_cache.glob("*/*")]) == 1


def test_clips_are_deleted_with_their_video(index: Index, film: Film) -> None:
    index.add(film(seconds=40, fps=5, paint=scene("red", "green", "blue", "red", "blue")))
    best = index.search("green")[0]
    files = ask(index, "get_moment", moment_id=best.id).files
    assert all(file.path.exists() for file in files)
    index.delete(best.video_id)
    assert not any(file.path.exists() for file in files)


def test_invalid_moment_ids_of_a_model_are_refused(footage: Index) -> None:
    video = footage.videos()[0].video_id
    for name in ("get_moment", "similar_moments"):
        for made_up in ("nonsense", f"{video}-5-2", f"{video}-1.5-2", "../../etc/passwd"):
            with pytest.raises(InvalidInputError, match="not the id of a moment"):
                ask(footage, name, moment_id=made_up)
        with pytest.raises(InvalidInputError, match="not inside its video"):
            ask(footage, name, moment_id=f"{video}-900000-901000")
        with pytest.raises(InvalidInputError, match="longer than 600 s"):
            ask(footage, name, moment_id=f"{video}-0-700000")
        with pytest.raises(UnknownVideoError, match="no video"):
            ask(footage, name, moment_id='x" or video_id != "-0-8000')
        with pytest.raises(ValidationError):
            ask(footage, name, moment_id="x" * 201)


def test_cameras_are_listed_with_their_footage(footage: Index) -> None:
    cameras = ask(footage, "list_cameras").data
    assert cameras.total == 3
    north = next(row for row in cameras.cameras if row.camera == "north")
    assert (north.videos, north.hours) == (1, pytest.approx(48 / 3600, abs=1e-3))
    assert (north.first_recorded, north.last_recorded) == (NOON, NOON + timedelta(seconds=48))
    yard = next(row for row in cameras.cameras if row.camera == sanitize_name(HOSTILE))
    assert (yard.first_recorded, yard.last_recorded) == (None, None)


def test_an_empty_index_gives_a_message(index: Index) -> None:
    assert ask(index, "list_cameras").text == "The index contains no footage."
    assert ask(index, "search_moments", query="red").data.moments == ()
    assert ask(index, "summarise_timeline").data.anomalies == 0


def test_the_timeline_counts_each_anomaly_once(footage: Index) -> None:
    timeline = ask(footage, "summarise_timeline", bucket="minute").data
    assert (timeline.anomalies, timeline.videos) == (5, 3)
    assert [(row.begins, row.camera, row.anomalies) for row in timeline.rows] == [
        (NOON, "north", 2),
        (NOON, "south", 2),
        (None, sanitize_name(HOSTILE), 1),
    ]
    strongest = timeline.rows[-1]
    moment = ask(footage, "get_moment", moment_id=strongest.moment_id).data
    assert (moment.start, moment.anomaly_score) == (48.0, pytest.approx(strongest.highest))


def test_the_timeline_respects_time_bounds(footage: Index) -> None:
    late = ask(footage, "summarise_timeline", after=NOON + timedelta(seconds=20), bucket="day").data
    assert [(row.begins, row.camera, row.anomalies) for row in late.rows] == [
        (NOON.replace(hour=0), "north", 1),
        (NOON.replace(hour=0), "south", 1),
    ]
    assert ask(footage, "summarise_timeline", before=NOON).data.videos == 0
    south = ask(footage, "summarise_timeline", cameras=["south"], min_anomaly=0.3).data
    assert [(row.begins, row.anomalies) for row in south.rows] == [(NOON, 3)]


def test_an_anomaly_that_began_before_the_bounds_counts(footage: Index) -> None:
    """One anomaly lasts 48 s from noon on."""
    for bounds, anomalies in (({"after": 20}, 1), ({"after": 20, "before": 21}, 1), ({"after": 48}, 0)):
        times = {name: NOON + timedelta(seconds=seconds) for name, seconds in bounds.items()}
        timeline = ask(footage, "summarise_timeline", cameras=["north"], min_anomaly=0.0, **times).data
        assert timeline.anomalies == anomalies, bounds


def test_neighbouring_segments_are_one_anomaly(footage: Index) -> None:
    whole = ask(footage, "summarise_timeline", cameras=["north"], min_anomaly=0.0).data
    assert whole.anomalies == 1
    assert whole.rows[0].moment_id.endswith("-0-48000")


def test_the_timeline_says_what_the_anomaly_score_covers(footage: Index) -> None:
    answer = ask(footage, "summarise_timeline")
    assert footage.suite.anomaly_scope
    assert f"The score is {footage.suite.anomaly_scope}." in answer.text
    assert answer.data.scope == footage.suite.anomaly_scope
