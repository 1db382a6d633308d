"""Output of clips from the sandbox. The sandbox cannot write files: it sends what the muxer writes to its parent."""

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

ClipSteps = Generator[float, None, tuple[float, float, tuple[str, ...]]]
"""A generator that writes a clip. It yields its progress and returns the start and end of the clip, all in seconds from
the start of the video, and notes."""

_BUFFER_BYTES = 1 << 18
_PROGRESS_SECONDS = 0.25


class OutputFile:
    """A file object for PyAV that holds what is written until `take` returns it.

    Args:
        suffix: file suffix, which selects the container.
    """

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self.name = f"clip{suffix}"
        self._pieces: list[tuple[int, bytes]] = []
        self._position = self._end = 0

    def open(self) -> OutputContainer:
        """Open the file for muxing.

        Raises:
            ValueError: no container has this suffix.
        """
        # Some muxers open further files by name, such as the parts of a playlist.
        return av.open(self, "w", buffer_size=_BUFFER_BYTES, io_open=_refuse_file)

    def write(self, data: bytes) -> int:
        """Store data at the current position."""
        self._pieces.append((self._position, bytes(data)))
        self.seek(len(data), os.SEEK_CUR)
        self._end = max(self._end, self._position)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to another position in the file."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        return self._position

    def tell(self) -> int:
        """Return the position in the file."""
        return self._position

    def take(self) -> list[tuple[int, bytes]]:
        """Return the offset and the bytes of each write since the last call."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def error(self, video: Path, error: Exception) -> InvalidInputError:
        """Return the error for a container that rejects the streams."""
        return InvalidInputError(
            f"cannot write a clip of {video.name} as a {self.suffix} file",
            why=os_error_message(error),
            fix="choose another target, such as one that ends in .mkv",
        )


def clip_results(steps: ClipSteps, output: OutputFile) -> Iterator[tuple[dict[str, Any], NDArray[np.uint8] | None]]:
    """Run the steps of a clip. Yield the written data, the progress about four times per second, and the clip's span.

    The values are those of `ClipData`, `ClipProgress` and `ClipSpan` in `media.sandbox.messages`.
    """
    progress, last_report = 0.0, time.monotonic()
    is_done = False
    while not is_done:
        try:
            progress = next(steps)
        except StopIteration as stop:
            is_done, span = True, stop.value
        for offset, data in output.take():
            yield {"offset": offset, "time": progress}, np.frombuffer(data, np.uint8)
        if time.monotonic() - last_report > _PROGRESS_SECONDS:
            last_report = time.monotonic()
            yield {"progress": progress}, None
    yield {"start": span[0], "end": span[1], "notes": span[2]}, None


def _refuse_file(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(f"a clip must be a single file, but its format also writes {url}")
