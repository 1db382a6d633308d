"""Watch a folder and process existing and new files once they are complete.

The folder is scanned periodically. File-system events (watchdog) only trigger an earlier scan, because events can be
lost and network drives send none.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from var_plugin.errors import MediaNotFoundError, NoVideosFoundError, VarPluginError
from var_plugin.media.files import scan_videos
from var_plugin.media.sandbox import client as sandbox

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 3.0
"""A file is complete if its size and modification time are unchanged for this time and it can be opened."""
PATIENCE_SECONDS = 120.0
"""An unchanged file that cannot be opened is processed after this time, so that its error is reported."""
RESCAN_SECONDS = 60.0
HOUSEKEEPING_SECONDS = 3600.0
RETRY_SECONDS = 10.0
"""Delay before a failed file is retried. It doubles with each failure."""
MAX_RETRY_SECONDS = 3600.0
_FORGET_SECONDS = 86_400.0
"""A file that reappears within this time is the same file. All files are missing while a drive is unmounted."""


@dataclass
class _State:
    """State of a file at the last scan."""

    size: int
    changed_ns: int
    status_ns: int
    """Time of the last metadata change (ctime), e.g. of permissions, in nanoseconds."""
    since: float
    """Clock time in seconds at which this size and modification time were first observed."""
    is_done: bool = False
    failures: int = 0
    retry_at: float | None = None
    missing_since: float | None = None


class FolderWatch:
    """Find complete files in a folder. Each version of a file is returned once.

    Args:
        folder: scanned recursively for files with a video extension.
        clock: monotonic clock in seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._files: dict[Path, _State] = {}
        self.problems: dict[Path, VarPluginError] = {}
        """Errors of paths that could not be read in the last scan."""

    def look(self) -> list[Path]:
        """Scan the folder. Return newly complete files and files due for a retry, oldest first.

        Raises:
            MediaNotFoundError, UnreadableMediaError: the folder is not available.
        """
        now = self._clock()
        present = self._scan()
        for path, state in list(self._files.items()):
            if path in present:
                state.missing_since = None
            else:
                state.missing_since = now if state.missing_since is None else state.missing_since
                if now - state.missing_since > _FORGET_SECONDS:
                    del self._files[path]
        for path, (size, changed_ns, status_ns) in present.items():
            previous = self._files.get(path)
            if previous is None or (previous.size, previous.changed_ns) != (size, changed_ns):
                # For new paths, the time since the last write counts as unchanged time.
                idle = max(0.0, time.time() - changed_ns / 1e9) if previous is None else 0.0
                self._files[path] = _State(size, changed_ns, status_ns, now - idle)
            elif previous.status_ns != status_ns:
                previous.status_ns = status_ns
                if previous.retry_at is not None:
                    previous.retry_at = now
        ready = [path for path in present if self._is_ready(path, self._files[path], now)]
        for path in ready:
            self._files[path].is_done, self._files[path].retry_at = True, None
        return sorted(ready, key=lambda path: (self._files[path].changed_ns, path))

    def retry(self, path: Path) -> float | None:
        """Schedule a retry of a file and return the delay in seconds. The delay doubles with each retry.

        Returns None if the file is unknown.
        """
        state = self._files.get(path)
        if state is None:
            return None
        delay = min(MAX_RETRY_SECONDS, RETRY_SECONDS * 2.0 ** min(state.failures, 20))
        state.failures += 1
        state.retry_at = self._clock() + delay
        return delay

    @property
    def waiting(self) -> bool:
        """True if a present file is not complete yet."""
        return any(not state.is_done and state.missing_since is None for state in self._files.values())

    def seconds_to_retry(self) -> float | None:
        """Return the seconds until the next retry is due. None: no retry is scheduled."""
        due = [
            state.retry_at for state in self._files.values() if state.retry_at is not None and not state.missing_since
        ]
        return max(0.0, min(due) - self._clock()) if due else None

    def _scan(self) -> dict[Path, tuple[int, int, int]]:
        try:
            scan = scan_videos(self._folder)
        except NoVideosFoundError:
            self.problems = {}
            return {}
        self.problems = dict(scan.problems)
        if self._folder in self.problems:
            raise self.problems.pop(self._folder)
        present: dict[Path, tuple[int, int, int]] = {}
        for path in scan.videos:
            try:
                state = path.stat()
            except OSError:  # deleted since the scan
                continue
            present[path] = state.st_size, state.st_mtime_ns, state.st_ctime_ns
        return present

    def _is_ready(self, path: Path, state: _State, now: float) -> bool:
        if state.is_done:
            return state.retry_at is not None and now >= state.retry_at
        idle = now - state.since
        if idle < SETTLE_SECONDS:
            return False
        if idle >= PATIENCE_SECONDS:
            return True
        try:
            sandbox.probe(path)  # an MP4 file cannot be opened until its writer closes it
        except Exception:  # any error is reported when the file is indexed
            return False
        return True


