"""Watching a folder: files are handed over once they are written completely, those that are there already first.

The operating system's notices (watchdog) only wake the watch up early. What counts is what a look at the folder finds,
since notices get lost, and network drives give none.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from var_plugin.errors import MediaNotFoundError, NoVideosFoundError, VarPluginError
from var_plugin.media import guard
from var_plugin.media.files import find_videos

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 3.0
"""A file whose size and time stay the same for so long is taken as written, if it can be opened."""
PATIENCE_SECONDS = 120.0
"""After so long a file that still cannot be opened is handed over all the same, so that its error is told."""
RESCAN_SECONDS = 60.0
HOUSEKEEPING_SECONDS = 3600.0


@dataclass
class _Seen:
    """The state of a file at the last look."""

    size: int
    changed_ns: int
    since: float
    """Clock time at which this state was first seen."""
    done: bool = False


class FolderWatch:
    """Finds the files of a folder that are complete, each once for each content it takes on.

    Args:
        folder: looked through with all below it, for files with a video ending.
        clock: seconds that only go forward.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._seen: dict[Path, _Seen] = {}

    def look(self) -> list[Path]:
        """Look through the folder; return the files that have become complete since the last look, oldest first."""
        now = self._clock()
        present = self._present()
        self._seen = {path: seen for path, seen in self._seen.items() if path in present}
        for path, (size, changed_ns) in present.items():
            seen = self._seen.get(path)
            if seen is None or (seen.size, seen.changed_ns) != (size, changed_ns):
                # What was written long ago has settled already.
                idle = max(0.0, time.time() - changed_ns / 1e9)
                self._seen[path] = _Seen(size, changed_ns, now - (idle if seen is None else 0.0))
        ready = [path for path, seen in self._seen.items() if not seen.done and self._complete(path, seen, now)]
        for path in ready:
            self._seen[path].done = True
        return sorted(ready, key=lambda path: (self._seen[path].changed_ns, path))

    @property
    def waiting(self) -> bool:
        """True while a file is known that is not complete yet."""
        return any(not seen.done for seen in self._seen.values())

    def _present(self) -> dict[Path, tuple[int, int]]:
        found: dict[Path, tuple[int, int]] = {}
        try:
            files = find_videos(self._folder)
        except NoVideosFoundError:
            return found
        for path in files:
            try:
                state = path.stat()
            except OSError:  # it went away just now
                continue
            found[path] = (state.st_size, state.st_mtime_ns)
        return found

    def _complete(self, path: Path, seen: _Seen, now: float) -> bool:
        idle = now - seen.since
        if idle < SETTLE_SECONDS:
            return False
        if idle >= PATIENCE_SECONDS:
            return True
        try:
            guard.probe(path)  # an MP4 cannot be opened before its writer has closed it
        except VarPluginError:
            return False
        return True


def watch(
    folder: Path,
    handle: Callable[[Path], None],
    *,
    stop: threading.Event,
    housekeeping: Callable[[], None] | None = None,
) -> None:
    """Hand over every file below a folder when it is complete, until told to stop.

    Args:
        folder: a folder that exists; while it is away (an unmounted drive), the watch waits for it.
        handle: called with one file at a time, in this thread. What it raises is logged, and the watch goes on.
        stop: ends the watch after the file at work.
        housekeeping: called at the beginning and every hour, for retention.

    Raises:
        MediaNotFoundError: there is no such folder at the beginning.
    """
    if not folder.is_dir():
        raise MediaNotFoundError(f"{folder} is not a folder", fix="name the folder that the cameras write to")
    found = FolderWatch(folder)
    wake = threading.Event()
    end_notices = _notices(folder, wake)
    cleaned = -HOUSEKEEPING_SECONDS
    try:
        while not stop.is_set():
            if housekeeping and time.monotonic() - cleaned >= HOUSEKEEPING_SECONDS:
                cleaned = time.monotonic()
                _survive("housekeeping", housekeeping)
            wake.clear()
            for path in _look(found):
                if stop.is_set():
                    return
                _survive(str(path), partial(handle, path))
            _pause(stop, wake, SETTLE_SECONDS / 2 if found.waiting else RESCAN_SECONDS)
    finally:
        end_notices()


def _look(found: FolderWatch) -> list[Path]:
    try:
        return found.look()
    except (OSError, VarPluginError) as error:
        logger.warning("cannot look through the folder, trying again: %s", error)
        return []


def _survive(what: str, action: Callable[[], None]) -> None:
    try:
        action()
    except Exception:  # one bad file, or a store that is away for a while, must not end the watch
        logger.exception("%s failed; the watch goes on", what)


def _pause(stop: threading.Event, wake: threading.Event, seconds: float) -> None:
    """Wait for a notice, the end, or so many seconds; half a second in any case, since notices come by the hundred."""
    deadline = time.monotonic() + seconds
    while not stop.wait(0.5) and not wake.is_set() and time.monotonic() < deadline:
        pass


def _notices(folder: Path, wake: threading.Event) -> Callable[[], None]:
    """Let the operating system set `wake` when something happens in the folder; return what ends that."""
    if find_spec("watchdog") is None:
        logger.warning("looking every %.0f s; to be told at once: pip install 'var-plugin[watch]'", RESCAN_SECONDS)
        return lambda: None
    from watchdog.events import (
        FileCreatedEvent,
        FileModifiedEvent,
        FileMovedEvent,
        FileSystemEvent,
        FileSystemEventHandler,
    )
    from watchdog.observers import Observer

    class Wake(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            wake.set()

    observer = Observer()
    try:
        # Reading is no news: the watch itself reads.
        news = [FileCreatedEvent, FileModifiedEvent, FileMovedEvent]
        observer.schedule(Wake(), str(folder), recursive=True, event_filter=news)
        observer.start()
    except OSError as error:  # the system's limit of watches
        logger.warning("no notices for %s, looking every %.0f s instead: %s", folder, RESCAN_SECONDS, error)
        return lambda: None

    def end() -> None:
        observer.stop()
        observer.join()

    return end
