"""The sentences and short phrases of the page, as plain text (not HTML)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import tzinfo

from var_plugin.app.chat_search import ChatAnswer
from var_plugin.app.conversation import ChatRequest, Context
from var_plugin.app.unusual import MAX_MOMENTS, MIN_LISTED_ANOMALY, Feed, Selection
from var_plugin.encoders.suite import SuiteDescription
from var_plugin.retrievers.text import NOVELTY_KIND, UNRECOGNISED_KIND, sanitize_name
from var_plugin.types import Moment

NO_FOOTAGE = "There is no footage yet. Add some, or try the demo footage."
NO_TIMELINE = "The recording times of the footage are unknown, so there is no timeline."
_LANGUAGES = {"en": "English", "zh": "Chinese", "de": "German", "fr": "French", "es": "Spanish", "ja": "Japanese"}
_MODALITIES = ("text", "image", "audio", "video")


def format_span(moment: Moment) -> str:
    """Return a moment's start and end in its video: 2:08 – 2:16."""
    return f"{format_position(moment.start)} – {format_position(moment.end)}"


def format_position(seconds: float) -> str:
    """Return seconds in the form of a video player: 0:41, 1:02:08."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def format_clock_time(moment: Moment, zone: tzinfo) -> str:
    """Return when a moment was recorded, or that it is unknown."""
    return (
        f"{moment.recorded_at.astimezone(zone):%a %d %b %Y, %H:%M:%S %Z}"
        if moment.recorded_at
        else "recording time unknown"
    )


def format_match(moment: Moment) -> str:
    """Return the grade of a moment, else its score; empty for a moment without a query."""
    if moment.grade is not None:
        return f"{moment.grade} match"
    return f"score {moment.score:.1f}" if moment.matched else ""


def count(number: int, noun: str) -> str:
    """Return a number with its noun: 1 moment, 2 moments."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_duration(seconds: float) -> str:
    """Return a length of footage in words: 40 seconds, 12 minutes, 3.5 hours."""
    if seconds < 60:
        return count(round(seconds), "second")
    return count(round(seconds / 60), "minute") if seconds < 3600 else f"{seconds / 3600:.1f} hours"


def summarize_feed(feed: Feed, selection: Selection) -> str:
    """Return the sentences above the feed: counts by kind, and how much footage has no recording time."""
    if not feed.has_footage:
        return NO_FOOTAGE
    undated = undated_footage(feed.undated_seconds)
    if not feed.total:
        filtered = " with these filters" if selection != Selection() else ""
        return f"No unusual moments{filtered}. {undated}".strip()
    at_least = "" if feed.is_complete else "At least "
    kinds = "" if selection.kind else f": {list_kinds(feed.kinds)}"
    return f"{at_least}{count(feed.total, 'unusual moment')}{kinds}. {undated}".strip()


def list_kinds(kinds: Mapping[str, int]) -> str:
    """Return kinds of events with their number of moments, the most frequent first; novelty comes last."""
    ranked = sorted(kinds.items(), key=lambda item: (item[0] in (NOVELTY_KIND, UNRECOGNISED_KIND), -item[1], item[0]))
    return ", ".join(f"{kind} {number}" for kind, number in ranked)


def undated_footage(seconds: float, *, is_searched: bool = True) -> str:
    """Return a sentence on the footage without a recording time; empty if there is none."""
    if not seconds:
        return ""
    duration = format_duration(seconds)
    has, is_ = ("has", "is") if duration.startswith("1 ") else ("have", "are")
    return f"{duration} of footage {has} no recording time{'' if is_searched else f' and {is_} not searched'}."


