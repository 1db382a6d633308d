"""Files that the sandbox makes. It may not write any: what a muxer writes is collected, and the parent writes it."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import av
import numpy as np
from av.container import OutputContainer
from numpy.typing import NDArray

from var_plugin.errors import InvalidInputError, os_error_message

Steps = Generator[float, None, tuple[float, float, tuple[str, ...]]]
"""Yields how far a clip is done and returns where it begins and ends, all in seconds from the video's start, and what
is to be said of it."""

_BUFFER_BYTES = 1 << 18
_PROGRESS_SECONDS = 0.25


class OutputFile:
    """A file object for PyAV that keeps what is written until it is taken.

    Args:
        suffix: file ending, which chooses the container.
    """

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self.name = f"clip{suffix}"
        self._pieces: list[tuple[int, bytes]] = []
        self._position = self._end = 0

    def open(self) -> OutputContainer:
        """Open the file for muxing.

        Raises:
            ValueError: there is no container of that ending.
        """
        # Some muxers open further files by name, such as the parts of a playlist.
        return av.open(self, "w", buffer_size=_BUFFER_BYTES, io_open=_refuse)

    def write(self, data: bytes) -> int:
        """Keep the data for its place in the file."""
        self._pieces.append((self._position, bytes(data)))
        self.seek(len(data), os.SEEK_CUR)
        self._end = max(self._end, self._position)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to another place in the file."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        return self._position

    def tell(self) -> int:
        """Return the place in the file."""
        return self._position

    def take(self) -> list[tuple[int, bytes]]:
        """Return what was written since the last call, and at which offset."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def refused(self, video: Path, error: Exception) -> InvalidInputError:
        """Return the error for a container that does not take the streams."""
        return InvalidInputError(
            f"cannot write a clip of {video.name} as a {self.suffix} file",
            why=os_error_message(error),
            fix="name another target, such as one that ends in .mkv",
        )


def results(steps: Steps, output: OutputFile) -> Iterator[tuple[dict[str, Any], NDArray[np.uint8] | None]]:
    """Yield what a clip's steps write, how far they are at least four times a second, and at last the clip's span."""
    reached, announced = 0.0, time.monotonic()
    is_done = False
    while not is_done:
        try:
            reached = next(steps)
        except StopIteration as stop:
            is_done, span = True, stop.value
        for offset, data in output.take():
            yield {"offset": offset, "time": reached}, np.frombuffer(data, np.uint8)
        if time.monotonic() - announced > _PROGRESS_SECONDS:
            announced = time.monotonic()
            yield {"reached": reached}, None
    yield {"start": span[0], "end": span[1], "notes": span[2]}, None


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(f"a clip is one file, and {url} would be another")
