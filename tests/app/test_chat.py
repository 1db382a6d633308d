"""Turns of a conversation, without Gradio: messages, attachments, errors, undo."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.films import Film
from var_plugin.app.chat import handle_message, open_moment, remove_filter
from var_plugin.app.conversation import ChatRequest
from var_plugin.app.session import Session
from var_plugin.app.state import AppState


@pytest.fixture
def image(tmp_path: Path) -> str:
    Image.new("RGB", (64, 48), (20, 220, 20)).save(tmp_path / "green.png")
    return str(tmp_path / "green.png")


def test_an_image_can_have_conditions(state: AppState, image: str) -> None:
    session = handle_message(state, Session(), "only on the north camera", [image])
    assert session.request == ChatRequest(image=image, cameras=("north",))
    assert (session.moments[0].camera, session.moments[0].start) == ("north", 8.0)
    assert session.turns[-1].files == ("green.png",)


def test_an_image_starts_a_new_request(state: AppState, image: str) -> None:
    session = handle_message(state, handle_message(state, Session(), "blue", []), "", [image])
    assert session.request == ChatRequest(image=image)


def test_audio_is_refused_by_a_suite_without_audio(state: AppState, film: Film) -> None:
    audio = film("speech.webm.mp4", seconds=2, tone=440.0, images=False)
    session = handle_message(state, Session(), "", [str(audio)])
    assert session.moments == ()
    assert "cannot encode audio" in session.turns[-1].answer


@pytest.mark.parametrize("names", [("notes.txt",), ("a.png", "b.png")])
def test_unusable_attachments_are_refused(state: AppState, names: tuple[str, ...], tmp_path: Path) -> None:
    session = handle_message(state, Session(), "green", [str(tmp_path / name) for name in names])
    assert session.request == ChatRequest()
    assert "attach" in session.turns[-1].answer


@pytest.mark.parametrize("name", ["empty.png", "empty.wav", "empty.mp4", "empty.webm"])
def test_an_empty_file_is_answered_in_one_sentence(state: AppState, name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    session = handle_message(state, Session(), "", [str(tmp_path / name)])
    assert session.turns[-1].answer == f"{name} is empty: its size is 0 bytes; copy or record it again"


def test_an_error_names_no_folder(state: AppState, tmp_path: Path) -> None:
    session = handle_message(state, Session(), "", [str(tmp_path / "a secret" / "gone.png")])
    assert "gone.png" in session.turns[-1].answer
    assert "secret" not in session.turns[-1].answer


def test_a_part_of_the_day_without_footage_becomes_a_description(state: AppState) -> None:
    session = handle_message(state, Session(), "green at night on the north camera", [])
    assert session.request == ChatRequest(text="green at night", cameras=("north",))
    assert session.moments[0].start == 8.0
    assert "searched for as a description" in session.turns[-1].answer
    for message in ("blue at 11 pm", "blue on Friday night"):
        assert handle_message(state, session, message, []).moments == (), "an explicit time stays a condition"
    assert handle_message(state, handle_message(state, Session(), "green", []), "at night", []).moments == ()


def test_undo_and_removed_chips_restore_the_request(state: AppState) -> None:
    first = handle_message(state, Session(), "green", [])
    second = handle_message(state, first, "on the north camera", [])
    assert handle_message(state, second, "go back", []).request == first.request
    assert remove_filter(state, second, "cameras").request == first.request
    assert remove_filter(state, second, "unknown") == second


def test_an_unknown_moment_cannot_be_opened(state: AppState) -> None:
    session = handle_message(state, Session(), "green", [])
    for invalid in ("x", "feed-0-1000", f"{session.moments[0].video_id}-900000-901000"):
        assert open_moment(state, session, invalid) == session


def test_an_empty_message_changes_nothing(state: AppState) -> None:
    assert handle_message(state, Session(), "  ", []) == Session()


def test_unusual_moments_are_listed_afresh_by_kind_and_explained(state: AppState) -> None:
    narrowed = handle_message(state, handle_message(state, Session(), "green", []), "on 2 November 2026", [])
    assert narrowed.request.after
    session = handle_message(state, narrowed, "anything unusual?", [])
    assert session.request == ChatRequest()
    assert session.moments[0].anomaly_score == max(moment.anomaly_score for moment in session.moments)
    assert "unlike this camera's other footage" in session.turns[-1].answer
    assert "2 minutes of footage have no recording time" in session.turns[-1].answer
    assert session.turns[-1].cards.count('class="vp-kind"') == 1
    explained = handle_message(state, session, "why?", [])
    assert "the other footage of this camera (novelty" in explained.turns[-1].answer
    assert explained.moments == session.moments
    assert "no moment yet" in handle_message(state, Session(), "why?", []).turns[-1].answer
