"""The parts of a tool: name, description and schemas for the model, and one function that runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from var_plugin.api import Index
from var_plugin.errors import InvalidInputError
from var_plugin.retrievers.text import quote_name, sanitize_name
from var_plugin.types import Filter, Value, Video


@dataclass(frozen=True)
class MediaFile:
    """A file that belongs to a result. Its path is for the calling program and is never shown to the model."""

    kind: Literal["video", "thumbnail", "clip"]
    id: str
    """Id of the moment in the file."""
    path: Path


@dataclass(frozen=True)
class ToolResult:
    """The result of a tool as text and as data. Neither contains a path."""

    text: str
    data: Value
    files: tuple[MediaFile, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A tool on an index. All tools are read-only."""

    name: str
    title: str
    description: str
    arguments: type[Value]
    """Type of the arguments. The model gets its JSON schema."""
    result: type[Value]
    """Type of `ToolResult.data`."""
    run: Callable[[Index, Any], ToolResult]
    """Function of the index and an instance of `arguments`."""


class ScopeArguments(Value):
    """Arguments that limit a tool to cameras and clock times. Default: everything."""

    cameras: tuple[str, ...] | None = Field(
        default=None, max_length=100, description="only these cameras, by their names from list_cameras"
    )
    after: AwareDatetime | None = Field(default=None, description="only what was recorded at or after this time")
    before: AwareDatetime | None = Field(default=None, description="only what was recorded before this time")

    def filter(self, index: Index, *, min_anomaly: float | None = None) -> Filter:
        """Return these arguments as a filter.

        Raises:
            InvalidInputError: the index has no such camera.
        """
        cameras = None if self.cameras is None else stored_cameras(committed_videos(index), self.cameras)
        return Filter(cameras=cameras, after=self.after, before=self.before, min_anomaly=min_anomaly)


def committed_videos(index: Index) -> list[Video]:
    """Return the committed videos."""
    return [video for video in index.videos() if video.state == "committed"]


def stored_cameras(videos: Sequence[Video], names: Sequence[str]) -> tuple[str, ...]:
    """Return the stored camera names of sanitized names.

    Raises:
        InvalidInputError: the index has no such camera.
    """
    stored = sorted({video.camera for video in videos})
    unknown = [name for name in names if sanitize_name(name) not in map(sanitize_name, stored)]
    if unknown:
        raise InvalidInputError(f"no camera {quote_name(unknown[0])} in the index", fix="use a name from list_cameras")
    return tuple(name for name in stored if sanitize_name(name) in map(sanitize_name, names))
