"""What the page says, in sentences and short phrases; all of it text, not HTML."""

from __future__ import annotations

import unicodedata
from datetime import tzinfo

from var_plugin.app.chat_search import Answer
from var_plugin.app.conversation import Context, Request
from var_plugin.app.conversation.search_rules import UNUSUAL_FROM
from var_plugin.encoders.suite import SuiteDescription
from var_plugin.retrievers.moments import is_below_threshold
from var_plugin.retrievers.text import sanitize_name
from var_plugin.types import Moment

NO_FOOTAGE = "There is no footage yet: add some, or try the demo footage."
_LANGUAGES = {"en": "English", "zh": "Chinese", "de": "German", "fr": "French", "es": "Spanish", "ja": "Japanese"}
_MODALITIES = ("text", "image", "audio", "video")


def span(moment: Moment) -> str:
    """Return where in its video a moment lies: 2:08 – 2:16."""
    return f"{minutes(moment.start)} – {minutes(moment.end)}"


def minutes(seconds: float) -> str:
    """Return seconds as people read them off a player: 0:41, 1:02:08."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def clock(moment: Moment, zone: tzinfo) -> str:
    """Return when a moment was recorded, or that nobody knows."""
    return (
        f"{moment.recorded_at.astimezone(zone):%a %d %b %Y, %H:%M:%S %Z}"
        if moment.recorded_at
        else "clock time unknown"
    )


def sureness(moment: Moment) -> str:
    """Return how sure the answer is: a confidence where the suite is calibrated, else the score."""
    if moment.confidence is not None:
        return f"confidence {moment.confidence:.0%}"
    return f"score {moment.score:.1f}" if moment.matched else ""


def sentence(answer: Answer, request: Request, context: Context) -> str:
    """Return the one sentence of an answer."""
    if not answer.moments:
        return _nothing(request, context)
    first = answer.moments[0]
    number = len(answer.moments)
    found = f"{number} moment{'s' if number > 1 else ''}"
    where = f"{sanitize_name(first.camera)}, {clock(first, context.zone or context.now.tzinfo)}"  # type: ignore[arg-type]
    if answer.browsed:
        highest = max(moment.anomaly_score for moment in answer.moments)
        none = "" if highest >= UNUSUAL_FROM else f"No anomaly score here reaches {UNUSUAL_FROM}. "
        return f"{none}The most unusual here: {found}, first {where}."
    if all(is_below_threshold(moment) for moment in answer.moments):
        return f"Nothing like that here, says the confidence; the nearest: {found}, first {where}."
    return f"{found}; the {'first' if request.order != 'best' else 'best'} is {where}."


def _nothing(request: Request, context: Context) -> str:
    if not context.cameras:
        return NO_FOOTAGE
    asked_time = request.after or request.before
    if asked_time and context.recorded_until is None:
        return "Nothing: no footage here has a known clock time, so no time can be asked for."
    conditions = [
        request.cameras,
        asked_time,
        request.min_anomaly,
        request.without,
        request.louder_than,
        request.quieter_than,
    ]
    if any(condition not in (None, ()) for condition in conditions):
        return "Nothing like that within these conditions; remove one of them below to look further."
    return "Nothing like that here."


def valid(text: str) -> str:
    """Return a text without what has no UTF-8 form, as parts of a file name may have none, and without controls."""
    encodable = text.encode("utf-8", "replace").decode()
    return "".join(" " if unicodedata.category(letter) == "Cc" and letter != "\n" else letter for letter in encodable)


def unexpected(error: Exception) -> str:
    """Return the sentence for an error that the package does not foresee; its message is left out for its paths."""
    return f"This failed with an unexpected error ({type(error).__name__}); the log of the page has the details."


def suite_line(description: SuiteDescription) -> str:
    """Return what the suite is, knows and takes."""
    languages = " and ".join(_LANGUAGES.get(language, language) for language in description.languages)
    taken = {modality for modalities in description.spaces.values() for modality in modalities}
    known = ", ".join(modality for modality in _MODALITIES if modality in taken)
    missing = [modality for modality in _MODALITIES if modality not in taken]
    return (
        f"Suite {description.name}: understands {languages}; takes {known}"
        + (f"; no {' and no '.join(missing)} yet" if missing else "")
        + "."
    )


def model_line(model: str | None) -> str:
    """Return what leaves this machine where a language model reads the messages; empty without one."""
    if not model:
        return ""
    provider = model.partition(":")[0]
    return (
        f"The language model {model} reads the messages. They, the names of cameras and what searches find, as text, "
        f"go to its provider, {provider}. Images, audio and video do not."
    )


def foreign_script(text: str, languages: tuple[str, ...]) -> str | None:
    """Return a warning where a text is written in letters that none of the suite's languages uses."""
    if set(languages) - {"en", "de", "fr", "es", "it", "nl", "pt"}:
        return None
    letters = [letter for letter in text if letter.isalpha()]
    foreign = [letter for letter in letters if not unicodedata.name(letter, "").startswith("LATIN")]
    if len(foreign) * 2 <= len(letters) or not letters:
        return None
    known = " and ".join(_LANGUAGES.get(language, language) for language in languages)
    return f"This suite knows {known} only: what it finds for other languages means little."
