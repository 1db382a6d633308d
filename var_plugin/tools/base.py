"""What a tool is, whoever calls it: names and schemas for the model, one function that answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from var_plugin.errors import InvalidInputError
from var_plugin.index.index import VideoIndex
from var_plugin.retrievers.text import quote_name, sanitize_name
from var_plugin.types import Filter, Value, Video


@dataclass(frozen=True)
class MediaFile:
    """A file that belongs to an answer. Its path is for the program around the model and never for the model."""

    kind: Literal["video", "thumbnail", "clip"]
    id: str
    """Id of the moment that it shows."""
    path: Path


@dataclass(frozen=True)
class Answer:
    """What a tool found: the same thing as text and as data; neither holds a path."""

    text: str
    data: Value
    files: tuple[MediaFile, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A tool of an index. All of them only read."""

    name: str
    title: str
    description: str
    arguments: type[Value]
    """What it takes; the model sees its JSON schema."""
    result: type[Value]
    """The type of `Answer.data`."""
    run: Callable[[VideoIndex, Any], Answer]
    """Takes the index and an instance of `arguments`."""


class Scope(Value):
    """Cameras and clock times; everything where nothing is said."""

    cameras: tuple[str, ...] | None = Field(
        default=None, max_length=100, description="only these cameras, by their names as list_cameras gives them"
    )
    after: AwareDatetime | None = Field(default=None, description="only what was recorded at or after this time")
    before: AwareDatetime | None = Field(default=None, description="only what was recorded before this time")

    def filter(self, index: VideoIndex, *, min_anomaly: float | None = None) -> Filter:
        """Return the filter for it.

        Raises:
            InvalidInputError: there is no such camera.
        """
        cameras = None if self.cameras is None else stored_cameras(committed_videos(index), self.cameras)
        return Filter(cameras=cameras, after=self.after, before=self.before, min_anomaly=min_anomaly)


def committed_videos(index: VideoIndex) -> list[Video]:
    """Return the videos that may be shown."""
    return [video for video in index.videos() if video.state == "committed"]


def stored_cameras(videos: Sequence[Video], shown: Sequence[str]) -> tuple[str, ...]:
    """Return the stored names of the cameras that a model knows by `sanitize_name` names.

    Raises:
        InvalidInputError: there is no such camera.
    """
    stored = sorted({video.camera for video in videos})
    unknown = [name for name in shown if sanitize_name(name) not in map(sanitize_name, stored)]
    if unknown:
        raise InvalidInputError(f"no camera {quote_name(unknown[0])} in the index", fix="use a name from list_cameras")
    return tuple(name for name in stored if sanitize_name(name) in map(sanitize_name, shown))
