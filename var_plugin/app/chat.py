"""One turn of the conversation: from a message, a removed chip or a clicked card to the next session."""

from __future__ import annotations

import logging
import mimetypes
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from var_plugin.app import formatting as words
from var_plugin.app.assistant import Assistant
from var_plugin.app.cards import cards
from var_plugin.app.chat_search import answer, moment_of
from var_plugin.app.conversation import Context, Request, understand
from var_plugin.app.conversation.request import Chip, chips, remove
from var_plugin.app.conversation.times import CLOCK, DAY, PART
from var_plugin.app.feedback_calibration import calibrate
from var_plugin.app.ingest_queue import public
from var_plugin.app.session import Session, Turn, context_of
from var_plugin.app.state import Desk
from var_plugin.errors import AssistantError, InvalidInputError, NoVideoStreamError, VarPluginError
from var_plugin.media.files import check_file
from var_plugin.media.sandbox.client import probe
from var_plugin.retrievers.text import sanitize_name

logger = logging.getLogger(__name__)

Media = Literal["image", "audio", "video"]

_BY_ITS_LIGHT = re.compile(rf"\b(?:in the|at|by) {PART}\b", re.IGNORECASE)
_BY_THE_CLOCK = re.compile(rf"\b(?:{DAY}|{CLOCK})", re.IGNORECASE)


def say(desk: Desk, session: Session, text: str, files: Sequence[str]) -> Session:
    """Answer a message of words, files, or both; an unexpected error is an answer, too."""
    if not text.strip() and not files:
        return session
    said = Turn(text, tuple(Path(file).name for file in files), "", "")
    try:
        return _reply(desk, session, text, files, said)
    except Exception as error:
        logger.exception("a message on the page could not be answered")
        return session.told(said, words.unexpected(error))


def _reply(desk: Desk, session: Session, text: str, files: Sequence[str], said: Turn) -> Session:
    context = context_of(session, desk.index, desk.options.zone)
    try:
        before = Request(**_uploaded(files)) if files else session.request
    except VarPluginError as error:
        return session.told(said, public(str(error), *map(Path, files)))
    if not text.strip():
        return _answered(desk, session, before, said, context)
    if desk.assistant and not files:
        return _assisted(desk, desk.assistant, session, text, said, context)
    understood = understand(text, before, context)
    if understood.action == "undo":
        back = session.back()
        return _answered(desk, back, back.request, said, context)
    if understood.action == "play" and understood.place is not None:
        moment = session.shown[understood.place]
        return session.viewing(moment).told(said, f"Playing moment {understood.place + 1}.")
    notes = list(understood.notes)
    if understood.request == before and notes and not files:
        return session.told(said, _sentences(notes))
    # An image stays the query when the text beside it only sets conditions.
    request = understood.request.but(**_uploaded(files)) if files else understood.request
    answered = _answered(desk, session, request, said, context, notes)
    look = _look(text)
    if answered.shown or look is None or not request.text or request.text == session.request.text:
        return answered
    described = request.but(text=f"{request.text} {look}", after=None, before=None)
    notes.append(f"nothing was recorded then, so “{look}” is taken as a description")
    return _answered(desk, session, described, said, context, notes)


def _look(text: str) -> str | None:
    """Return the words of a question that can be a time as well as a look: "a tower lit up in the evening"."""
    found = _BY_ITS_LIGHT.search(text)
    return found[0] if found and not _BY_THE_CLOCK.search(text) else None


def drop(desk: Desk, session: Session, key: str) -> Session:
    """Answer again without the part of the request that a chip stands for."""
    request = remove(session.request, key)
    if request == session.request:
        return session
    context = context_of(session, desk.index, desk.options.zone)
    return _answered(desk, session, request, Turn("", (), "", ""), context)


def ask_again(desk: Desk, session: Session) -> Session:
    """Answer the last question again where it had no answer for want of footage."""
    context = context_of(session, desk.index, desk.options.zone)
    if not context.cameras or not session.turns or words.NO_FOOTAGE not in session.turns[-1].told:
        return session
    return _answered(desk, session, session.request, Turn("", (), "", ""), context, ["there is footage now"])


