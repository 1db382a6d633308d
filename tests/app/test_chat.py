"""Turns of a conversation, without Gradio: what a message with files becomes, and what goes wrong in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.films import Film
from var_plugin.api import Index
from var_plugin.app.chat import drop, say, view
from var_plugin.app.conversation import Request
from var_plugin.app.feedback import Marks
from var_plugin.app.ingest_queue import Adder
from var_plugin.app.media_registry import Shelf
from var_plugin.app.options import PageOptions
from var_plugin.app.session import Session
from var_plugin.app.state import Desk


@pytest.fixture
def desk(two_cameras: Index) -> Desk:
    return Desk(
        two_cameras,
        PageOptions(),
        Shelf(two_cameras, lambda _: True),
        Marks("asking", "fingerprint"),
        Adder(two_cameras),
    )


@pytest.fixture
def image(tmp_path: Path) -> str:
    Image.new("RGB", (64, 48), (20, 220, 20)).save(tmp_path / "green.png")
    return str(tmp_path / "green.png")


def test_an_image_with_conditions_beside_it(desk: Desk, image: str) -> None:
    session = say(desk, Session(), "only on the north camera", [image])
    assert session.request == Request(image=image, cameras=("north",))
    assert (session.shown[0].camera, session.shown[0].start) == ("north", 8.0)
    assert session.turns[-1].files == ("green.png",)


def test_an_image_begins_anew(desk: Desk, image: str) -> None:
    session = say(desk, say(desk, Session(), "blue", []), "", [image])
    assert session.request == Request(image=image)


def test_a_sound_where_the_suite_hears_nothing(desk: Desk, film: Film) -> None:
    sound = film("said.webm.mp4", seconds=2, tone=440.0, images=False)
    session = say(desk, Session(), "", [str(sound)])
    assert session.shown == ()
    assert "cannot encode audio" in session.turns[-1].told


@pytest.mark.parametrize("names", [("notes.txt",), ("a.png", "b.png")])
def test_files_that_make_no_question(desk: Desk, names: tuple[str, ...], tmp_path: Path) -> None:
    session = say(desk, Session(), "green", [str(tmp_path / name) for name in names])
    assert session.request == Request()
    assert "send one of" in session.turns[-1].told


@pytest.mark.parametrize("name", ["empty.png", "empty.wav", "empty.mp4", "empty.webm"])
def test_an_empty_file_is_answered_in_one_sentence(desk: Desk, name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    session = say(desk, Session(), "", [str(tmp_path / name)])
    assert session.turns[-1].told == f"{name} is empty: it holds no bytes; copy or record it again"


def test_no_folder_is_told(desk: Desk, tmp_path: Path) -> None:
    session = say(desk, Session(), "", [str(tmp_path / "a secret" / "gone.png")])
    assert "gone.png" in session.turns[-1].told
    assert "secret" not in session.turns[-1].told


def test_a_time_at_which_nothing_was_recorded_may_be_a_look(desk: Desk) -> None:
    session = say(desk, Session(), "green at night on the north camera", [])
    assert session.request == Request(text="green at night", cameras=("north",))
    assert session.shown[0].start == 8.0
    assert "taken as a description" in session.turns[-1].told
    for message in ("blue at 11 pm", "blue on Friday night"):
        assert say(desk, session, message, []).shown == (), "that is a time and nothing else"
    assert say(desk, say(desk, Session(), "green", []), "at night", []).shown == ()


def test_undo_and_chips(desk: Desk) -> None:
    first = say(desk, Session(), "green", [])
    second = say(desk, first, "on the north camera", [])
    assert say(desk, second, "go back", []).request == first.request
    assert drop(desk, second, "cameras").request == first.request
    assert drop(desk, second, "made up") == second


def test_what_is_not_there_cannot_be_viewed(desk: Desk) -> None:
    session = say(desk, Session(), "green", [])
    for made_up in ("x", "feed-0-1000", f"{session.shown[0].video_id}-900000-901000"):
        assert view(desk, session, made_up) == session


def test_an_empty_message_changes_nothing(desk: Desk) -> None:
    assert say(desk, Session(), "  ", []) == Session()
