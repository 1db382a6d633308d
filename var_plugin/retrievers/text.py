"""Words for language models: what the index knows about a moment, as text that holds data and nothing else.

Camera and file names come from whoever owns the footage. They are quoted, shortened and stripped of everything that a
chat window would render as a link or an image, so that they read as the data they are.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from pathlib import Path

from var_plugin.types import Moment

MAX_NAME_LENGTH = 80

_INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
_MARKUP = re.compile(r'[\[\]<>`"\\]|://|www\.', re.IGNORECASE)


def sanitize_name(name: str) -> str:
    """Return a name as inert text of at most 80 characters: no control characters, no markup, no address."""
    visible = "".join(" " if unicodedata.category(letter) in _INVISIBLE else letter for letter in name)
    inert = " ".join(_MARKUP.sub("_", visible).split())
    return inert if len(inert) <= MAX_NAME_LENGTH else f"{inert[: MAX_NAME_LENGTH - 1]}…"


def quoted(name: str) -> str:
    """Return a name as data within a sentence."""
    return f'"{sanitize_name(name)}"'


def clock(time: datetime) -> str:
    """Return a clock time to the second, with its zone."""
    return f"{time:%Y-%m-%d %H:%M:%S %Z}"


def describe(moment: Moment) -> str:
    """Return one sentence on a moment, for a language model or a person."""
    recorded = f", recorded {clock(moment.recorded_at)}" if moment.recorded_at else ""
    spaces = " and ".join(f"{space} ({score:.1f})" for space, score in sorted(moment.matched.items()))
    return (
        f"Camera {quoted(moment.camera)}{recorded}: from {moment.start:.1f} s to {moment.end:.1f} s of "
        f"{quoted(Path(moment.uri).name)}, best at {moment.peak:.1f} s. Matched by {spaces}; score {moment.score:.2f} "
        f"(deviations above unrelated footage), anomaly score {moment.anomaly_score:.2f}."
    )
