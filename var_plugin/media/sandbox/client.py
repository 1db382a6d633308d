"""Decoding in a child process: whatever a file does to its decoder, this process gets frames or one typed error.

The names are those of `media.frames`, `media.audio` and `media.container`, with the same results and errors and three
more: DecodingTimeoutError, DecodingMemoryError, DecoderCrashedError. Children are kept for the next file, since
starting one takes longer than decoding a short clip; one that failed to answer is killed.
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
    DecoderCrashedError,
    DecodingMemoryError,
    DecodingTimeoutError,
    InvalidInputError,
    VarPluginError,
)
from var_plugin.media.audio import cut_audio
from var_plugin.media.container import MediaInfo
from var_plugin.media.files import atomic_write, convert_write_errors
from var_plugin.media.frames import Frame, FrameOptions
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.sandbox.connection import Connection
from var_plugin.media.sandbox.messages import (
    OWN_FAULT,
    Answer,
    Cut,
    Declared,
    Ended,
    FrameImage,
    Moved,
    Shown,
    Written,
    checked,
    reached,
)
from var_plugin.media.sandbox.shared_buffer import SharedBuffer

logger = logging.getLogger(__name__)

Span = tuple[float, float, tuple[str, ...]]
"""Start and end of a part in seconds, and notes on the clip of it."""
Result = tuple[Answer, NDArray[Any]]
"""What one result says and its array, which is empty where the job has none."""

_MOST_IDLE = 2
_JOBS_PER_CHILD = 200  # memory that a library leaks is given back now and then
_START_SECONDS = 60.0
_MOST_PRINTED = 1 << 16
_MESSAGE_SECONDS = 30.0  # a busy machine may leave the child waiting this long; it is only hung beyond it
_ERRORS = {error.__name__: error for error in VarPluginError.__subclasses__()}


class Frames:
    """Reads the frames of one video once, as `frames.FrameReader` does, in another process.

    Args:
        path: a local file.
        limits: what the file may ask for.
        wanted: rate, size, start and end, as `FrameReader` takes them.
    """

    def __init__(self, path: Path, *, limits: Limits = DEFAULT_LIMITS, **wanted: Unpack[FrameOptions]) -> None:
        self._path, self._limits, self._wanted = path, limits, wanted
        self.end = 0.0
        """Seconds from the start of the video to the end of its last frame; known after the last frame was read."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order of time; raises as `FrameReader`, and as this module."""
        frame: Frame | None = None
        for answer, image in _results("frames", self._path, self._limits, **self._wanted):
            match answer:
                case Shown(time=time):
                    frame = Frame(time, image)
                    if self._wanted.get("motion") is None:
                        yield frame
                case Moved() if frame is not None:
                    yield replace(frame, motion=image)
                case Ended(end=end):
                    self.end = end


