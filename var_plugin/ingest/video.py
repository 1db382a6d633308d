"""One video into one generation of an index: embedded, stored, counted, with its line of the receipt."""

from __future__ import annotations

import hashlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from var_plugin.encoders.suite import Suite
from var_plugin.errors import UnreadableMediaError, VarPluginError, said
from var_plugin.index.catalogue import Entry
from var_plugin.index.footage import find_footage
from var_plugin.index.generation import VideoGeneration
from var_plugin.ingest.interruption import hold_back, let_through
from var_plugin.ingest.rows import Embedded, embed
from var_plugin.settings import settings
from var_plugin.types import VideoReceipt

logger = logging.getLogger(__name__)

T = TypeVar("T")

Progress = Callable[[Path, float], None]
"""Called with the file at work and the time reached in it, in seconds."""


class RunProgress(ABC):
    """A `Progress` that also learns which files a run plans, and what becomes of each."""

    @abstractmethod
    def begin(self, files: Sequence[Path]) -> None:
        """Take in the files that are to be worked on; those known already count once."""

    @abstractmethod
    def __call__(self, file: Path, reached: float) -> None:
        """Take in the file at work and the time reached in it, in seconds."""

    @abstractmethod
    def end(self, file: Path, line: VideoReceipt) -> None:
        """Take in that a file is done, and its line of the receipt."""


def store(index: VideoGeneration, file: Path, entry: Entry, clock: Clock, embedded: Embedded) -> VideoReceipt:
    """Store what a file embeds to under `entry`, whose duration and settings are filled in here.

    Raises:
        As `VideoGeneration.write`.
    """
    rows, how = embedded.rows, settings_fingerprint(index.suite)
    with clock.stage("store"):
        counted = index.write(entry.model_copy(update={"duration": embedded.duration, "settings": how}), rows)
    planned = {name: len(segments) for name, (segments, _) in rows.items()}
    return VideoReceipt(
        path=str(file),
        status="stored",
        video_id=entry.video_id,
        duration=embedded.duration,
        content=entry.content,
        recorded_at=entry.video().recorded_at,
        clock=entry.sightings[-1].clock,
        planned=planned,
        embedded={name: len(vectors) for name, (_, vectors) in rows.items()},
        stored=planned,
        verified=counted,
        seconds=clock.seconds,
        reason=embedded.left_out,
    )


def store_again(index: VideoGeneration, entry: Entry, progress: Progress | None = None) -> VideoReceipt:
    """Embed a video anew from wherever its file still lies; what is known of it stays. A failure is in the receipt."""
    clock, named = Clock(), last_path(entry)
    try:
        with clock.stage("hash"):
            file = find_footage(entry, always_hash=True)
        with index.exclusive(entry.video_id):
            told = (lambda reached: progress(named, reached)) if progress else None
            with clock.stage("embed"):
                embedded = embed(file, index.suite, told)
            hold_back()  # until the line is returned: half a video is none
            return store(index, file, entry, clock, embedded)
    except Exception as error:  # as `attempt`
        return failure(named, error)
    finally:
        let_through()


def last_path(entry: Entry) -> Path:
    """Return where the footage of a video was seen last."""
    return Path(entry.sightings[-1].path)


def settings_fingerprint(suite: Suite) -> str:
    """Return a hash of all that decides how a video is cut and embedded."""
    used = settings().model_dump(
        include={"clip_rate", "segment_seconds", "static_similarity", "static_seconds", "anomaly_peak"}, mode="json"
    )
    return hashlib.sha256(f"{suite.fingerprint}|{sorted(used.items())}".encode()).hexdigest()[:16]


def attempt(path: Path, work: Callable[[], T]) -> T | VideoReceipt:
    """Do the work on one file; return its failed line instead where that raises anything but KeyboardInterrupt.

    Every engine runs its steps through this, so that no file ends a run.
    """
    try:
        return work()
    except Exception as error:
        return failure(path, error)


def failure(path: Path, error: Exception) -> VideoReceipt:
    """Return the line of a file that failed, with the reason; an error that was not foreseen is logged as well."""
    if not isinstance(error, VarPluginError):
        if isinstance(error, OSError):
            error = UnreadableMediaError(
                f"{path} could not be processed",
                why=said(error),
                fix="check the disk and the rights to the file, then try again",
            )
        else:
            logger.debug("%s failed", path, exc_info=error)
            detail = str(error)
            error = VarPluginError("unexpected error", why=type(error).__name__ + (f": {detail}" if detail else ""))
    return VideoReceipt(path=str(path), status="failed", reason=str(error), exit_code=error.exit_code)


class Clock:
    """Time per stage, in seconds; a stage that comes again counts on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a `with` block."""
        started = time.perf_counter()
        yield
        self.count(name, time.perf_counter() - started)

    def count(self, name: str, seconds: float) -> None:
        """Add to a stage."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 3)
