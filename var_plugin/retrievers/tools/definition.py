"""What a tool is, whoever calls it: names and schemas for the model, one function that answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from var_plugin.index.video_index import VideoIndex
from var_plugin.types import Value


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