def watch(
    folder: Path,
    handle: Callable[[Path], bool | None],
    *,
    stop: threading.Event,
    housekeeping: Callable[[], None] | None = None,
    tick: Callable[[], float | None] = lambda: None,
    problems: Callable[[Mapping[Path, VarPluginError]], None] = lambda problems: None,
) -> None:
    """Call `handle` for every complete file below a folder, until `stop` is set.

    Args:
        folder: an existing folder. If it becomes unavailable (an unmounted drive), the watch waits for it.
        handle: called in this thread with one file at a time. The file is retried later if it returns True or raises
            an exception. Exceptions are logged.
        stop: ends the watch after the current file.
        housekeeping: called at the start and every hour, for retention.
        tick: called after each scan and each file. Returns the seconds until its next call, or None.
        problems: called after each scan with the errors of paths that could not be read.

    Raises:
        MediaNotFoundError: the folder does not exist at the start.
    """
    if not folder.is_dir():
        raise MediaNotFoundError(f"{folder} is not a folder", fix="name the folder that the cameras write to")
    files = FolderWatch(folder)
    wake = threading.Event()
    stop_events = _start_events(folder, wake)
    cleaned = -HOUSEKEEPING_SECONDS
    away = False
    try:
        while not stop.is_set():
            if housekeeping and time.monotonic() - cleaned >= HOUSEKEEPING_SECONDS:
                cleaned = time.monotonic()
                _call("housekeeping", housekeeping)
            wake.clear()
            try:
                ready = files.look()
            except Exception as error:  # network drives raise various errors
                if not away:
                    logger.warning("cannot look through %s, trying again until it is back: %s", folder, error)
                away, ready = True, []
            else:
                if away:
                    logger.warning("%s is back", folder)
                    stop_events()
                    stop_events = _start_events(folder, wake)
                away = False
                problems(files.problems)
            for path in ready:
                if stop.is_set():
                    return
                _hand_over(files, path, handle)
                _call("raising alerts", tick)
            _pause(stop, wake, _seconds_to_wait(files, tick))
    finally:
        stop_events()


def _hand_over(files: FolderWatch, path: Path, handle: Callable[[Path], bool | None]) -> None:
    try:
        again = handle(path)
    except Exception:  # a broken file or an unavailable store must not end the watch
        logger.exception("%s failed; the watch continues", path)
        again = True
    if again and (delay := files.retry(path)) is not None:
        logger.warning("%s is tried again in %.0f s", path, delay)


def _seconds_to_wait(files: FolderWatch, tick: Callable[[], float | None]) -> float:
    waits = [SETTLE_SECONDS / 2 if files.waiting else RESCAN_SECONDS, _call("raising alerts", tick)]
    waits.append(files.seconds_to_retry())
    return min(wait for wait in waits if wait is not None)


def _call(what: str, action: Callable[[], float | None]) -> float | None:
    try:
        return action()
    except Exception:
        logger.exception("%s failed; the watch continues", what)
        return None


def _pause(stop: threading.Event, wake: threading.Event, seconds: float) -> None:
    """Wait until `stop` or `wake` is set or the time has passed, but at least 0.5 s, because events come in bursts."""
    deadline = time.monotonic() + seconds
    while not stop.wait(0.5) and not wake.is_set() and time.monotonic() < deadline:
        pass


def _start_events(folder: Path, wake: threading.Event) -> Callable[[], None]:
    """Set `wake` on file-system events in the folder. Return a function that stops the observer."""
    if find_spec("watchdog") is None:
        logger.warning("scanning every %.0f s; to react at once: pip install 'var-plugin[watch]'", RESCAN_SECONDS)
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
        # Open and close events are excluded, because the watch itself reads the files.
        changes = [FileCreatedEvent, FileModifiedEvent, FileMovedEvent]
        observer.schedule(Wake(), str(folder), recursive=True, event_filter=changes)
        observer.start()
    except OSError as error:  # e.g. the system limit of inotify watches
        logger.warning("no file-system events for %s; scanning every %.0f s instead: %s", folder, RESCAN_SECONDS, error)
        return lambda: None

    def end() -> None:
        observer.stop()
        observer.join()

    return end
