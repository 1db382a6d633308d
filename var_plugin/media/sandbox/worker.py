"""The child process behind `media.sandbox.client`.

It runs one decoding job at a time and can be killed at any moment. It cannot write files, and its memory is limited.
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

from var_plugin.errors import INTERNAL_ERROR_FIX, DecoderCrashedError, DecodingMemoryError, VarPluginError
from var_plugin.media.audio import decode_audio
from var_plugin.media.container import OUT_OF_MEMORY, probe
from var_plugin.media.frames import FrameReader, frame_at
from var_plugin.media.limits import Limits
from var_plugin.media.sandbox.connection import HALF_BYTES, HALVES, Connection, SharedBuffer

_MAX_BATCH_SECONDS = 0.25
_MAX_TRACEBACK_CHARS = 16_000

Result = tuple[dict[str, Any], NDArray[Any] | None]
"""The JSON values of a message of `media.sandbox.messages`, and the attached array."""


def _frames(path: Path, limits: Limits, **options: Any) -> Iterator[Result]:
    reader = FrameReader(path, limits=limits, **options)
    for frame in reader:
        yield {"time": frame.time}, frame.image
        if frame.motion is not None:
            yield {"motion": True}, frame.motion
    yield {"end": reader.end}, None


def _image_at(path: Path, limits: Limits, **options: Any) -> Iterator[Result]:
    frame = frame_at(path, limits=limits, **options)
    yield {"time": frame.time}, frame.image


def _audio(path: Path, limits: Limits) -> Iterator[Result]:
    count = 0
    for samples in decode_audio(path, limits):
        count += len(samples)
        yield {"samples": count}, samples


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
    from var_plugin.media.output import OutputFile, clip_results

    output = OutputFile(suffix)
    yield from clip_results(copy_clip(path, limits, output, **options), output)


def _encode(path: Path, limits: Limits, suffix: str, **options: Any) -> Iterator[Result]:
    from var_plugin.media.clips import encode_part
    from var_plugin.media.output import OutputFile, clip_results

    output = OutputFile(suffix)
    yield from clip_results(encode_part(path, limits, output, **options), output)


JOBS: dict[str, Callable[..., Iterator[Result]]] = {
    "frames": _frames, "image_at": _image_at, "audio": _audio, "probe": _probe,
    "image": _image, "copy": _copy, "encode": _encode,
}  # fmt: skip


class _LogForwarder(logging.Handler):
    """Forwards warnings to the parent process."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.WARNING)
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self._connection.send({"warning": record.getMessage()})


class _ResultSender:
    """Sends results to the parent in order: small images in batches through the shared buffer, all others directly.

    A half of the buffer is reused only after the parent has read it. A batch is sent after about a quarter of a second,
    so that a slow decode still reports progress.
    """

    def __init__(self, connection: Connection, buffer: SharedBuffer) -> None:
        self._connection, self._buffer = connection, buffer
        self.free_halves = threading.Semaphore(HALVES)
        self._half, self._used, self._batch_start = 0, 0, 0.0
        self._batch: list[dict[str, Any]] = []

    def send(self, values: dict[str, Any], array: NDArray[Any] | None) -> None:
        """Send one result of a job."""
        if array is None or array.dtype != np.uint8 or array.nbytes > HALF_BYTES // 2:
            self.flush()
            self._send({"values": values}, array)
            return
        if self._used + array.nbytes > HALF_BYTES:
            self.flush()
        if not self._batch:
            self.free_halves.acquire()
            self._batch_start = time.monotonic()
        self._buffer.write(self._half, self._used, array)
        self._batch.append({"values": values, "size": array.shape})
        self._used += array.nbytes
        if time.monotonic() - self._batch_start > _MAX_BATCH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the current batch."""
        if self._batch:
            self._send({"batch": self._batch, "half": self._half})
            self._half, self._used, self._batch = (self._half + 1) % HALVES, 0, []

    def end(self, message: dict[str, Any]) -> None:
        """Send the last message of a job."""
        self.flush()
        self._send(message)

    def _send(self, message: dict[str, Any], array: NDArray[Any] | None = None) -> None:
        """Send a message to the parent. Exit without output if the parent has closed the connection."""
        try:
            self._connection.send(message, array)
        except OSError:
            os._exit(0)


def main(socket_descriptor: int, buffer_descriptor: int) -> None:
    """Run jobs from the connection until its other end is closed."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection = Connection(socket.socket(fileno=socket_descriptor))
    logging.getLogger("var_plugin").addHandler(_LogForwarder(connection))
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    sender = _ResultSender(connection, SharedBuffer(buffer_descriptor))
    threading.Thread(target=_receive, args=(connection, jobs, sender), daemon=True).start()
    connection.send({"ready": True})
    while True:
        _run_job(sender, **jobs.get())


def _receive(connection: Connection, jobs: queue.Queue[dict[str, Any]], sender: _ResultSender) -> None:
    """Receive jobs. Exit, even in the middle of decoding, when the parent closes the connection."""
    try:
        while True:
            message = connection.receive()[0]
            if "released" in message:
                sender.free_halves.release()
            else:
                jobs.put(message)
    except (EOFError, OSError):
        os._exit(0)


def _run_job(sender: _ResultSender, job: str, path: str, limits: dict[str, Any], options: dict[str, Any]) -> None:
    job_limits = Limits(**limits)
    if job == "image":  # imported before the limit is set: loading a library takes address space
        importlib.import_module("var_plugin.media.images")
    resource.setrlimit(resource.RLIMIT_AS, (job_limits.memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        for values, array in JOBS[job](Path(path), job_limits, **options):
            sender.send(values, array)
        sender.end({"done": True})
    except OUT_OF_MEMORY:
        error = DecodingMemoryError(
            f"decoding {path} needs too much memory",
            why=f"the limit is {job_limits.memory >> 20} MB",
            fix="scale it down, a video with: ffmpeg -i FILE -vf scale=1920:-2 SMALLER.mp4",
        )
        sender.end(_describe(error))
        os._exit(1)  # the heap may be fragmented, so the process is not reused
    except VarPluginError as error:
        sender.end(_describe(error))
    except Exception as error:
        sender.end(_describe_unexpected(path, error))


def _describe_unexpected(path: str, error: Exception) -> dict[str, Any]:
    """Describe an exception that no module raises on purpose: a bug in this program or in a library."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    crash = DecoderCrashedError(
        f"decoding {path} failed",
        why=f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})",
        fix=INTERNAL_ERROR_FIX,
    )
    text = "".join(traceback.format_exception(error))
    return _describe(crash) | {"traceback": text[-_MAX_TRACEBACK_CHARS:]}


def _describe(error: VarPluginError) -> dict[str, Any]:
    return {"error": type(error).__name__, "what": error.what, "why": error.why, "fix": error.fix}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
