"""One video into one generation of an index: embedded, stored, counted, with its line of the receipt."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from var_plugin.encoders.suite import Suite
from var_plugin.errors import MediaNotFoundError, VarPluginError
from var_plugin.index.catalogue import Entry
from var_plugin.index.generation import VideoGeneration
from var_plugin.ingest.interruption import hold_back, let_through
from var_plugin.ingest.rows import Embedded, embed
from var_plugin.media.files import content_hash
from var_plugin.settings import settings
from var_plugin.types import VideoReceipt

Progress = Callable[[Path, float], None]
"""Called with the file at work and the time reached in it, in seconds."""


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
    clock = Clock()
    try:
        with clock.stage("hash"):
            file = _file_of(entry)
        with index.exclusive(entry.video_id):
            told = (lambda reached: progress(file, reached)) if progress else None
            with clock.stage("embed"):
                embedded = embed(file, index.suite, told)
            hold_back()  # until the line is returned: half a video is none
            return store(index, file, entry, clock, embedded)
    except VarPluginError as error:
        return failure(Path(entry.sightings[-1].path), error)
    finally:
        let_through()


def settings_fingerprint(suite: Suite) -> str:
    """Return a hash of all that decides how a video is cut and embedded."""
    used = settings().model_dump(
        include={"clip_rate", "segment_seconds", "static_similarity", "static_seconds", "anomaly_peak"}, mode="json"
    )
    return hashlib.sha256(f"{suite.fingerprint}|{sorted(used.items())}".encode()).hexdigest()[:16]


def failure(path: Path, error: VarPluginError) -> VideoReceipt:
    """Return the line of a file that failed."""
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


def _file_of(entry: Entry) -> Path:
    """Return a file that still holds the content."""
    for sighting in reversed(entry.sightings):
        file = Path(sighting.path)
        if file.is_file() and content_hash(file) == entry.content:
            return file
    raise MediaNotFoundError(
        f"the footage of video '{entry.video_id}' is not at {entry.sightings[-1].path} any more",
        why="its vectors can be made from the footage only",
        fix=f"bring the file back, or delete the video: var-plugin delete {entry.video_id}",
    )
