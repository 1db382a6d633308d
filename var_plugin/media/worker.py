"""The child process behind `media.guard`: decodes what it is told to, one job at a time, and can be killed any time.

It cannot write files, and its memory is limited.
"""

from __future__ import annotations

import logging
import os
import queue
import resource
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from var_plugin.errors import DecodingMemoryError, VarPluginError
from var_plugin.media.audio import decode_audio
from var_plugin.media.container import OUT_OF_MEMORY, probe
from var_plugin.media.frames import FrameReader, picture_at
from var_plugin.media.limits import Limits
from var_plugin.media.wire import Wire

Result = tuple[dict[str, Any], NDArray[Any] | None]


def _frames(path: Path, limits: Limits, **options: Any) -> Iterator[Result]:
    reader = FrameReader(path, limits=limits, **options)
    for frame in reader:
        yield {"time": frame.time}, frame.picture
        if frame.motion is not None:
            yield {"motion": True}, frame.motion
    yield {"end": reader.end}, None


def _picture(path: Path, limits: Limits, **options: Any) -> Iterator[Result]:
    yield {}, picture_at(path, limits=limits, **options)


def _audio(path: Path, limits: Limits) -> Iterator[Result]:
    reached = 0
    for samples in decode_audio(path, limits):
        reached += len(samples)
        yield {"samples": reached}, samples


def _probe(path: Path, limits: Limits) -> Iterator[Result]:
    yield asdict(probe(path, limits)), None


JOBS: dict[str, Callable[..., Iterator[Result]]] = {
    "frames": _frames, "picture": _picture, "audio": _audio, "probe": _probe,
}  # fmt: skip


class _Forward(logging.Handler):
    """Hands warnings over to the process that asked."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(logging.WARNING)
        self._wire = wire

    def emit(self, record: logging.LogRecord) -> None:
        self._wire.send({"warning": record.getMessage()})


def main(descriptor: int) -> None:
    """Serve jobs from the connection until its other end is closed."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wire = Wire(socket.socket(fileno=descriptor))
    logging.getLogger("var_plugin").addHandler(_Forward(wire))
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_receive, args=(wire, jobs), daemon=True).start()
    wire.send({"ready": True})
    while True:
        _serve(wire, **jobs.get())


def _receive(wire: Wire, jobs: queue.Queue[dict[str, Any]]) -> None:
    """Take jobs in; end the process, in the middle of decoding as well, when nobody is there to take its results."""
    try:
        while True:
            jobs.put(wire.receive()[0])
    except (EOFError, OSError):
        os._exit(0)


def _serve(wire: Wire, job: str, path: str, limits: dict[str, Any], options: dict[str, Any]) -> None:
    allowed = Limits(**limits)
    resource.setrlimit(resource.RLIMIT_AS, (allowed.memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        for values, array in JOBS[job](Path(path), allowed, **options):
            wire.send({"values": values}, array)
        wire.send({"done": True})
    except OUT_OF_MEMORY:
        error = DecodingMemoryError(
            f"decoding {path} needs too much memory",
            why=f"the limit is {allowed.memory >> 20} MB",
            fix="scale it down with: ffmpeg -i FILE -vf scale=1920:-2 SMALLER.mp4",
        )
        wire.send(_failure(error))
        os._exit(1)  # what is left of the heap is not worth another job
    except VarPluginError as error:
        wire.send(_failure(error))


def _failure(error: VarPluginError) -> dict[str, Any]:
    return {"error": type(error).__name__, "what": error.what, "why": error.why, "fix": error.fix}


if __name__ == "__main__":
    main(int(sys.argv[1]))
