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
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from var_plugin.errors import DecoderCrashedError, DecodingMemoryError, DecodingTimeoutError, VarPluginError
from var_plugin.media.audio import SAMPLE_RATE, cut
from var_plugin.media.container import MediaInfo
from var_plugin.media.frames import Frame, Wanted
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.tray import Tray
from var_plugin.media.wire import Wire

logger = logging.getLogger(__name__)

Result = tuple[dict[str, Any], NDArray[Any]]
"""The values of one result and its array, which is empty where the job has none."""

_MOST_IDLE = 2
_JOBS_PER_CHILD = 200  # memory that a library leaks is given back now and then
_START_SECONDS = 60.0
_MESSAGE_SECONDS = 30.0  # a busy machine may leave the child waiting this long; it is only hung beyond it
_ERRORS = {error.__name__: error for error in VarPluginError.__subclasses__()}


class Frames:
    """Reads the frames of one video once, as `frames.FrameReader` does, in another process.

    Args:
        path: a local file.
        limits: what the file may ask for.
        wanted: rate, size, start and end, as `FrameReader` takes them.
    """

    def __init__(self, path: Path, *, limits: Limits = DEFAULT_LIMITS, **wanted: Unpack[Wanted]) -> None:
        self._path, self._limits, self._wanted = path, limits, wanted
        self.end = 0.0
        """Seconds from the start of the video to the end of its last frame; known after the last frame was read."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order of time; raises as `FrameReader`, and as this module."""
        frame: Frame | None = None
        for values, picture in _results("frames", self._path, self._limits, **self._wanted):
            if "motion" in values and frame is not None:
                yield replace(frame, motion=picture)
            elif "end" in values:
                self.end = values["end"]
            else:
                frame = Frame(values["time"], picture)
                if self._wanted.get("motion") is None:
                    yield frame


def picture_at(path: Path, time: float, *, width: int, limits: Limits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Return the frame shown at `time` seconds, as `frames.picture_at`."""
    ((_, picture),) = _results("picture", path, limits, time=time, width=width)
    return picture


def probe(path: Path, limits: Limits = DEFAULT_LIMITS) -> MediaInfo:
    """Read what the header declares, as `container.probe`."""
    ((values, _),) = _results("probe", path, limits)
    return MediaInfo(**values)


def decode_audio(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[NDArray[np.float32]]:
    """Yield the sound in pieces, as `audio.decode_audio`."""
    for _, samples in _results("audio", path, limits):
        yield samples


def read_audio(
    path: Path, *, start: float = 0.0, end: float = math.inf, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.float32]:
    """Return the sound from `start` to `end` seconds as one array (samples,), as `audio.read_audio`."""
    return cut(decode_audio(path, limits), start, end)


def _results(job: str, path: Path, limits: Limits, **options: Any) -> Iterator[Result]:
    """Run one job in an idle child or a new one; keep the child only if it has answered to the end."""
    child = _idle_child() or _Child()
    answered = False
    try:
        yield from child.run(job, path, limits, options)
        answered = True
    except (DecodingTimeoutError, DecodingMemoryError, DecoderCrashedError):
        raise
    except VarPluginError:
        answered = True
        raise
    finally:
        if answered and child.jobs < _JOBS_PER_CHILD and len(_idle) < _MOST_IDLE:
            _idle.append(child)
        else:
            child.kill()


class _Child:
    """One decoding process, `media.worker`, and the connection to it."""

    def __init__(self) -> None:
        self.jobs = 0
        ours, theirs = socket.socketpair()
        self._wire = Wire(ours, _MESSAGE_SECONDS)
        self._tray = Tray()
        self._process = subprocess.Popen(  # noqa: S603  (this interpreter, no argument from outside)
            # -P: a folder of footage that holds an av.py must not be imported from.
            [sys.executable, "-P", "-m", "var_plugin.media.worker", str(theirs.fileno()), str(self._tray.descriptor)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno(), self._tray.descriptor],
            start_new_session=True,  # Ctrl-C is for the parent, which ends in order
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
                "OPENBLAS_NUM_THREADS": "1",
                "MALLOC_ARENA_MAX": "2",  # each arena reserves address space, which is limited
            },
        )
        theirs.close()
        self._tray.close()
        if not self._wire.wait(_START_SECONDS):
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
            self._wire.send(request)
        except OSError as error:
            raise self._crashed(work, str(error)) from error
        waited, footage = 0.0, 0.0
        while True:
            waited += self._wait(work, limits, waited, footage)
            message, array = self._receive(work, 3 * limits.pixels)
            if "values" in message or "parcels" in message:
                for values, content in self._results(work, message, array):
                    footage = max(footage, values.get("time", 0.0), values.get("samples", 0) / SAMPLE_RATE)
                    yield values, content
            elif "warning" in message:
                logger.warning("%s", message["warning"])
            elif "error" in message:
                raise _ERRORS.get(message["error"], DecoderCrashedError)(
                    str(message.get("what", work)),
                    why=str(message.get("why", "")),
                    fix=str(message.get("fix", "")),
                )
            else:
                return

    def kill(self) -> None:
        self._wire.close()
        self._process.kill()
        self._process.wait()

    def _wait(self, work: str, limits: Limits, waited: float, footage: float) -> float:
        """Wait for the next message; return how many seconds that took."""
        started = time.monotonic()
        left = min(limits.silence, limits.silence + limits.pace * footage - waited, limits.seconds - waited)
        if not self._wire.wait(max(0.0, left)):
            raise _timeout(work, f"{waited + time.monotonic() - started:.1f} s were spent on {footage:.1f} s of it")
        return time.monotonic() - started

    def _receive(self, work: str, largest: int) -> tuple[dict[str, Any], NDArray[Any]]:
        """Take in one message and its array of at most so many items; a child that breaks the form has crashed."""
        try:
            return self._wire.receive(largest)
        except TimeoutError:
            raise _timeout(work, f"it stopped for {_MESSAGE_SECONDS} s in the middle of an answer") from None
        except (EOFError, OSError, ValueError, RecursionError) as error:
            raise self._crashed(work, f"it ended without an answer ({type(error).__name__})") from error

    def _results(self, work: str, message: dict[str, Any], array: NDArray[Any]) -> list[Result]:
        """Return what came by itself, or what lies in the tray; the child may use that half again."""
        if "values" in message:
            return [(message["values"], array)]
        try:
            parcels = message["parcels"]
            pictures = self._tray.take(message["half"], [parcel["size"] for parcel in parcels])
            self._wire.send({"taken": message["half"]})
            return [(parcel["values"], picture) for parcel, picture in zip(parcels, pictures, strict=True)]
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise self._crashed(work, f"it handed over no pictures ({type(error).__name__})") from error

    def _crashed(self, work: str, why: str) -> DecoderCrashedError:
        self.kill()
        return DecoderCrashedError(
            f"{work} failed",
            why=f"{why}, exit status {self._process.returncode}",
            fix="check that the file plays in a media player, or convert it with ffmpeg",
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
