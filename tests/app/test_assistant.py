"""The assistant with a scripted chat model, the real tools and the real search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from PIL import Image

from tests.retrievers.conftest import NOON
from var_plugin.api import Index
from var_plugin.app.assistant import Assistant, load_assistant
from var_plugin.app.chat import build_chips, handle_message
from var_plugin.app.feedback import FeedbackStore
from var_plugin.app.ingest_queue import IngestQueue
from var_plugin.app.media_registry import MediaRegistry
from var_plugin.app.options import PageOptions
from var_plugin.app.session import Session
from var_plugin.app.state import AppState
from var_plugin.errors import InvalidInputError
from var_plugin.watch.saved_alerts import SavedAlerts


class Scripted(GenericFakeChatModel):
    """Returns scripted replies and records the messages that it receives."""

    received: list[Any] = []  # noqa: RUF012  (a field of pydantic)

    def bind_tools(self, tools: Any, **_: Any) -> Scripted:
        assert {tool.name for tool in tools} >= {"search_moments", "similar_moments"}
        return self

    def _generate(self, messages: Any, *words: Any, **more: Any) -> Any:
        self.received.append(messages)
        return super()._generate(messages, *words, **more)


def call(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": name}])


def ask_assistant(index: Index, *replies: AIMessage) -> tuple[AppState, Session, Scripted]:
    model = Scripted(messages=iter(replies), received=[])
    state = AppState(
        index,
        PageOptions(),
        MediaRegistry(index, lambda _: True),
        FeedbackStore(index.uri, "fingerprint"),
        IngestQueue(index),
        SavedAlerts(Path("alerts.json")),
        Assistant(model),
    )
    return state, handle_message(state, Session(), "the green thing up north, after eleven", []), model


def test_the_last_search_of_the_model_becomes_the_request(two_cameras: Index) -> None:
    eleven = NOON.replace(hour=11).isoformat()
    state, session, model = ask_assistant(
        two_cameras,
        call("search_moments", query="green", cameras=["nowhere"]),
        call("search_moments", query="green", cameras=["north"], after=eleven),
        AIMessage("It is on the <b>north</b> camera."),
    )
    assert (session.request.text, session.request.cameras) == ("green", ("north",))
    assert session.request.after == NOON.replace(hour=11)
    assert [chip.label for chip in build_chips(state, session)] == ["looking for", "camera", "after"]
    assert (session.moments[0].camera, session.moments[0].start) == ("north", 8.0)
    assert session.turns[-1].answer == "It is on the <b>north</b> camera."
    assert "no camera" in str(model.received[1][-1].content), "the model received the error of the tool"


def test_an_answer_without_a_search_is_an_error(two_cameras: Index) -> None:
    _, session, _ = ask_assistant(two_cameras, AIMessage("I would rather chat."))
    assert session.moments == ()
    assert "did not search" in session.turns[-1].answer


def test_an_error_of_the_model_is_reported(two_cameras: Index) -> None:
    _, session, _ = ask_assistant(two_cameras)
    assert "the language model failed" in session.turns[-1].answer


def test_a_message_with_an_attachment_is_not_sent_to_the_model(two_cameras: Index, tmp_path: Path) -> None:
    state, session, model = ask_assistant(two_cameras, AIMessage("unused"))
    received = len(model.received)
    image = tmp_path / "green.png"
    Image.new("RGB", (64, 48), (20, 180, 20)).save(image)
    session = handle_message(state, session, "on the north camera", [str(image)])
    assert session.moments[0].camera == "north"
    assert len(model.received) == received


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="cannot use the chat model"):
        load_assistant("nobody:nothing")
