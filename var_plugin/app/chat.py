"""Turns of the conversation: a message, a removed chip or a click gives the next session."""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from var_plugin.app import formatting
from var_plugin.app.assistant import Assistant
from var_plugin.app.cards import cards
from var_plugin.app.chat_search import answer_request
from var_plugin.app.conversation import ChatRequest, Context, parse_message
from var_plugin.app.conversation.patterns import compile_rule
from var_plugin.app.conversation.request import Chip, chips, remove_chip
from var_plugin.app.feedback_calibration import calibrate
from var_plugin.app.ingest_queue import strip_folders
from var_plugin.app.session import Session, Turn, context_of
from var_plugin.app.state import AppState
from var_plugin.errors import AssistantError, InvalidInputError, NoVideoStreamError, VarPluginError
from var_plugin.media.files import check_file
from var_plugin.media.sandbox.client import probe
from var_plugin.retrievers.text import explain, sanitize_name
from var_plugin.types import Moment

logger = logging.getLogger(__name__)

Media = Literal["image", "audio", "video"]

_PART_OF_DAY = compile_rule(r"(?:in the|at|by) {part}")
_DAY_OR_CLOCK = compile_rule(r"{day}|{clock}")


def handle_message(state: AppState, session: Session, text: str, files: Sequence[str]) -> Session:
    """Answer a message of text, files, or both. An unexpected error becomes the answer."""
    if not text.strip() and not files:
        return session
    turn = Turn(text, tuple(Path(file).name for file in files))
    try:
        return _reply(state, session, text, files, turn)
    except Exception as error:
        logger.exception("a message on the page could not be answered")
        return session.with_reply(turn, formatting.unexpected_error(error))


def remove_filter(state: AppState, session: Session, key: str) -> Session:
    """Answer the request again without the part of a chip."""
    request = remove_chip(session.request, key)
    if request == session.request:
        return session
    context = context_of(session, state.index, state.options.zone)
    return _answer(state, session, request, Turn(""), context)


def repeat_question(state: AppState, session: Session) -> Session:
    """Answer the last question again if its answer was that there is no footage."""
    context = context_of(session, state.index, state.options.zone)
    if not context.cameras or not session.turns or formatting.NO_FOOTAGE not in session.turns[-1].answer:
        return session
    return _answer(state, session, session.request, Turn(""), context, ["there is footage now"])


def open_moment(state: AppState, session: Session, moment_id: str) -> Session:
    """Select the moment with an id, as after a click on the timeline. An invalid id changes nothing."""
    try:
        return session.select(_lookup(state, session, moment_id))
    except VarPluginError:
        return session


def build_chips(state: AppState, session: Session) -> list[Chip]:
    """Return the chips of the current request."""

    def name(moment_id: str) -> str:
        try:
            moment = _lookup(state, session, moment_id)
        except VarPluginError:
            return "a deleted moment"
        return f"{sanitize_name(moment.camera)} {formatting.format_span(moment)}"

    return chips(session.request, name)


def _lookup(state: AppState, session: Session, moment_id: str) -> Moment:
    """Return the moment with an id, from the last answer if it is there.

    Raises:
        VarPluginError: as `Index.moment`.
    """
    in_answer = next((moment for moment in session.moments if moment.id == moment_id), None)
    return in_answer or state.index.moment(moment_id)


def _reply(state: AppState, session: Session, text: str, files: Sequence[str], turn: Turn) -> Session:
    context = context_of(session, state.index, state.options.zone)
    try:
        previous = ChatRequest(**_attachments(files)) if files else session.request
    except VarPluginError as error:
        return session.with_reply(turn, strip_folders(str(error), *map(Path, files)))
    if not text.strip():
        return _answer(state, session, previous, turn, context)
    if state.assistant and not files:
        return _ask_assistant(state, state.assistant, session, text, turn, context)
    result = parse_message(text, previous, context)
    if result.action == "undo":
        session = session.undo()
        return _answer(state, session, session.request, turn, context)
    if result.action == "play" and result.position is not None:
        moment = session.moments[result.position]
        return session.select(moment).with_reply(turn, f"Playing moment {result.position + 1}.")
    if result.action == "explain" and result.moment:
        return session.with_reply(turn, explain(result.moment))
    notes = list(result.notes)
    if result.request == previous and notes and not files:
        return session.with_reply(turn, _sentences(notes))
    # If the text only sets conditions, the attachment stays the query.
    request = result.request.replace(**_attachments(files)) if files else result.request
    answered = _answer(state, session, request, turn, context, notes)
    part = _ambiguous_part_of_day(text)
    if answered.moments or part is None or not request.text or request.text == session.request.text:
        return answered
    described = request.replace(text=f"{request.text} {part}", after=None, before=None)
    notes.append(f"nothing was recorded then, so “{part}” is searched for as a description")
    return _answer(state, session, described, turn, context, notes)


