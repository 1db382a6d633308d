"""Cards, plots, exports, feedback and sentences of the page, without a browser."""

from __future__ import annotations

import csv
import io
import json
import stat
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.colors import color_suite
from tests.retrievers.conftest import NOON
from tests.retrievers.test_anomalies import segment, store
from var_plugin.api import Index, open_index
from var_plugin.app import export, formatting
from var_plugin.app.cards import cards
from var_plugin.app.chat_search import ChatAnswer, answer_request
from var_plugin.app.conversation import ChatRequest, Context
from var_plugin.app.feedback import FeedbackStore, evaluation_data
from var_plugin.app.timeline import MAX_CAMERA_POINTS, curve, overview
from var_plugin.config import settings
from var_plugin.index.milvus.client import Reader
from var_plugin.index.schema import Row


def test_a_hostile_camera_name_is_escaped(two_cameras: Index) -> None:
    moments = answer_request(two_cameras, ChatRequest(text="yellow", limit=9)).moments
    html = cards(moments, ["token"] * len(moments), UTC, "knows fights")
    assert "<b" not in html.replace("<button", "")
    assert "onclick" not in html.replace("b onclick=_x", "")
    assert "recording time unknown" in html
    assert "Sun 01 Nov 2026, 12:00:" in html


def test_a_score_is_shown_without_a_confidence(two_cameras: Index) -> None:
    moment = answer_request(two_cameras, ChatRequest(text="green")).moments[0]
    assert formatting.format_match(moment).startswith("score ")
    assert formatting.format_match(moment.model_copy(update={"grade": "strong"})) == "strong match"


def test_the_tooltip_of_an_anomaly_score_names_its_scope(two_cameras: Index) -> None:
    moments = answer_request(two_cameras, ChatRequest(text="green")).moments[:1]
    assert 'title="Anomaly score, fights &lt;only&gt;"' in cards(moments, ["token"], UTC, "fights <only>")


def test_a_line_names_the_model_its_provider_and_what_is_sent() -> None:
    line = formatting.describe_model("openai:gpt-5")
    assert "The language model openai:gpt-5 reads the messages." in line
    assert "sent to its provider, openai" in line
    assert "Images, audio and video are not sent." in line
    assert formatting.describe_model(None) == ""


def test_exports_contain_no_path_and_no_formula(two_cameras: Index) -> None:
    moments = answer_request(two_cameras, ChatRequest(text="yellow", limit=9)).moments
    table, document = export.to_csv(moments), export.to_json(moments)
    rows = list(csv.DictReader(io.StringIO(table.content)))
    assert len(rows) == len(moments) == len(json.loads(document.content))
    assert {"'=yard.mp4", "north.mp4"} == {row["file"] for row in rows}
    assert "secret" not in table.content + document.content


def test_the_curve_covers_the_video_and_marks_the_moments(two_cameras: Index) -> None:
    moments = answer_request(two_cameras, ChatRequest(text="yellow")).moments
    first = moments[0]
    figure = curve(two_cameras, first, moments)
    (line,) = figure.data
    assert (line.x[0], line.x[-1]) == (0, pytest.approx(120, abs=0.5))
    peak = max(zip(line.y, line.x, strict=True))[1]
    assert first.start <= peak <= first.end
    assert all(str(name).startswith(first.video_id) for name in line.customdata)
    assert (first.start, first.end) in {(shape.x0, shape.x1) for shape in figure.layout.shapes}


def test_the_timeline_has_a_curve_per_camera_and_reports_omitted_videos(two_cameras: Index) -> None:
    moments = answer_request(two_cameras, ChatRequest(text="green", limit=9)).moments
    figure, omitted = overview(two_cameras, moments, UTC)
    assert figure
    assert omitted == "Videos without a known recording time: 1."
    assert [annotation.text for annotation in figure.layout.annotations] == ["north"]
    line, markers, diamonds = figure.data
    assert len(markers.x) == 0, "a long video has no markers"
    segments = two_cameras.segments(next(moment.video_id for moment in moments if moment.camera == "north"))
    assert list(line.y) == [segment.anomaly for segment in segments]
    assert list(line.x) == [(NOON + timedelta(seconds=segment.key)).replace(tzinfo=None) for segment in segments]
    assert two_cameras.moment(line.customdata[0]).camera == "north"
    assert set(diamonds.customdata) == {moment.id for moment in moments if moment.camera == "north"}


def test_a_long_curve_keeps_the_strongest_segment_of_each_bucket(tmp_path: Path) -> None:
    with open_index(tmp_path / "index.db", suite=color_suite(), create=True) as index:
        for hour in (3, 12):
            scores = [0.9 if number == 600 else 0.1 for number in range(1000)]
            store(index, f"at-{hour}", [segment(4.0 * i, score) for i, score in enumerate(scores)], hour=hour)
        figure, _ = overview(index, (), UTC)
    assert figure
    line = figure.data[0]
    assert len(line.y) <= MAX_CAMERA_POINTS + 2
    assert [score for score in line.y if score and score > 0.5] == [pytest.approx(0.9)] * 2
    assert list(line.y).count(None) == 1, "the curve is interrupted between the videos"


