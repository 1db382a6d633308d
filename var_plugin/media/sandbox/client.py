"""Decode media in child processes: whatever a file does to its decoder, the caller gets frames or one typed error.

The functions have the names of those in `media.frames`, `media.audio`, `media.images` and `media.container`. They
return the same results and raise the same errors. In addition they raise DecodingTimeoutError, DecodingMemoryError
and DecoderCrashedError.

A child is reused for the next file, because starting one takes longer than decoding a short clip. A child that fails to
respond is killed.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from contextvars import ContextVar, Token
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from var_plugin.errors import (
    INTERNAL_ERROR_FIX,
    DecoderCrashedError,
    DecodingMemoryError,
    DecodingTimeoutError,
    InvalidInputError,
    VarPluginError,
    error_classes,
)
from var_plugin.media.decoded import Frame, FrameOptions, MediaInfo, cut_audio
from var_plugin.media.files import atomic_write, convert_write_errors
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.sandbox.connection import Connection, SharedBuffer
from var_plugin.media.sandbox.messages import (
    ClipData,
    ClipSpan,
    DecodedFrame,
    FileHeader,
    FrameImage,
    Message,
    MotionImage,
    VideoEnd,
    decoded_seconds,
    validate_message,
)

logger = logging.getLogger(__name__)

Result = tuple[Message, NDArray[Any]]
"""A message and its array, which is empty if the message has none."""

_MAX_IDLE_CHILDREN = 2
_MAX_JOBS_PER_CHILD = 200  # bounds the memory that libraries leak
_START_SECONDS = 60.0
_MAX_OUTPUT_BYTES = 1 << 16
_MESSAGE_SECONDS = 30.0  # longer than a busy machine pauses a child in the middle of a message
_ERRORS = {error.__name__: error for error in error_classes()}


class Frames:
    """Read the frames of a video once, in another process. The counterpart of `frames.FrameReader`.

    Args:
        path: a local file.
        limits: limits for decoding the file.
        options: rate, size, motion, start and end, as `FrameReader` takes them.
    """

    def __init__(self, path: Path, *, limits: Limits = DEFAULT_LIMITS, **options: Unpack[FrameOptions]) -> None:
        self._path, self._limits, self._options = path, limits, options
        self.end = 0.0
        """Seconds from the start of the video to the end of its last frame. Set after the last frame is read."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order of time. Raise the errors of `FrameReader` and of this module."""
        frame: Frame | None = None
        for message, image in _run("frames", self._path, self._limits, **self._options):
            match message:
                case DecodedFrame(time=time):
                    frame = Frame(time, image)
                    if self._options.get("motion") is None:
                        yield frame
                case MotionImage() if frame is not None:
                    yield replace(frame, motion=image)
                case VideoEnd(end=end):
                    self.end = end


