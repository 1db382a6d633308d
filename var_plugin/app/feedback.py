"""What people said about moments, right or wrong: kept line by line, and exported as evaluation data."""

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

from var_plugin.app.conversation import Request
from var_plugin.config import settings
from var_plugin.private_files import make_private_folder
from var_plugin.types import Moment, Value


class Mark(Value):
    """One judgement of one moment as an answer to one request."""

    at: datetime
    text: str | None
    asked: tuple[str, ...]
    """The modalities of the request; an image or a sound itself is not kept."""
    video_id: str
    camera: str
    start: float
    end: float
    peak: float
    score: float
    matched: dict[str, float]
    suite: str
    """Fingerprint of what gave the score."""
    right: bool
    by: str | None = None
    """Who is logged in, where a login is asked for."""


class Marks:
    """The marks of one index, in a file of their own.

    Args:
        index_uri: where the index lies; other indexes have other files.
        suite: fingerprint of the suite.
    """

    def __init__(self, index_uri: str, suite: str) -> None:
        name = hashlib.sha256(index_uri.encode()).hexdigest()[:16]
        self._path = settings().data / "marks" / f"{name}.jsonl"
        self._suite = suite
        self._lock = threading.Lock()

    def add(self, moment: Moment, request: Request, right: bool, by: str | None = None) -> None:
        """Keep a judgement; a later one of the same moment for the same request replaces it."""
        mark = Mark(
            at=datetime.now(UTC), text=request.text, asked=request.parts, suite=self._suite, right=right, by=by,
            **moment.model_dump(include={"video_id", "camera", "start", "end", "peak", "score", "matched"}),
        )  # fmt: skip
        with self._lock:
            make_private_folder(self._path.parent)
            with open(self._path, "a", encoding="utf-8", opener=_open_private) as file:
                file.write(mark.model_dump_json() + "\n")

    def of(self, moment: Moment, request: Request) -> bool | None:
        """Return how a moment was judged for a request; None where it was not."""
        for mark in self.all():
            if (mark.text, mark.video_id, mark.start, mark.end) == (
                request.text,
                moment.video_id,
                moment.start,
                moment.end,
            ):
                return mark.right
        return None

    def all(self) -> list[Mark]:
        """Return what counts, latest first: of several marks on the same thing the last one."""
        latest: dict[tuple[Any, ...], Mark] = {}
        for mark in reversed(list(self._read())):
            latest.setdefault((mark.text, mark.asked, mark.video_id, mark.start, mark.end), mark)
        return list(latest.values())

    def _read(self) -> Iterable[Mark]:
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                yield Mark.model_validate_json(line)
            except ValidationError:  # a line that was not written to its end
                continue


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def evaluation_data(marks: Iterable[Mark], files: dict[str, Path]) -> str:
    """Return the marks as queries with the moments that answer them and those that do not, as JSON.

    Args:
        marks: what `Marks.all` returned.
        files: the file of each video; only its name is told.
    """
    queries: dict[str, dict[str, Any]] = {}
    for mark in marks:
        if mark.text is None or set(mark.asked) != {"text"}:
            continue
        query = queries.setdefault(mark.text, {"query": mark.text, "right": [], "wrong": []})
        name = files[mark.video_id].name if mark.video_id in files else None
        query["right" if mark.right else "wrong"].append(
            {"video_id": mark.video_id, "file": name, "start": mark.start, "end": mark.end, "score": mark.score}
        )
    return json.dumps({"queries": list(queries.values())}, ensure_ascii=False, indent=2)
