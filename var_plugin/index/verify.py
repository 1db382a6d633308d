"""Verify an index: compare the rows in the store with the counts and checksums in the catalog."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import computed_field

from var_plugin.encoders.base import Space, check_vectors
from var_plugin.errors import InvalidVectorError
from var_plugin.index.catalog import Entry
from var_plugin.index.generation import VideoGeneration
from var_plugin.index.rows import NO_ROWS, checksum, join_checksums, row_error
from var_plugin.index.schema import Row, is_id
from var_plugin.types import Value


class Problem(Value):
    """A difference between the catalog and the store.

    Kinds: `unfinished`: the video is not committed, because it is being written or was interrupted. `count`: the number
    of rows differs. `changed`: the checksum over keys and vectors differs. `vector`: a vector is invalid for its space.
    `row`: a time, an anomaly score or a name is invalid. `orphan`: rows of a video without a catalog row.
    """

    kind: Literal["unfinished", "count", "changed", "vector", "row", "orphan"]
    video_id: str
    space: str | None
    detail: str


class Verification(Value):
    """The result of a verification."""

    videos: int
    rows: dict[str, int]
    """Number of rows checked, per space."""
    problems: tuple[Problem, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """True if there are no problems."""
        return not self.problems


class _StoredRows:
    """The rows of one video in one space: their count, checksum and first errors."""

    def __init__(self) -> None:
        self.count = 0
        self.checksum = NO_ROWS
        self.vector_error: str | None = None
        self.row_error: str | None = None

    def add(self, rows: list[Row], space: Space) -> None:
        self.count += len(rows)
        self.checksum = join_checksums(self.checksum, checksum(rows))
        self.row_error = self.row_error or next(filter(None, map(row_error, rows)), None)
        try:
            check_vectors(np.array([row["vector"] for row in rows], np.float32), space)
        except InvalidVectorError as error:
            self.vector_error = str(error)


def verify(index: VideoGeneration) -> Verification:
    """Check every row and every vector of an index. Other processes may write to it at the same time.

    Raises:
        StoreError: the store failed.
    """
    entries = {entry.video_id: entry for entry in index.all_entries()}
    problems: list[Problem] = []
    checked_rows: dict[str, int] = {}
    for name, space in index.suite.spaces.items():
        stored = _stored_rows(index, space)
        checked_rows[name] = sum(rows.count for rows in stored.values())
        for video_id in sorted(entries.keys() | stored.keys()):
            problems.extend(_compare(entries.get(video_id), video_id, name, stored[video_id]))
    problems.extend(
        Problem(kind="unfinished", video_id=entry.video_id, space=None, detail=f"{_path(entry)} is {entry.state}")
        for entry in entries.values()
        if entry.state != "committed"
    )
    # Videos that were written or deleted meanwhile are not problems.
    confirmed = tuple(
        problem
        for problem in problems
        if not is_id(problem.video_id) or index.entry(problem.video_id) == entries.get(problem.video_id)
    )
    return Verification(videos=len(entries), rows=checked_rows, problems=confirmed)


def _stored_rows(index: VideoGeneration, space: Space) -> defaultdict[str, _StoredRows]:
    stored: defaultdict[str, _StoredRows] = defaultdict(_StoredRows)
    for page in index.rows(space.name):
        by_video: defaultdict[str, list[Row]] = defaultdict(list)
        for row in page:
            by_video[row["video_id"]].append(row)
        for video_id, rows in by_video.items():
            stored[video_id].add(rows, space)
    return stored


def _compare(entry: Entry | None, video_id: str, space: str, stored: _StoredRows) -> Iterator[Problem]:
    if entry is None:
        detail = f"{stored.count} rows of a video without a catalog row"
        yield Problem(kind="orphan", video_id=video_id, space=space, detail=detail)
    elif entry.state == "committed":
        if stored.vector_error:
            yield Problem(
                kind="vector", video_id=video_id, space=space, detail=f"{_path(entry)}: {stored.vector_error}"
            )
        if stored.row_error:
            yield Problem(
                kind="row", video_id=video_id, space=space, detail=f"{_path(entry)}: in a row, {stored.row_error}"
            )
        if stored.count != (expected := entry.rows.get(space, 0)):
            detail = f"{_path(entry)} has {stored.count} rows instead of {expected}"
            yield Problem(kind="count", video_id=video_id, space=space, detail=detail)
        elif stored.checksum != entry.checksums.get(space, NO_ROWS):
            detail = f"{_path(entry)} has changed keys or vectors"
            yield Problem(kind="changed", video_id=video_id, space=space, detail=detail)


def _path(entry: Entry) -> str:
    return entry.latest_sighting.path