def image_at(
    path: Path, time: float, *, width: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Return the image of `frame_at`."""
    return frame_at(path, time, width=width, limits=limits).image


def frame_at(path: Path, time: float, *, width: int | None = None, limits: Limits = DEFAULT_LIMITS) -> Frame:
    """Return the frame shown at `time` seconds, as `frames.frame_at`."""
    answer, image = _only_result("image_at", path, limits, time=time, width=width)
    return Frame(cast(FrameImage, answer).time, image)


def decode_image(
    path: Path, *, size: tuple[int, int] | None = None, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Return the image of a file, as `images.decode_image`."""
    _, image = _only_result("image", path, limits, size=size)
    return image


def probe(path: Path, limits: Limits = DEFAULT_LIMITS) -> MediaInfo:
    """Read what the header declares, as `container.probe`."""
    answer, _ = _only_result("probe", path, limits)
    return cast(Declared, answer).info


def decode_audio(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[NDArray[np.float32]]:
    """Yield the sound in pieces, as `audio.decode_audio`."""
    for _, samples in _results("audio", path, limits):
        yield samples


def read_audio(
    path: Path, *, start: float = 0.0, end: float = math.inf, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.float32]:
    """Return the sound from `start` to `end` seconds as one array (samples,), as `audio.read_audio`."""
    return cut_audio(decode_audio(path, limits), start, end)


def write_clip(job: str, video: Path, target: Path, limits: Limits, **options: Any) -> Span:
    """Let the child copy or encode a part of a video, and write what it hands over; return the span and notes on it.

    Args:
        job: "copy" or "encode".
        video: a local file.
        target: the file to write whole, or not at all; its ending chooses the container.
        limits: what the video may ask for, and how large the target may be.
        options: as `export.copy_clip` and `encode.encode_part`.

    Raises:
        InvalidInputError: the target cannot be written, or would be larger than the limit.
        VarPluginError: as `export.copy_clip` and `encode.encode_part`, and as this module.
    """
    results = _results(job, video, limits, suffix=target.suffix, **options)
    with atomic_write(target) as unfinished:
        with closing(results), convert_write_errors(target), unfinished.open("r+b") as file:
            span = _write(results, file, target, limits)
        if span is None:
            raise _crash(f"cutting {video}", "it ended without a clip")
    return span


def _write(results: Iterator[Result], file: BinaryIO, target: Path, limits: Limits) -> Span | None:
    """Write what the results say; return the part of the video that they hold."""
    span = None
    for answer, data in results:
        match answer:
            case Written(offset=offset):
                if offset + data.size > limits.output:
                    raise _too_large(target, limits)
                file.seek(offset)
                file.write(data.data)
            case Cut(start=start, end=end, notes=notes):
                span = (start, end, notes)
    return span


def _too_large(target: Path, limits: Limits) -> InvalidInputError:
    return InvalidInputError(
        f"the clip {target} is too large", why=f"the limit is {limits.output} bytes", fix="name a shorter part"
    )


def _only_result(job: str, path: Path, limits: Limits, **options: Any) -> Result:
    results = list(_results(job, path, limits, **options))
    if len(results) != 1:
        raise _crash(f"decoding {path}", f"it answered {len(results)} times instead of once")
    return results[0]


def _results(job: str, path: Path, limits: Limits, **options: Any) -> Generator[Result, None, None]:
    """Run one job in an idle child or a new one; keep the child only if it has answered to the end."""
    cancellation = _cancellation.get()
    child = _idle_child() or _Child()
    answered = False
    try:
        if cancellation:
            cancellation.start(child)
        yield from child.run(job, path, limits, options)
        answered = True
    except DecoderCrashedError as error:
        if cancellation and cancellation.is_cancelled:
            raise DecodingCancelledError(f"decoding {path} was cancelled") from error
        raise
    except (DecodingTimeoutError, DecodingMemoryError):
        raise
    except VarPluginError:
        answered = True
        raise
    finally:
        if cancellation:
            cancellation.end(child)
        if answered and child.jobs < _JOBS_PER_CHILD and len(_idle) < _MOST_IDLE:
            _idle.append(child)
        else:
            child.kill()


class DecodingCancelledError(Exception):
    """The results of a decoding job are no longer needed."""


class Cancellation:
    """Ends all decoding inside a block from another thread.

    A block that is cancelled ends with DecodingCancelledError in its current or next decoding job.
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
        """End the current decoding jobs, and refuse further ones."""
        with self._lock:
            self.is_cancelled = True
            for child in self._children:
                child.interrupt()

    def start(self, child: _Child) -> None:
        """Register a process that begins a job.

        Raises:
            DecodingCancelledError: it must not begin.
        """
        with self._lock:
            if self.is_cancelled:
                raise DecodingCancelledError("decoding was cancelled")
            self._children.add(child)

    def end(self, child: _Child) -> None:
        """Unregister a process that has ended its job."""
        with self._lock:
            self._children.discard(child)


_cancellation: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)


class _Child:
    """One decoding process, `media.sandbox.worker`, and the connection to it."""

    def __init__(self) -> None:
        self.jobs = 0
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours, _MESSAGE_SECONDS)
        self._buffer = SharedBuffer()
        # The child must not print to the user's terminal. Neither end blocks: what does not fit is lost.
        self._stderr, stderr = os.pipe()
        os.set_blocking(self._stderr, False)
        os.set_blocking(stderr, False)
        self._process = subprocess.Popen(  # noqa: S603  (this interpreter, no argument from outside)
            # -P: a folder of footage that holds an av.py must not be imported from.
            [
                sys.executable,
                "-P",
                "-m",
                "var_plugin.media.sandbox.worker",
                str(theirs.fileno()),
                str(self._buffer.descriptor),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=[theirs.fileno(), self._buffer.descriptor],
            start_new_session=True,  # Ctrl-C is for the parent, which ends in order
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
                "OPENBLAS_NUM_THREADS": "1",
                # Images are made and dropped all the time; fetching each from the system anew costs page faults.
                "MALLOC_MMAP_THRESHOLD_": str(8 << 20),
                "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
                "MALLOC_ARENA_MAX": "2",  # each arena reserves address space, which is limited
            },
        )
        theirs.close()
        os.close(stderr)
        self._buffer.close()
        if not self._connection.wait(_START_SECONDS):
            raise self._crashed("the decoding process", "it does not start")
        self._receive("the decoding process", 0)

    def run(self, job: str, path: Path, limits: Limits, options: dict[str, Any]) -> Iterator[Result]:
        """Yield the results of a job.

        Raises:
            DecodingTimeoutError, DecoderCrashedError: the child cannot be used any more.
            VarPluginError: what decoding raised there.
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
            message, array = self._receive(work, 3 * limits.pixels)
            if "values" in message or "parcels" in message:
                for answer, content in self._answers(work, job, options, message, array):
                    footage = max(footage, reached(answer))
                    yield answer, content
            elif "warning" in message:
                logger.warning("%s", message["warning"])
            elif "error" in message:
                raise self._raised(work, message)
            else:
                self._printed()
                return

    def interrupt(self) -> None:
        """End the process from another thread; the one that waits for its results gets a DecoderCrashedError."""
        self._process.kill()

    def kill(self) -> str:
        """End the process; return what it printed since it last finished a job."""
        self._process.kill()  # before the connection closes: the child has no chance to complain about that
        self._process.wait()
        self._connection.close()
        if self._stderr < 0:
            return ""
        printed = self._printed()
        os.close(self._stderr)
        self._stderr = -1
        return printed

    def _printed(self) -> str:
        """Return, and log, what the child printed since the last call."""
        try:
            printed = os.read(self._stderr, _MOST_PRINTED).decode(errors="backslashreplace").strip()
        except BlockingIOError:
            return ""
        if printed:
            logger.debug("the decoding process printed:\n%s", printed)
        return printed

    @staticmethod
    def _raised(work: str, message: dict[str, Any]) -> VarPluginError:
        """Return the error that the child reports; a traceback in it becomes a note."""
        error = _ERRORS.get(str(message["error"]), DecoderCrashedError)(
            str(message.get("what", work)), why=str(message.get("why", "")), fix=str(message.get("fix", ""))
        )
        if "traceback" in message:
            logger.debug("%s\n%s", error, message["traceback"])
            error.add_note(str(message["traceback"]))
        return error

    def _wait(self, work: str, limits: Limits, waited: float, footage: float) -> float:
        """Wait for the next message; return how many seconds that took."""
        started = time.monotonic()
        left = min(
            limits.stall_seconds,
            limits.stall_seconds + limits.realtime_factor * footage - waited,
            limits.total_seconds - waited,
        )
        if not self._connection.wait(max(0.0, left)):
            raise _timeout(work, f"{waited + time.monotonic() - started:.1f} s were spent on {footage:.1f} s of it")
        return time.monotonic() - started

    def _receive(self, work: str, largest: int) -> tuple[dict[str, Any], NDArray[Any]]:
        """Take in one message and its array of at most so many items; a child that breaks the form has crashed."""
        try:
            return self._connection.receive(largest)
        except TimeoutError:
            raise _timeout(work, f"it stopped for {_MESSAGE_SECONDS} s in the middle of an answer") from None
        except (EOFError, OSError, ValueError, RecursionError) as error:
            raise self._crashed(work, f"it ended without an answer ({type(error).__name__})") from error

    def _answers(
        self, work: str, job: str, options: dict[str, Any], message: dict[str, Any], array: NDArray[Any]
    ) -> list[Result]:
        """Return what came by itself, or what lies in the tray; the child may use that half again."""
        try:
            if "values" in message:
                return [(checked(job, options, message["values"], array), array)]
            parcels = message["parcels"]
            images = self._buffer.take(message["half"], [parcel["size"] for parcel in parcels])
            self._connection.send({"taken": message["half"]})
            return [
                (checked(job, options, parcel["values"], image), image)
                for parcel, image in zip(parcels, images, strict=True)
            ]
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise self._crashed(work, f"it answered what no decoder does ({type(error).__name__})") from error

    def _crashed(self, work: str, why: str) -> DecoderCrashedError:
        printed = self.kill()
        status = self._process.returncode
        why = f"{why}, exit status {status}"
        if status <= 0:  # a signal: the file has broken the decoder
            error = _crash(work, why)
        else:  # an exception in Python code, such as an import that fails
            error = DecoderCrashedError(
                f"{work} failed", why=f"{why}: {printed.splitlines()[-1]}" if printed else why, fix=OWN_FAULT
            )
        if printed:
            error.add_note(printed)
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
os.register_at_fork(after_in_child=_idle.clear)  # they go on answering the parent
