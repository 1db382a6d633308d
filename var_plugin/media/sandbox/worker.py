"""The child process behind `media.sandbox.client`.

It decodes one job at a time and can be killed at any time. It cannot write files, and its memory is limited.
"""

from __future__ import annotations

import importlib
import logging
import os
import queue
import resource
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.errors import DecoderCrashedError, DecodingMemoryError, VarPluginError
from var_plugin.media.audio import decode_audio
from var_plugin.media.container import OUT_OF_MEMORY, probe
from var_plugin.media.frames import FrameReader, frame_at
from var_plugin.media.limits import Limits
from var_plugin.media.sandbox.connection import Connection
from var_plugin.media.sandbox.messages import OWN_FAULT
from var_plugin.media.sandbox.shared_buffer import HALF_BYTES, HALVES, SharedBuffer

_LONGEST_WAIT_SECONDS = 0.25
_LONGEST_TRACEBACK = 16_000

Result = tuple[dict[str, Any], NDArray[Any] | None]


def _frames(path: Path, limits: Limits, **options: Any) -> Iterator[Result]:
    reader = FrameReader(path, limits=limits, **options)
    for frame in reader:
        yield {"time": frame.time}, frame.image
        if frame.motion is not None:
            yield {"motion": True}, frame.motion
    yield {"end": reader.end}, None


def _frame_image(path: Path, limits: Limits, **options: Any) -> Iterator[Result]:
    frame = frame_at(path, limits=limits, **options)
    yield {"time": frame.time}, frame.image


def _audio(path: Path, limits: Limits) -> Iterator[Result]:
    reached = 0
    for samples in decode_audio(path, limits):
        reached += len(samples)
        yield {"samples": reached}, samples


def _probe(path: Path, limits: Limits) -> Iterator[Result]:
    yield {"info": asdict(probe(path, limits))}, None


def _image(path: Path, limits: Limits, size: list[int] | None) -> Iterator[Result]:
    import warnings

    from PIL import Image

    from var_plugin.media.images import decode_image

    Image.MAX_IMAGE_PIXELS = limits.pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    yield {}, decode_image(path, size=(size[0], size[1]) if size else None, limits=limits)


def _copy(path: Path, limits: Limits, suffix: str, **options: Any) -> Iterator[Result]:
    from var_plugin.media.clips import copy_clip
    from var_plugin.media.output import OutputFile, results

    output = OutputFile(suffix)
    yield from results(copy_clip(path, limits, output, **options), output)


def _encode(path: Path, limits: Limits, suffix: str, **options: Any) -> Iterator[Result]:
    from var_plugin.media.clips import encode_part
    from var_plugin.media.output import OutputFile, results

    output = OutputFile(suffix)
    yield from results(encode_part(path, limits, output, **options), output)


JOBS: dict[str, Callable[..., Iterator[Result]]] = {
    "frames": _frames, "image_at": _frame_image, "audio": _audio, "probe": _probe,
    "image": _image, "copy": _copy, "encode": _encode,
}  # fmt: skip


class _Forward(logging.Handler):
    """Hands warnings over to the process that asked."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.WARNING)
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self._connection.send({"warning": record.getMessage()})


class _Outbox:
    """What goes to the parent, in order: small images several at once through the tray, all else by itself.

    A half of the tray is filled anew only when the parent has taken what was in it. Images wait for others for about
    a quarter of a second, so that whoever decodes slowly is heard of.
    """

    def __init__(self, connection: Connection, buffer: SharedBuffer) -> None:
        self._connection, self._buffer = connection, buffer
        self.free = threading.Semaphore(HALVES)
        self._half, self._used, self._began = 0, 0, 0.0
        self._parcels: list[dict[str, Any]] = []

    def send(self, values: dict[str, Any], array: NDArray[Any] | None) -> None:
        """Send one result of a job."""
        if array is None or array.dtype != np.uint8 or array.nbytes > HALF_BYTES // 2:
            self.flush()
            self._send({"values": values}, array)
            return
        if self._used + array.nbytes > HALF_BYTES:
            self.flush()
        if not self._parcels:
            self.free.acquire()
            self._began = time.monotonic()
        self._buffer.put(self._half, self._used, array)
        self._parcels.append({"values": values, "size": array.shape})
        self._used += array.nbytes
        if time.monotonic() - self._began > _LONGEST_WAIT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the images that wait for others."""
        if self._parcels:
            self._send({"parcels": self._parcels, "half": self._half})
            self._half, self._used, self._parcels = (self._half + 1) % HALVES, 0, []

    def end(self, message: dict[str, Any]) -> None:
        """Send the last message of a job."""
        self.flush()
        self._send(message)

    def _send(self, message: dict[str, Any], array: NDArray[Any] | None = None) -> None:
        """Send to the parent; end the process quietly where the parent has closed the connection."""
        try:
            self._connection.send(message, array)
        except OSError:
            os._exit(0)


def main(descriptor: int, tray_descriptor: int) -> None:
    """Serve jobs from the connection until its other end is closed."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection = Connection(socket.socket(fileno=descriptor))
    logging.getLogger("var_plugin").addHandler(_Forward(connection))
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    outbox = _Outbox(connection, SharedBuffer(tray_descriptor))
    threading.Thread(target=_receive, args=(connection, jobs, outbox), daemon=True).start()
    connection.send({"ready": True})
    while True:
        _serve(outbox, **jobs.get())


def _receive(connection: Connection, jobs: queue.Queue[dict[str, Any]], outbox: _Outbox) -> None:
    """Take jobs in; end the process, in the middle of decoding as well, when nobody is there to take its results."""
    try:
        while True:
            message = connection.receive()[0]
            if "taken" in message:
                outbox.free.release()
            else:
                jobs.put(message)
    except (EOFError, OSError):
        os._exit(0)


def _serve(outbox: _Outbox, job: str, path: str, limits: dict[str, Any], options: dict[str, Any]) -> None:
    allowed = Limits(**limits)
    if job == "image":  # before the limit, which counts address space: loading a library takes some
        importlib.import_module("var_plugin.media.images")
    resource.setrlimit(resource.RLIMIT_AS, (allowed.memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        for values, array in JOBS[job](Path(path), allowed, **options):
            outbox.send(values, array)
        outbox.end({"done": True})
    except OUT_OF_MEMORY:
        error = DecodingMemoryError(
            f"decoding {path} needs too much memory",
            why=f"the limit is {allowed.memory >> 20} MB",
            fix="scale it down, a video with: ffmpeg -i FILE -vf scale=1920:-2 SMALLER.mp4",
        )
        outbox.end(_failure(error))
        os._exit(1)  # what is left of the heap is not worth another job
    except VarPluginError as error:
        outbox.end(_failure(error))
    except Exception as error:
        outbox.end(_unexpected(path, error))


def _unexpected(path: str, error: Exception) -> dict[str, Any]:
    """Describe an exception that no module raises on purpose: a fault of this program or of a library it uses."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    own = DecoderCrashedError(
        f"decoding {path} failed",
        why=f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})",
        fix=OWN_FAULT,
    )
    text = "".join(traceback.format_exception(error))
    return _failure(own) | {"traceback": text[-_LONGEST_TRACEBACK:]}


def _failure(error: VarPluginError) -> dict[str, Any]:
    return {"error": type(error).__name__, "what": error.what, "why": error.why, "fix": error.fix}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
