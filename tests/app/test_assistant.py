"""A chat model that says what the test wants, around the real tools and the real search."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from tests.retrievers.conftest import NOON
from var_plugin.api import Index
from var_plugin.app.assistant import Assistant, load_assistant
from var_plugin.app.chat import chips_of, say
from var_plugin.app.feedback import Marks
from var_plugin.app.ingest_queue import Adder
from var_plugin.app.media_registry import Shelf
from var_plugin.app.options import PageOptions
from var_plugin.app.session import Session
from var_plugin.app.state import Desk
from var_plugin.errors import InvalidInputError


class Scripted(GenericFakeChatModel):
    """Says one line after another, and keeps what it was told."""

    heard: list[Any] = []  # noqa: RUF012  (a field of pydantic)

    def bind_tools(self, tools: Any, **_: Any) -> Scripted:
        assert {tool.name for tool in tools} >= {"search_moments", "similar_moments"}
        return self

    def _generate(self, messages: Any, *words: Any, **more: Any) -> Any:
        self.heard.append(messages)
        return super()._generate(messages, *words, **more)


def call(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": name}])


def asked(index: Index, *lines: AIMessage) -> tuple[Desk, Session, Scripted]:
    model = Scripted(messages=iter(lines), heard=[])
    desk = Desk(
        index,
        PageOptions(),
        Shelf(index, lambda _: True),
        Marks(index.uri, "fingerprint"),
        Adder(index),
        Assistant(model),
    )
    return desk, say(desk, Session(), "the green thing up north, after eleven", []), model


def test_what_the_model_searched_for_becomes_the_request(two_cameras: Index) -> None:
    eleven = NOON.replace(hour=11).isoformat()
    desk, session, model = asked(
        two_cameras,
        call("search_moments", query="green", cameras=["nowhere"]),
        call("search_moments", query="green", cameras=["north"], after=eleven),
        AIMessage("It is on the <b>north</b> camera."),
    )
    assert (session.request.text, session.request.cameras) == ("green", ("north",))
    assert session.request.after == NOON.replace(hour=11)
    assert [chip.label for chip in chips_of(desk, session)] == ["looking for", "camera", "after"]
    assert (session.shown[0].camera, session.shown[0].start) == ("north", 8.0)
    assert session.turns[-1].told == "It is on the <b>north</b> camera."
    assert "no camera" in str(model.heard[1][-1].content), "the tool's error went back to the model"


def test_a_model_that_does_not_search(two_cameras: Index) -> None:
    _, session, _ = asked(two_cameras, AIMessage("I would rather chat."))
    assert session.shown == ()
    assert "did not search" in session.turns[-1].told


def test_a_model_that_fails(two_cameras: Index) -> None:
    _, session, _ = asked(two_cameras)
    assert "the language model failed" in session.turns[-1].told


def test_a_model_that_nobody_knows() -> None:
    with pytest.raises(InvalidInputError, match="cannot use the chat model"):
        load_assistant("nobody:nothing")