def image_at(
    path: Path, time: float, *, width: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Return the image of `frame_at`."""
    return frame_at(path, time, width=width, limits=limits).image


def frame_at(path: Path, time: float, *, width: int | None = None, limits: Limits = DEFAULT_LIMITS) -> Frame:
    """Return the frame shown at `time` seconds. The counterpart of `frames.frame_at`."""
    message, image = _run_once("image_at", path, limits, time=time, width=width)
    return Frame(cast(FrameImage, message).time, image)


def decode_image(
    path: Path, *, size: tuple[int, int] | None = None, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Return the image of a file. The counterpart of `images.decode_image`."""
    _, image = _run_once("image", path, limits, size=size)
    return image


def probe(path: Path, limits: Limits = DEFAULT_LIMITS) -> MediaInfo:
    """Read what the header declares. The counterpart of `container.probe`."""
    message, _ = _run_once("probe", path, limits)
    return cast(FileHeader, message).info


def decode_audio(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[NDArray[np.float32]]:
    """Yield the audio in pieces. The counterpart of `audio.decode_audio`."""
    for _, samples in _run("audio", path, limits):
        yield samples


def read_audio(
    path: Path, *, start: float = 0.0, end: float = math.inf, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.float32]:
    """Return the audio from `start` to `end` seconds as (samples,). The counterpart of `audio.read_audio`."""
    return cut_audio(decode_audio(path, limits), start, end)


def write_clip(job: str, video: Path, target: Path, limits: Limits, **options: Any) -> ClipSpan:
    """Copy or encode a part of a video in the child, and write its bytes to `target`.

    Args:
        job: "copy" or "encode".
        video: a local file.
        target: the file to write atomically. Its suffix selects the container.
        limits: limits for decoding the video and for the size of the target.
        options: as for `clips.copy_clip` or `clips.encode_part`.

    Returns:
        The part of the video that the clip shows, and notes.

    Raises:
        InvalidInputError: the target cannot be written or would exceed the limit.
        VarPluginError: as `clips.copy_clip` or `clips.encode_part`, and as this module.
    """
    results = _run(job, video, limits, suffix=target.suffix, **options)
    with atomic_write(target) as temporary:
        with closing(results), convert_write_errors(target), temporary.open("r+b") as file:
            span = _write(results, file, target, limits)
        if span is None:
            raise _crash(f"cutting {video}", "the decoding process ended without a clip")
    return span


def _write(results: Iterator[Result], file: BinaryIO, target: Path, limits: Limits) -> ClipSpan | None:
    """Write the data of a clip to a file. Return the part of the video that the clip shows."""
    span = None
    for message, data in results:
        match message:
            case ClipData(offset=offset):
                if offset + data.size > limits.output:
                    raise _too_large(target, limits)
                file.seek(offset)
                file.write(data.data)
            case ClipSpan():
                span = message
    return span


def _too_large(target: Path, limits: Limits) -> InvalidInputError:
    return InvalidInputError(
        f"the clip {target} is too large", why=f"the limit is {limits.output} bytes", fix="choose a shorter part"
    )


def _run_once(job: str, path: Path, limits: Limits, **options: Any) -> Result:
    """Run a job that has exactly one result."""
    results = list(_run(job, path, limits, **options))
    if len(results) != 1:
        raise _crash(f"decoding {path}", f"the decoding process sent {len(results)} results instead of one")
    return results[0]


def _run(job: str, path: Path, limits: Limits, **options: Any) -> Generator[Result, None, None]:
    """Run a job in an idle child or a new one. Keep the child only if it completes the job."""
    cancellation = _cancellation.get()
    child = _idle_child() or _Child()
    is_reusable = False
    try:
        if cancellation:
            cancellation.register(child)
        yield from child.run(job, path, limits, options)
        is_reusable = True
    except DecoderCrashedError as error:
        if cancellation and cancellation.is_cancelled:
            raise DecodingCancelledError(f"decoding {path} was cancelled") from error
        raise
    except (DecodingTimeoutError, DecodingMemoryError):
        raise
    except VarPluginError:
        is_reusable = True
        raise
    finally:
        if cancellation:
            cancellation.unregister(child)
        if is_reusable and child.jobs < _MAX_JOBS_PER_CHILD and len(_idle) < _MAX_IDLE_CHILDREN:
            _idle.append(child)
        else:
            child.kill()


class DecodingCancelledError(Exception):
    """Raised in the thread whose decoding was cancelled."""


class Cancellation:
    """Context manager whose decoding can be cancelled from another thread.

    The current or next decoding job inside the block then raises DecodingCancelledError.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: set[_Child] = set()
        self._token: Token[Cancellation | None] | None = None
        self.is_cancelled = False

    def __enter__(self) -> Cancellation:
        self._token = _cancellation.set(self)
        return self

    def __exit__(self, *error: object) -> None:
        if self._token is not None:
            _cancellation.reset(self._token)

    def cancel(self) -> None:
        """Kill the current decoding jobs and reject further ones."""
        with self._lock:
            self.is_cancelled = True
            for child in self._children:
                child.interrupt()

    def register(self, child: _Child) -> None:
        """Register a child that starts a job.

        Raises:
            DecodingCancelledError: decoding is already cancelled.
        """
        with self._lock:
            if self.is_cancelled:
                raise DecodingCancelledError("decoding was cancelled")
            self._children.add(child)

    def unregister(self, child: _Child) -> None:
        """Unregister a child that has finished its job."""
        with self._lock:
            self._children.discard(child)


_cancellation: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)


class _Child:
    """A decoding process, `media.sandbox.worker`, and the connection to it."""

    def __init__(self) -> None:
        self.jobs = 0
        parent_end, child_end = socket.socketpair()
        self._connection = Connection(parent_end, _MESSAGE_SECONDS)
        self._buffer = SharedBuffer()
        # The child must not print to the user's terminal. Neither end of the pipe blocks: excess output is lost.
        self._stderr, stderr = os.pipe()
        os.set_blocking(self._stderr, False)
        os.set_blocking(stderr, False)
        self._process = subprocess.Popen(  # noqa: S603  (this interpreter, no argument from outside)
            # -P: an av.py in the working directory must not be imported.
            [
                sys.executable,
                "-P",
                "-m",
                "var_plugin.media.sandbox.worker",
                str(child_end.fileno()),
                str(self._buffer.descriptor),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=[child_end.fileno(), self._buffer.descriptor],
            start_new_session=True,  # Ctrl-C reaches the parent only, which shuts down in order
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
                "OPENBLAS_NUM_THREADS": "1",
                # Keep the memory of freed images: requesting it from the system again costs page faults.
                "MALLOC_MMAP_THRESHOLD_": str(8 << 20),
                "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
                "MALLOC_ARENA_MAX": "2",  # each arena reserves address space, which is limited
            },
        )
        child_end.close()
        os.close(stderr)
        self._buffer.close()
        if not self._connection.wait(_START_SECONDS):
            raise self._crashed("the decoding process", "it does not start")
        self._receive("the decoding process", 0)

    def run(self, job: str, path: Path, limits: Limits, options: dict[str, Any]) -> Iterator[Result]:
        """Yield the results of a job.

        Raises:
            DecodingTimeoutError, DecoderCrashedError: the child is no longer usable.
            VarPluginError: the error that decoding raised in the child.
        """
        self.jobs += 1
        work = f"decoding {path}"
        request = {"job": job, "path": str(path), "limits": asdict(limits), "options": options}
        try:
            self._connection.send(request)
        except OSError as error:
            raise self._crashed(work, str(error)) from error
        waited, footage = 0.0, 0.0
        while True:
            waited += self._wait(work, limits, waited, footage)
            reply, array = self._receive(work, 3 * limits.pixels)
            if "values" in reply or "batch" in reply:
                for message, content in self._results(work, job, options, reply, array):
                    footage = max(footage, decoded_seconds(message))
                    yield message, content
            elif "warning" in reply:
                logger.warning("%s", reply["warning"])
            elif "error" in reply:
                raise self._error(work, reply)
            else:
                self._read_output()
                return

    def interrupt(self) -> None:
        """Kill the process from another thread. The thread that waits for its results gets a DecoderCrashedError."""
        self._process.kill()

    def kill(self) -> str:
        """Kill the process. Return what it printed since its last finished job."""
        self._process.kill()  # before the connection closes, so that the child prints no error about that
        self._process.wait()
        self._connection.close()
        if self._stderr < 0:
            return ""
        output = self._read_output()
        os.close(self._stderr)
        self._stderr = -1
        return output

    def _read_output(self) -> str:
        """Return and log what the child printed since the last call."""
        try:
            output = os.read(self._stderr, _MAX_OUTPUT_BYTES).decode(errors="backslashreplace").strip()
        except BlockingIOError:
            return ""
        if output:
            logger.debug("the decoding process printed:\n%s", output)
        return output

    @staticmethod
    def _error(work: str, reply: dict[str, Any]) -> VarPluginError:
        """Return the error that the child reports. Its traceback, if any, becomes a note."""
        error = _ERRORS.get(str(reply["error"]), DecoderCrashedError)(
            str(reply.get("what", work)), why=str(reply.get("why", "")), fix=str(reply.get("fix", ""))
        )
        if "traceback" in reply:
            logger.debug("%s\n%s", error, reply["traceback"])
            error.add_note(str(reply["traceback"]))
        return error

    def _wait(self, work: str, limits: Limits, waited: float, footage: float) -> float:
        """Wait for the next reply. Return the seconds waited."""
        start = time.monotonic()
        timeout = min(
            limits.stall_seconds,
            limits.stall_seconds + limits.realtime_factor * footage - waited,
            limits.total_seconds - waited,
        )
        if not self._connection.wait(max(0.0, timeout)):
            seconds = waited + time.monotonic() - start
            raise _timeout(work, f"decoding {footage:.1f} s of it took {seconds:.1f} s")
        return time.monotonic() - start

    def _receive(self, work: str, max_items: int) -> tuple[dict[str, Any], NDArray[Any]]:
        """Receive a reply and its array of at most `max_items` items. Treat a malformed reply as a crash."""
        try:
            return self._connection.receive(max_items)
        except TimeoutError:
            raise _timeout(work, f"a message stopped in the middle for {_MESSAGE_SECONDS} s") from None
        except (EOFError, OSError, ValueError, RecursionError) as error:
            raise self._crashed(work, f"it ended without a result ({type(error).__name__})") from error

    def _results(
        self, work: str, job: str, options: dict[str, Any], reply: dict[str, Any], array: NDArray[Any]
    ) -> list[Result]:
        """Return the results of a reply. Those of a batch lie in a half of the shared buffer, which is released."""
        try:
            if "values" in reply:
                return [(validate_message(job, options, reply["values"], array), array)]
            batch = reply["batch"]
            images = self._buffer.read(reply["half"], [entry["size"] for entry in batch])
            self._connection.send({"released": reply["half"]})
            return [
                (validate_message(job, options, entry["values"], image), image)
                for entry, image in zip(batch, images, strict=True)
            ]
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise self._crashed(work, f"it sent an invalid result ({type(error).__name__})") from error

    def _crashed(self, work: str, why: str) -> DecoderCrashedError:
        """Kill the child. Return the error that says how it ended."""
        output = self.kill()
        status = self._process.returncode
        why = f"{why}, exit status {status}"
        if status <= 0:  # a signal: the file crashed the decoder
            error = _crash(work, why)
        else:  # an exception in Python code, such as a failed import
            error = DecoderCrashedError(
                f"{work} failed", why=f"{why}: {output.splitlines()[-1]}" if output else why, fix=INTERNAL_ERROR_FIX
            )
        if output:
            error.add_note(output)
        return error


def _crash(work: str, why: str) -> DecoderCrashedError:
    return DecoderCrashedError(
        f"{work} failed", why=why, fix="check that the file plays in a media player, or convert it with ffmpeg"
    )


def _timeout(work: str, why: str) -> DecodingTimeoutError:
    return DecodingTimeoutError(
        f"{work} takes too long", why=why, fix="check that it plays in a media player, or convert it with ffmpeg"
    )


_idle: deque[_Child] = deque()


def _idle_child() -> _Child | None:
    try:
        return _idle.pop()
    except IndexError:
        return None


def _kill_idle() -> None:
    while _idle:
        _idle.pop().kill()


atexit.register(_kill_idle)
os.register_at_fork(after_in_child=_idle.clear)  # idle children belong to the parent