def view(desk: Desk, session: Session, moment_id: str) -> Session:
    """Bring a moment that is known by its id into view: a click on the timeline."""
    known = next((moment for moment in session.shown if moment.id == moment_id), None)
    try:
        return session.viewing(known or moment_of(desk.index, moment_id))
    except VarPluginError:
        return session


def chips_of(desk: Desk, session: Session) -> list[Chip]:
    """Return what is asked for, as chips."""

    def name(moment_id: str) -> str:
        try:
            moment = next((m for m in session.shown if m.id == moment_id), None) or moment_of(desk.index, moment_id)
        except VarPluginError:
            return "a moment that is gone"
        return f"{sanitize_name(moment.camera)} {words.span(moment)}"

    return chips(session.request, name)


def _answered(
    desk: Desk,
    session: Session,
    request: Request,
    said: Turn,
    context: Context,
    notes: Sequence[str] = (),
    model_says: str | None = None,
) -> Session:
    description = desk.index.suite.description
    warning = words.foreign_script(request.text, description.languages) if request.text else None
    try:
        found = answer(desk.index, request)
    except VarPluginError as error:
        return session.told(
            said, f"{_sentences(notes)} This cannot be answered: {_without_folders(error, session, request)}".strip()
        )
    if request.parts and (curve := calibrate(desk.marks.all(), request.parts, desk.index.suite.fingerprint)):
        found = replace(found, moments=curve.told(found.moments))
    told = [
        model_says or words.sentence(found, request, context),
        *filter(None, [_sentences(notes), warning]),
    ]
    tokens = [desk.shelf.token(moment) for moment in found.moments]
    html = cards(found.moments, tokens, desk.options.zone, desk.index.suite.anomaly_scope) if found.moments else ""
    turn = Turn(said.said, said.files, " ".join(told), html)
    return session.answered(request, found.moments, turn)


def _assisted(desk: Desk, assistant: Assistant, session: Session, text: str, said: Turn, context: Context) -> Session:
    try:
        request, told = assistant.read(text, desk.index, session.request, context)
    except AssistantError as error:
        return session.told(said, f"{error}.")
    return _answered(desk, session, request, said, context, model_says=told)


def _uploaded(files: Sequence[str]) -> dict[Media, str]:
    """Return the files by what they are.

    Raises:
        InvalidInputError: one is neither image, audio nor video, or two are of a kind.
        VarPluginError: as `check_file`; one is empty.
    """
    found: dict[Media, str] = {}
    for file in files:
        kind = _kind(file)
        if kind not in ("image", "audio", "video"):
            raise InvalidInputError(f"{Path(file).name} is neither image, audio nor video", fix="send one of these")
        if kind in found:
            raise InvalidInputError(f"two files are of the kind {kind}", fix="send one of each kind at most")
        found[kind] = file  # type: ignore[index]
    for file in files:
        check_file(Path(file))
    return found


def _kind(file: str) -> str:
    kind = (mimetypes.guess_type(file)[0] or "").partition("/")[0]
    if kind == "video":
        try:
            probe(Path(file))
        except NoVideoStreamError:  # a recording of the microphone may come as WebM
            return "audio"
        except VarPluginError:  # the search will say what is wrong with it
            pass
    return kind


def _sentences(notes: Sequence[str]) -> str:
    return " ".join(f"{note[:1].upper()}{note[1:]}." for note in notes)


def _without_folders(error: VarPluginError, session: Session, request: Request) -> str:
    """Return an error's message without the folders of the files that it can be about."""
    told = str(error)
    files = [request.image, request.audio, request.video, *(moment.uri for moment in session.shown)]
    told = public(told, *map(Path, filter(None, files)))
    return " ".join(Path(word).name if word.count("/") > 1 else word for word in told.split(" "))
