"""What the page draws and writes: cards, curves, tables, marks; without a browser."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC

import pytest

from tests.retrievers.conftest import NOON
from var_plugin.api import Index
from var_plugin.app import export as results
from var_plugin.app import formatting as words
from var_plugin.app.cards import cards
from var_plugin.app.chat_search import Answer, answer
from var_plugin.app.conversation import Context, Request
from var_plugin.app.feedback import Marks, evaluation_data
from var_plugin.app.timeline import curve, overview


def test_a_hostile_name_stays_text(two_cameras: Index) -> None:
    moments = answer(two_cameras, Request(text="yellow", limit=9)).moments
    html = cards(moments, ["token"] * len(moments), UTC, "knows fights")
    assert "<b" not in html.replace("<button", "")
    assert "onclick" not in html.replace("b onclick=_x", "")
    assert "clock time unknown" in html
    assert "Sun 01 Nov 2026, 12:00:" in html


def test_sureness_is_a_confidence_only_where_there_is_one(two_cameras: Index) -> None:
    moment = answer(two_cameras, Request(text="green")).moments[0]
    assert words.sureness(moment).startswith("score ")
    assert words.sureness(moment.model_copy(update={"confidence": 0.834})) == "confidence 83%"


def test_downloads_hold_no_path_and_no_formula(two_cameras: Index) -> None:
    moments = answer(two_cameras, Request(text="yellow", limit=9)).moments
    table, document = results.as_csv(moments), results.as_json(moments)
    rows = list(csv.DictReader(io.StringIO(table.content)))
    assert len(rows) == len(moments) == len(json.loads(document.content))
    assert {"'=yard.mp4", "north.mp4"} == {row["file"] for row in rows}
    assert "secret" not in table.content + document.content


def test_the_curve_covers_the_video_and_marks_what_was_found(two_cameras: Index) -> None:
    found = answer(two_cameras, Request(text="yellow")).moments
    first = found[0]
    figure = curve(two_cameras, first, found)
    (line,) = figure.data
    assert (line.x[0], line.x[-1]) == (0, pytest.approx(120, abs=0.5))
    peak = max(zip(line.y, line.x, strict=True))[1]
    assert first.start <= peak <= first.end
    assert all(str(name).startswith(first.video_id) for name in line.customdata)
    assert (first.start, first.end) in {(shape.x0, shape.x1) for shape in figure.layout.shapes}


def test_the_overview_tells_what_it_leaves_out(two_cameras: Index) -> None:
    found = answer(two_cameras, Request(text="green", limit=9)).moments
    figure, left_out = overview(two_cameras, found, UTC)
    assert left_out == "1 videos have no known clock time"
    assert figure.data[0].y[0] == "north"
    assert figure.data[0].x[0] == NOON.replace(tzinfo=None)
    assert set(figure.data[-1].y) == {"north"}


def test_marks_are_kept_and_the_last_one_counts(two_cameras: Index) -> None:
    request = Request(text="green")
    right, wrong = answer(two_cameras, request).moments[:2]
    marks = Marks("somewhere", "fingerprint")
    marks.add(right, request, right=False)
    marks.add(right, request, right=True, by="ann")
    marks.add(wrong, request, right=False)
    again = Marks("somewhere", "fingerprint")
    assert (again.of(right, request), again.of(wrong, request)) == (True, False)
    assert again.of(right, Request(text="red")) is None
    assert Marks("elsewhere", "fingerprint").all() == []
    (query,) = json.loads(evaluation_data(again.all(), {}))["queries"]
    assert query["query"] == "green"
    assert [(len(query["right"]), query["right"][0]["start"]), len(query["wrong"])] == [(1, right.start), 1]


@pytest.mark.parametrize(
    ("request_", "context", "told"),
    [
        (Request(text="a lion"), Context((), NOON), "no footage yet"),
        (Request(text="a lion"), Context(("north",), NOON, NOON), "Nothing like that here."),
        (Request(text="a lion", after=NOON), Context(("north",), NOON), "no footage here has a known clock time"),
        (Request(text="a lion", cameras=("north",)), Context(("north",), NOON, NOON), "remove one of them"),
    ],
)
def test_nothing_is_an_answer_too(request_: Request, context: Context, told: str) -> None:
    assert told in words.sentence(Answer(()), request_, context)


def test_a_script_that_the_suite_does_not_know() -> None:
    assert words.foreign_script("一个骑自行车的人", ("en",))
    assert words.foreign_script("a café in Köln", ("en",)) is None
    assert words.foreign_script("一个骑自行车的人", ("en", "zh")) is None