def summarize_answer(answer: ChatAnswer, request: ChatRequest, context: Context) -> str:
    """Return the sentences above the cards of an answer."""
    if not answer.moments:
        return _empty_answer(request, context)
    highest = max(answer.moments, key=lambda moment: moment.anomaly_score)
    first = highest if answer.is_browsing else answer.moments[0]
    number = count(len(answer.moments), "moment")
    where = f"{sanitize_name(first.camera)}, {format_clock_time(first, context.zone or context.now.tzinfo)}"  # type: ignore[arg-type]
    if answer.is_browsing:
        return _summarize_unusual(answer, request, number, where)
    if all(moment.grade == "weak" for moment in answer.moments):
        return f"No clear match. Closest: {number}, first {where}."
    return f"{number}. {'Best match' if request.order == 'best' else 'First'}: {where}."


def _summarize_unusual(answer: ChatAnswer, request: ChatRequest, number: str, where: str) -> str:
    """Return how many moments are unusual, by kind, and how much footage has no recording time."""
    total = sum(answer.kinds.values())
    sentences = [f"No moment reaches the anomaly score {MIN_LISTED_ANOMALY}. Closest: {number}."]
    if total:
        at_least = "At least " if total >= MAX_MOMENTS else ""
        sentences = [f"{at_least}{count(total, 'unusual moment')}: {list_kinds(answer.kinds)}."]
        if total > len(answer.moments):
            sentences.append(f"Shown: {len(answer.moments)}.")
    sentences.append(f"Highest score: {where}.")
    has_dates = bool(request.after or request.before)
    undated = undated_footage(answer.undated_seconds, is_searched=not has_dates)
    return " ".join(filter(None, [*sentences, undated]))


def _empty_answer(request: ChatRequest, context: Context) -> str:
    if not context.cameras:
        return NO_FOOTAGE
    time_limit = request.after or request.before
    if time_limit and context.recorded_until is None:
        return "No results. The recording times of the footage are unknown, so it cannot be filtered by time."
    conditions = [
        request.cameras,
        time_limit,
        request.min_anomaly,
        request.without,
        request.louder_than,
        request.quieter_than,
    ]
    if any(condition not in (None, ()) for condition in conditions):
        return "No results with these conditions. Remove one of them below to search further."
    return "No results."


def clean_text(text: str) -> str:
    """Return a text without control characters and without code points that UTF-8 cannot encode."""
    encodable = text.encode("utf-8", "replace").decode()
    return "".join(" " if unicodedata.category(letter) == "Cc" and letter != "\n" else letter for letter in encodable)


def unexpected_error(error: Exception) -> str:
    """Return the sentence for an unexpected error. Its message is omitted, because it may contain paths."""
    return f"This failed with an unexpected error ({type(error).__name__}). See the log of the page for details."


def describe_suite(description: SuiteDescription) -> str:
    """Return the suite's name, languages and modalities."""
    languages = " and ".join(_LANGUAGES.get(language, language) for language in description.languages)
    accepted = {modality for modalities in description.spaces.values() for modality in modalities}
    supported = ", ".join(modality for modality in _MODALITIES if modality in accepted)
    missing = [modality for modality in _MODALITIES if modality not in accepted]
    return (
        f"Suite {description.name}. Query languages: {languages}. Query types: {supported}"
        + (f" (not {' or '.join(missing)})" if missing else "")
        + "."
    )


def describe_model(model: str | None) -> str:
    """Return sentences on the data that is sent to the provider of a language model; empty without a model."""
    if not model:
        return ""
    provider = model.partition(":")[0]
    return (
        f"The language model {model} reads the messages. Messages, camera names and search results are sent to its "
        f"provider, {provider}, as text. Images, audio and video are not sent."
    )


def script_warning(text: str, languages: tuple[str, ...]) -> str | None:
    """Return a warning if most letters of a text belong to no script of the suite's languages."""
    if set(languages) - {"en", "de", "fr", "es", "it", "nl", "pt"}:
        return None
    letters = [letter for letter in text if letter.isalpha()]
    foreign = [letter for letter in letters if not unicodedata.name(letter, "").startswith("LATIN")]
    if len(foreign) * 2 <= len(letters) or not letters:
        return None
    names = " and ".join(_LANGUAGES.get(language, language) for language in languages)
    return f"This suite supports queries in {names} only. Results for other languages are unreliable."