def test_short_videos_have_a_marker_in_the_timeline(tmp_path: Path) -> None:
    with open_index(tmp_path / "index.db", suite=color_suite(), create=True) as index:
        for hour in (3, 5, 12):
            store(index, f"at-{hour}", [segment(0, hour / 100)], hour=hour)
        figure, _ = overview(index, (), UTC)
    assert figure
    line, markers, _ = figure.data
    assert list(line.y) == [pytest.approx(0.03), None, pytest.approx(0.05), None, pytest.approx(0.12)]
    assert list(markers.y) == [score for score in line.y if score is not None]
    assert list(markers.customdata) == ["at-3-0-8000", "at-5-0-8000", "at-12-0-8000"]


def test_footage_without_recording_times_has_no_timeline(tmp_path: Path) -> None:
    with open_index(tmp_path / "index.db", suite=color_suite(), create=True) as index:
        assert overview(index, (), UTC) == (None, formatting.NO_FOOTAGE)
        store(index, "undated", [segment(0, 0.5)], hour=None)
        assert overview(index, (), UTC) == (None, formatting.NO_TIMELINE)


def test_the_timeline_reads_all_videos_at_once(two_cameras: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    read = Reader.rows

    def record(reader: Reader, collection: str, *arguments: Any) -> list[Row]:
        reads.append(collection)
        return read(reader, collection, *arguments)

    monkeypatch.setattr(Reader, "rows", record)
    overview(two_cameras, (), UTC)
    assert reads.count("footage__scene") == 1


def test_feedback_is_stored_and_the_latest_counts(two_cameras: Index) -> None:
    request = ChatRequest(text="green")
    right, wrong = answer_request(two_cameras, request).moments[:2]
    feedback = FeedbackStore("somewhere", "fingerprint")
    feedback.add(right, request, is_right=False)
    feedback.add(right, request, is_right=True, user="ann")
    feedback.add(wrong, request, is_right=False)
    folder = settings().data / "feedback"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())]
    assert modes == [0o700, *[0o600] * (len(modes) - 1)], "only the user of the page can read it"
    reopened = FeedbackStore("somewhere", "fingerprint")
    assert (reopened.judgement(right, request), reopened.judgement(wrong, request)) == (True, False)
    assert reopened.judgement(right, ChatRequest(text="red")) is None
    assert FeedbackStore("elsewhere", "fingerprint").all() == []
    (query,) = json.loads(evaluation_data(reopened.all(), {}))["queries"]
    assert query["query"] == "green"
    assert [(len(query["right"]), query["right"][0]["start"]), len(query["wrong"])] == [(1, right.start), 1]


def test_damage_to_the_feedback_loses_the_damaged_lines_only(two_cameras: Index) -> None:
    request = ChatRequest(text="green\u2028or\x85blue\u2029")
    right, wrong = answer_request(two_cameras, ChatRequest(text="green")).moments[:2]
    feedback = FeedbackStore("damaged", "fingerprint")
    feedback.add(right, request, is_right=True)
    with feedback._path.open("ab") as file:
        file.write(b"\xff\xfe\n" + b"[" * 100_000 + b'\n{"created_at": "20')  # the last line is incomplete
    feedback.add(wrong, request, is_right=False)
    assert [(entry.text, entry.is_right) for entry in feedback.all()] == [(request.text, False), (request.text, True)]
    feedback._path.unlink()
    feedback._path.mkdir()
    assert feedback.all() == [], "the page still answers"


@pytest.mark.parametrize(
    ("request_", "context", "sentence"),
    [
        (ChatRequest(text="a lion"), Context((), NOON), "no footage yet"),
        (ChatRequest(text="a lion"), Context(("north",), NOON, NOON), "No results."),
        (
            ChatRequest(text="a lion", after=NOON),
            Context(("north",), NOON),
            "recording times of the footage",
        ),
        (ChatRequest(text="a lion", cameras=("north",)), Context(("north",), NOON, NOON), "Remove one of them"),
    ],
)
def test_an_empty_answer_gives_the_reason(request_: ChatRequest, context: Context, sentence: str) -> None:
    assert sentence in formatting.summarize_answer(ChatAnswer(()), request_, context)


def test_a_foreign_script_gives_a_warning() -> None:
    assert formatting.script_warning("一个骑自行车的人", ("en",))
    assert formatting.script_warning("a café in Köln", ("en",)) is None
    assert formatting.script_warning("一个骑自行车的人", ("en", "zh")) is None


def test_an_answer_about_unusual_moments_counts_kinds(two_cameras: Index) -> None:
    answer = answer_request(two_cameras, ChatRequest())
    assert answer.is_browsing
    sentence = formatting.summarize_answer(answer, ChatRequest(), Context(("north",), NOON))
    total = sum(answer.kinds.values())
    assert sentence.startswith(
        f"{formatting.count(total, 'unusual moment')}: unlike this camera's other footage {total}."
    )
    assert sentence.endswith("2 minutes of footage have no recording time.")
    quiet = replace(answer, kinds={})
    assert "No moment reaches" in formatting.summarize_answer(quiet, ChatRequest(), Context(("north",), NOON))
    limited = formatting.summarize_answer(answer, ChatRequest(after=NOON), Context(("north",), NOON))
    assert limited.endswith("have no recording time and are not searched.")