def _ambiguous_part_of_day(text: str) -> str | None:
    """Return the words that can be a time or a description: "a tower lit up in the evening"."""
    match = _PART_OF_DAY.search(text)
    return match[0] if match and not _DAY_OR_CLOCK.search(text) else None


def _answer(
    state: AppState,
    session: Session,
    request: ChatRequest,
    turn: Turn,
    context: Context,
    notes: Sequence[str] = (),
    model_answer: str | None = None,
) -> Session:
    description = state.index.suite.description
    warning = formatting.script_warning(request.text, description.languages) if request.text else None
    try:
        answer = answer_request(state.index, request)
    except VarPluginError as error:
        reason = _without_folders(error, session, request)
        return session.with_reply(turn, f"{_sentences(notes)} The search failed: {reason}".strip())
    fields = request.query_fields
    if fields and (curve := calibrate(state.feedback.all(), fields, state.index.suite.fingerprint)):
        answer = replace(answer, moments=curve.add_confidence(answer.moments))
    sentences = [
        model_answer or formatting.summarize_answer(answer, request, context),
        *filter(None, [_sentences(notes), warning]),
    ]
    tokens = [state.media.token(moment) for moment in answer.moments]
    scope = state.index.suite.anomaly_scope
    by_kind = answer.is_browsing and request.order == "best"
    html = cards(answer.moments, tokens, state.options.zone, scope, by_kind=by_kind) if answer.moments else ""
    turn = replace(turn, answer=" ".join(sentences), cards=html)
    return session.with_results(request, answer.moments, turn)


def _ask_assistant(
    state: AppState, assistant: Assistant, session: Session, text: str, turn: Turn, context: Context
) -> Session:
    try:
        request, model_answer = assistant.read(text, state.index, session.request, context)
    except AssistantError as error:
        return session.with_reply(turn, f"{error}.")
    return _answer(state, session, request, turn, context, model_answer=model_answer)


def _attachments(files: Sequence[str]) -> dict[Media, str]:
    """Return the files by modality.

    Raises:
        InvalidInputError: a file is neither image, audio nor video, or two files have the same modality.
        VarPluginError: as `check_file`; a file is empty.
    """
    attachments: dict[Media, str] = {}
    for file in files:
        modality = _modality(file)
        if modality not in ("image", "audio", "video"):
            raise InvalidInputError(
                f"{Path(file).name} is neither an image, audio nor a video", fix="attach one of these"
            )
        if modality in attachments:
            raise InvalidInputError(
                f"two {modality} files are attached", fix="attach at most one image, one audio file and one video"
            )
        attachments[modality] = file  # type: ignore[index]
    for file in files:
        check_file(Path(file))
    return attachments


def _modality(file: str) -> str:
    modality = (mimetypes.guess_type(file)[0] or "").partition("/")[0]
    if modality == "video":
        try:
            probe(Path(file))
        except NoVideoStreamError:  # browsers record the microphone as WebM
            return "audio"
        except VarPluginError:  # the search reports the error
            pass
    return modality


def _sentences(notes: Sequence[str]) -> str:
    return " ".join(f"{note[:1].upper()}{note[1:]}." for note in notes)


def _without_folders(error: VarPluginError, session: Session, request: ChatRequest) -> str:
    """Return an error's message without the folders of the files that it may name."""
    files = [request.image, request.audio, request.video, *(moment.uri for moment in session.moments)]
    message = strip_folders(str(error), *map(Path, filter(None, files)))
    return " ".join(Path(word).name if word.count("/") > 1 else word for word in message.split(" "))
