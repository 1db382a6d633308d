"""User feedback on moments: stored line by line as JSON and exported as evaluation data."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from var_plugin.app.conversation import ChatRequest
from var_plugin.config import settings
from var_plugin.errors import os_error_message
from var_plugin.private_files import make_private_folder
from var_plugin.types import Moment, Value

logger = logging.getLogger(__name__)


class Feedback(Value):
    """One user judgement, right or wrong, of a moment that was returned for a request."""

    created_at: datetime
    text: str | None
    query_fields: tuple[str, ...]
    """The query fields of the request that were set. Query media are not stored."""
    video_id: str
    camera: str
    start: float
    end: float
    peak: float
    score: float
    matched: dict[str, float]
    suite: str
    """Fingerprint of the suite that computed the score."""
    is_right: bool
    user: str | None = None
    """The user who is logged in; None on a page without login."""


class FeedbackStore:
    """The feedback on one index, in a JSON Lines file.

    Args:
        index_uri: URI of the index. Each index has a file of its own.
        suite: fingerprint of the suite.
    """

    def __init__(self, index_uri: str, suite: str) -> None:
        name = hashlib.sha256(index_uri.encode()).hexdigest()[:16]
        self._path = settings().data / "feedback" / f"{name}.jsonl"
        self._suite = suite
        self._lock = threading.Lock()

    def add(self, moment: Moment, request: ChatRequest, is_right: bool, user: str | None = None) -> None:
        """Store a judgement. It replaces an earlier one of the same moment for the same request."""
        entry = Feedback(
            created_at=datetime.now(UTC), text=request.text, query_fields=request.query_fields, suite=self._suite,
            is_right=is_right, user=user,
            **moment.model_dump(include={"video_id", "camera", "start", "end", "peak", "score", "matched"}),
        )  # fmt: skip
        line = entry.model_dump_json().encode() + b"\n"
        with self._lock:
            make_private_folder(self._path.parent)
            with open(self._path, "ab+", opener=_open_private) as file:
                # A killed process may have left an incomplete line, which must not swallow this one.
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    line = line if file.read(1) == b"\n" else b"\n" + line
                file.write(line)

    def judgement(self, moment: Moment, request: ChatRequest) -> bool | None:
        """Return whether a moment was judged right for a request; None if it was not judged."""
        for entry in self.all():
            if (entry.text, entry.video_id, entry.start, entry.end) == (
                request.text,
                moment.video_id,
                moment.start,
                moment.end,
            ):
                return entry.is_right
        return None

    def all(self) -> list[Feedback]:
        """Return the latest judgement per request and moment, newest first."""
        latest: dict[tuple[Any, ...], Feedback] = {}
        for entry in reversed(list(self._read())):
            key = (entry.text, entry.query_fields, entry.video_id, entry.start, entry.end)
            latest.setdefault(key, entry)
        return list(latest.values())

    def _read(self) -> Iterable[Feedback]:
        """Yield the judgements, oldest first. Damaged lines, and a file that cannot be read, do not stop the page."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            logger.warning("the feedback in %s is not used: %s", self._path, os_error_message(error))
            return
        # Not by `splitlines`: a text may contain characters such as U+2028, which JSON does not escape.
        for line in content.split(b"\n"):
            try:
                yield Feedback.model_validate_json(line)
            except ValidationError:  # an incomplete line of an interrupted write, or a damaged one
                continue


def evaluation_data(feedback: Iterable[Feedback], files: dict[str, Path]) -> str:
    """Return the text queries with their right and wrong moments, as JSON.

    Args:
        feedback: what `FeedbackStore.all` returned.
        files: the file of each video by video id. Only file names are exported.
    """
    queries: dict[str, dict[str, Any]] = {}
    for entry in feedback:
        if entry.text is None or set(entry.query_fields) != {"text"}:
            continue
        query = queries.setdefault(entry.text, {"query": entry.text, "right": [], "wrong": []})
        name = files[entry.video_id].name if entry.video_id in files else None
        query["right" if entry.is_right else "wrong"].append(
            {"video_id": entry.video_id, "file": name, "start": entry.start, "end": entry.end, "score": entry.score}
        )
    return json.dumps({"queries": list(queries.values())}, ensure_ascii=False, indent=2)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
