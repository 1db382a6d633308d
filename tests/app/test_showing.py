"""Cards, plots, exports, feedback and sentences of the page, without a browser."""

from __future__ import annotations

import csv
import io
import json
import stat
from datetime import UTC

import pytest

from tests.retrievers.conftest import NOON
from var_plugin.api import Index
from var_plugin.app import export, formatting
from var_plugin.app.cards import cards
from var_plugin.app.chat_search import ChatAnswer, answer_request
from var_plugin.app.conversation import ChatRequest, Context
from var_plugin.app.feedback import FeedbackStore, evaluation_data
from var_plugin.app.timeline import curve, overview
from var_plugin.config import settings


def test_a_hostile_camera_name_is_escaped(two_cameras: Index) -> None:
    moments = answer_request(two_cameras, ChatRequest(text="yellow", limit=9)).moments
    html = cards(moments, ["token"] * len(moments), UTC, "knows fights")
    assert "<b" not in html.replace("<button", "")
    assert "onclick" not in html.replace("b onclick=_x", "")
    assert "recording time unknown" in html
    assert "Sun 01 Nov 2026, 12:00:" in html


def test_a_score_is_shown_without_a_confidence(two_cameras: Index) -> None:
    moment = answer_request(two_cameras, ChatRequest(text="green")).moments[0]
    assert formatting.format_confidence(moment).startswith("score ")
    assert formatting.format_confidence(moment.model_copy(update={"confidence": 0.834})) == "confidence 83%"


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


def test_the_overview_reports_omitted_videos(two_cameras: Index) -> None:
    moments = answer_request(two_cameras, ChatRequest(text="green", limit=9)).moments
    figure, omitted = overview(two_cameras, moments, UTC)
    assert omitted == "videos without a known recording time: 1"
    assert figure.data[0].y[0] == "north"
    assert figure.data[0].x[0] == NOON.replace(tzinfo=None)
    assert set(figure.data[-1].y) == {"north"}


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


def test_the_most_unusual_moment_is_named_in_any_order(two_cameras: Index) -> None:
    moments = answer_request(two_cameras, ChatRequest(text="yellow", limit=9)).moments[:2]
    quiet, unusual = (
        moment.model_copy(update={"camera": camera, "anomaly_score": score})
        for moment, camera, score in zip(moments, ("quiet", "unusual"), (0.1, 0.9), strict=True)
    )
    answer = ChatAnswer((quiet, unusual), is_browsing=True)
    assert "Highest score: unusual" in formatting.summarize_answer(answer, ChatRequest(), Context((), NOON))
