"""Checking an index against its own receipts: what the catalogue says was stored, and what the store holds."""

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
from var_plugin.index.rows import NO_ROWS, checksum, fault, join_checksums
from var_plugin.index.schema import Row, is_id
from var_plugin.types import Value


class Problem(Value):
    """Something that is not as the receipts say.

    `unfinished`: the video is not committed; being written now, or interrupted. `count`: its rows are not as many as
    were stored. `changed`: its keys or vectors are not the ones that were stored. `vector`: a vector must not be in its
    space. `row`: a time, an anomaly score or a name in a row is not possible. `orphan`: rows of a video that the
    catalogue does not know.
    """

    kind: Literal["unfinished", "count", "changed", "vector", "row", "orphan"]
    video_id: str
    space: str | None
    detail: str


class Verification(Value):
    """What was checked and what was wrong."""

    videos: int
    rows: dict[str, int]
    """Rows looked at, per space."""
    problems: tuple[Problem, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """True when everything is as the receipts say."""
        return not self.problems


class _Seen:
    """What the store holds of one video in one space."""

    def __init__(self) -> None:
        self.rows = 0
        self.checksum = NO_ROWS
        self.wrong: str | None = None
        self.fault: str | None = None

    def add(self, rows: list[Row], space: Space) -> None:
        self.rows += len(rows)
        self.checksum = join_checksums(self.checksum, checksum(rows))
        self.fault = self.fault or next(filter(None, map(fault, rows)), None)
        try:
            check_vectors(np.array([row["vector"] for row in rows], np.float32), space)
        except InvalidVectorError as error:
            self.wrong = str(error)


def verify(index: VideoGeneration) -> Verification:
    """Look at every row and every vector of an index; others may work on it meanwhile.

    Raises:
        StoreError: the store failed.
    """
    entries = {entry.video_id: entry for entry in index.all_entries()}
    problems: list[Problem] = []
    looked_at: dict[str, int] = {}
    for name, space in index.suite.spaces.items():
        held = _held(index, space)
        looked_at[name] = sum(seen.rows for seen in held.values())
        for video_id in sorted(entries.keys() | held.keys()):
            problems.extend(_compare(entries.get(video_id), video_id, name, held[video_id]))
    problems.extend(
        Problem(kind="unfinished", video_id=entry.video_id, space=None, detail=f"{_path(entry)} is {entry.state}")
        for entry in entries.values()
        if entry.state != "committed"
    )
    # What was written or deleted while we looked is no problem.
    lasting = tuple(
        problem
        for problem in problems
        if not is_id(problem.video_id) or index.entry(problem.video_id) == entries.get(problem.video_id)
    )
    return Verification(videos=len(entries), rows=looked_at, problems=lasting)


def _held(index: VideoGeneration, space: Space) -> defaultdict[str, _Seen]:
    held: defaultdict[str, _Seen] = defaultdict(_Seen)
    for page in index.rows(space.name):
        by_video: defaultdict[str, list[Row]] = defaultdict(list)
        for row in page:
            by_video[row["video_id"]].append(row)
        for video_id, rows in by_video.items():
            held[video_id].add(rows, space)
    return held


def _compare(entry: Entry | None, video_id: str, space: str, seen: _Seen) -> Iterator[Problem]:
    if entry is None:
        detail = f"{seen.rows} rows of a video that the catalogue does not know"
        yield Problem(kind="orphan", video_id=video_id, space=space, detail=detail)
    elif entry.state == "committed":
        if seen.wrong:
            yield Problem(kind="vector", video_id=video_id, space=space, detail=f"{_path(entry)}: {seen.wrong}")
        if seen.fault:
            yield Problem(kind="row", video_id=video_id, space=space, detail=f"{_path(entry)}: of a row, {seen.fault}")
        if seen.rows != (stored := entry.rows.get(space, 0)):
            detail = f"{_path(entry)} has {seen.rows} rows, {stored} were stored"
            yield Problem(kind="count", video_id=video_id, space=space, detail=detail)
        elif seen.checksum != entry.checksums.get(space, NO_ROWS):
            detail = f"{_path(entry)} has other keys or vectors than were stored"
            yield Problem(kind="changed", video_id=video_id, space=space, detail=detail)


def _path(entry: Entry) -> str:
    return entry.sightings[-1].path
