"""The child process behind `media.guard`: decodes what it is told to, one job at a time, and can be killed any time.

Both sides exchange JSON and raw array bytes. Nothing is pickled: a decoder that a hostile file has taken over must not
be able to run code in the process that asked. Besides it cannot write files, and its memory is limited.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from var_plugin.errors import DecodingMemoryError, VarPluginError
from var_plugin.media.audio import decode_audio
from var_plugin.media.container import OUT_OF_MEMORY, probe
from var_plugin.media.frames import FrameReader, picture_at
from var_plugin.media.limits import Limits

Result = tuple[dict[str, Any], NDArray[Any] | None]
Channel: TypeAlias = "Connection[Any, Any]"


def _frames(path: Path, limits: Limits, **options: Any) -> Iterator[Result]:
    reader = FrameReader(path, limits=limits, **options)
    for frame in reader:
        yield {"time": frame.time}, frame.picture
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

    def __init__(self, channel: Channel) -> None:
        super().__init__(logging.WARNING)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        _send(self._channel, {"warning": record.getMessage()})


def main(descriptor: int) -> None:
    """Serve jobs from the connection until its other end is closed."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    channel: Channel = Connection(descriptor)
    logging.getLogger("var_plugin").addHandler(_Forward(channel))
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_receive, args=(channel, jobs), daemon=True).start()
    _send(channel, {"ready": True})
    while True:
        _serve(channel, **jobs.get())


def _receive(channel: Channel, jobs: queue.Queue[dict[str, Any]]) -> None:
    """Take jobs in; end the process, in the middle of decoding as well, when nobody is there to take its results."""
    try:
        while True:
            jobs.put(json.loads(channel.recv_bytes()))
    except (EOFError, OSError):
        os._exit(0)


def _serve(channel: Channel, job: str, path: str, limits: dict[str, Any], options: dict[str, Any]) -> None:
    allowed = Limits(**limits)
    resource.setrlimit(resource.RLIMIT_AS, (allowed.memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        for values, array in JOBS[job](Path(path), allowed, **options):
            _send(channel, {"values": values}, array)
        _send(channel, {"done": True})
    except OUT_OF_MEMORY:
        error = DecodingMemoryError(
            f"decoding {path} needs too much memory",
            why=f"the limit is {allowed.memory >> 20} MB",
            fix="scale it down with: ffmpeg -i FILE -vf scale=1920:-2 SMALLER.mp4",
        )
        _send(channel, _failure(error))
        os._exit(1)  # what is left of the heap is not worth another job
    except VarPluginError as error:
        _send(channel, _failure(error))


def _failure(error: VarPluginError) -> dict[str, Any]:
    return {"error": type(error).__name__, "what": error.what, "why": error.why, "fix": error.fix}


def _send(channel: Channel, message: dict[str, Any], array: NDArray[Any] | None = None) -> None:
    if array is not None:
        message |= {"shape": array.shape, "dtype": array.dtype.name}
    channel.send_bytes(json.dumps(message).encode())
    if array is not None:
        channel.send_bytes(np.ascontiguousarray(array).data.cast("B"))


if __name__ == "__main__":
    main(int(sys.argv[1]))
