"""Text about moments for language models and people.

Camera and file names are untrusted: they come from the owner of the footage or of a memory card. They are quoted,
shortened and stripped of everything that a chat window would render as a link or an image.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from pathlib import Path

from var_plugin.types import Moment

MAX_NAME_LENGTH = 80
NOVELTY_KIND = "unlike this camera's other footage"
"""Stands for the kind of event of a moment that is novel."""
UNRECOGNISED_KIND = "no recognised kind"
"""Stands for the kind of a moment with weak events that is not novel."""
MIN_NOVELTY = 0.5
"""A moment with at least this novelty is called novel."""

# Minimum novelty and the words for it.
_NOVELTY_WORDS = ((0.7, "Very unlike"), (0.4, "Somewhat unlike"), (0.0, "Much like"))
_INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
_MARKUP = re.compile(r'[\[\]<>`"\\]|://|www\.', re.IGNORECASE)


def sanitize_name(name: str) -> str:
    """Return a name without control characters, markup and URLs, shortened to 80 characters."""
    visible = "".join(" " if unicodedata.category(letter) in _INVISIBLE else letter for letter in name)
    inert = " ".join(_MARKUP.sub("_", visible).split())
    return inert if len(inert) <= MAX_NAME_LENGTH else f"{inert[: MAX_NAME_LENGTH - 1]}…"


def quote_name(name: str) -> str:
    """Return a sanitized name in quotation marks."""
    return f'"{sanitize_name(name)}"'


def format_clock(time: datetime) -> str:
    """Return a clock time with seconds and time zone."""
    return f"{time:%Y-%m-%d %H:%M:%S %Z}"


def describe_moment(moment: Moment) -> str:
    """Return one sentence about a moment."""
    recorded = f", recorded {format_clock(moment.recorded_at)}" if moment.recorded_at else ""
    spaces = " and ".join(f"{space} ({score:.1f})" for space, score in sorted(moment.matched.items()))
    match = f"{moment.grade.capitalize()} match" if moment.grade else "Matched"
    matched = (
        f" {match} by {spaces}; score {moment.score:.2f} (standard deviations above unrelated footage)."
        if moment.matched
        else ""
    )
    return (
        f"Camera {quote_name(moment.camera)}{recorded}: from {moment.start:.1f} s to {moment.end:.1f} s of "
        f"{quote_name(Path(moment.uri).name)}, best at {moment.peak:.1f} s.{matched} "
        f"Anomaly score {moment.anomaly_score:.2f}{describe_events(moment)}."
    )


def kinds_of(moment: Moment) -> tuple[str, ...]:
    """Return the recognised kinds of events of a moment, the strongest first, or what stands for them."""
    unrecognised = NOVELTY_KIND if moment.novelty >= MIN_NOVELTY else UNRECOGNISED_KIND
    return tuple(event.kind for event in moment.events) or (unrecognised,)


def describe_events(moment: Moment) -> str:
    """Return the strongest kind of event of a moment and its reason, as ` (fire: flames above a roof)`, or nothing."""
    if not moment.events:
        return ""
    event = moment.events[0]
    return f" ({event.kind}: {event.reason})" if event.reason else f" ({event.kind})"


def explain(moment: Moment) -> str:
    """Return why a moment is unusual: the kind of event, the sentence that it resembles, and its novelty in words."""
    sentences = [
        f"Looks like {event.kind} ({event.score:.2f})"
        + (f": “{sanitize_name(event.reason).removesuffix('.')}”." if event.reason else ".")
        for event in moment.events
        if event.kind in kinds_of(moment)
    ]
    degree = next(words for least, words in _NOVELTY_WORDS if moment.novelty >= least)
    return " ".join([*sentences, f"{degree} the other footage of this camera (novelty {moment.novelty:.2f})."])
