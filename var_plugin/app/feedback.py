"""User feedback on moments: stored line by line as JSON and exported as evaluation data."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from var_plugin.app.conversation import ChatRequest
from var_plugin.config import settings
from var_plugin.private_files import make_private_folder
from var_plugin.types import Moment, Value


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
        with self._lock:
            make_private_folder(self._path.parent)
            with open(self._path, "a", encoding="utf-8", opener=_open_private) as file:
                file.write(entry.model_dump_json() + "\n")

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
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                yield Feedback.model_validate_json(line)
            except ValidationError:  # an incomplete line of an interrupted write
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
