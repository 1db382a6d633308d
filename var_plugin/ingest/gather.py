"""From the rows that workers send, in whatever order and however often, to videos in an index and a receipt's lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from var_plugin.encoders.sound import Heard, HeardRun, join_heard
from var_plugin.encoders.video import Clips, ReadRun, join_runs
from var_plugin.errors import EngineError
from var_plugin.index.video_index import VideoIndex
from var_plugin.ingest.file import Footage, Look, begin
from var_plugin.ingest.ray_workers import End, Place, Read, Row
from var_plugin.ingest.rows import Embedded, Rows, Streams, embed
from var_plugin.ingest.sound_rows import sound_rows
from var_plugin.ingest.video import Progress, attempt, failure
from var_plugin.types import VideoReceipt

R = TypeVar("R", ReadRun, HeardRun)


def gather(
    index: VideoIndex,
    files: Mapping[int, Footage],
    streams: Streams,
    rows: Iterator[Row],
    progress: Progress | None = None,
) -> Iterator[tuple[int, VideoReceipt]]:
    """Store each file as soon as all of its rows are there; yield its number and its line.

    A file of which something never comes fails, and so do all that are left when the rows end in an `EngineError`.
    """
    waiting = {number: _Parts() for number in files}
    why = "a worker met an error that nobody foresaw; it is in the log above"
    try:
        for row in rows:
            number = row["number"]
            if number in waiting and waiting[number].take(row["item"]):
                line = _line(index, files[number], streams, waiting.pop(number))
                yield number, line
                if progress and line.duration is not None and line.status == "stored":
                    progress(files[number].path, line.duration)
    except EngineError as error:
        why = str(error)
    for number in waiting:
        lost = EngineError(
            f"a part of the work on {files[number].path} was lost for good",
            why=why,
            fix="run the same command again: what is stored stays as it is",
        )
        yield number, failure(files[number].path, lost)


@dataclass
class _Parts:
    """What has come of one file."""

    look: Look | None = None
    runs: dict[Place, Read] = field(default_factory=dict)
    end: End | None = None
    failed: VideoReceipt | None = None

    def take(self, item: Any) -> bool:
        """Take in what came; tell whether that is all of it."""
        match item:
            case Look():
                self.look = item
            case Read():
                self.runs[item.place] = item
            case End():
                self.end = item
            case VideoReceipt():
                self.failed = item
        whole = self.look is not None and self.end is not None and len(self.runs) == self.end.runs
        return whole or self.failed is not None

    def embedded(self, streams: Streams, end: End) -> Embedded:
        """Return what the vectors make of the video."""
        clips = [self._clips(reader, seen) for reader, seen in enumerate(end.seen)]
        sounds: Rows = {}
        for space, samples in end.heard.items():
            if rows := sound_rows(self._heard(space, streams.sounds[space].window, samples)):
                sounds[space] = rows
        return streams.represent(clips, sounds, end.left_out)

    def _clips(self, reader: int, end: float) -> Clips:
        return join_runs(self._stream(reader, ReadRun), lambda: end)

    def _heard(self, space: str, window: int, samples: int) -> Heard:
        return join_heard(self._stream(space, HeardRun), window, lambda: samples)

    def _stream(self, stream: int | str, kind: type[R]) -> list[R]:
        """Return the runs of one stream in order."""
        found = sorted((place[1], read.run) for place, read in self.runs.items() if place[0] == stream)
        return [run for _, run in found if isinstance(run, kind)]


def _line(index: VideoIndex, footage: Footage, streams: Streams, parts: _Parts) -> VideoReceipt:
    """Store a file of which everything is there, or that failed; return its line."""
    look, end = parts.look, parts.end
    if parts.failed is not None:
        return parts.failed.model_copy(update={"path": str(footage.path)})
    assert look is not None  # noqa: S101  (for the type checker)
    assert end is not None  # noqa: S101

    def embedded() -> Embedded:
        if not end.runs:  # it was in the index when the run began, and is not any more
            return embed(footage.path, index.suite)
        look.clock.count("embed", sum(read.seconds for read in parts.runs.values()))
        return parts.embedded(streams, end)

    return attempt(footage.path, lambda: begin(index, footage, look, embedded).store())
