"""Watch a folder: hand over files once they are complete, those that exist already first.

Notices of the operating system (watchdog) only wake the watch up early. What counts is a scan of the folder: notices
get lost, and network drives send none.
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
"""A file whose size and time stay the same for so long is complete, if it can be opened."""
PATIENCE_SECONDS = 120.0
"""After so long a file that still cannot be opened is handed over all the same, so that its error is reported."""
RESCAN_SECONDS = 60.0
HOUSEKEEPING_SECONDS = 3600.0
RETRY_SECONDS = 10.0
"""Delay before a failed file is handed over again; it doubles with each failure."""
MAX_RETRY_SECONDS = 3600.0
_FORGET_SECONDS = 86_400.0
"""A file that is missing for less, as all are while a drive is away, is the same file when it comes back."""


@dataclass
class _State:
    """A file at the last scan."""

    size: int
    changed_ns: int
    status_ns: int
    """Time of the last change of its permissions and other attributes."""
    since: float
    """Clock time at which this size and time were first seen."""
    done: bool = False
    failures: int = 0
    retry_at: float | None = None
    missing_since: float | None = None


class FolderWatch:
    """Finds the files of a folder that are complete, each once for each content it takes on.

    Args:
        folder: scanned with all folders below it, for files with a video ending.
        clock: seconds that only increase.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._files: dict[Path, _State] = {}
        self.problems: dict[Path, VarPluginError] = {}
        """What could not be looked at in the last scan."""

    def look(self) -> list[Path]:
        """Scan the folder; return the files that are complete since the last scan, or due again, oldest first.

        Raises:
            MediaNotFoundError, UnreadableMediaError: the folder is away.
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
            known = self._files.get(path)
            if known is None or (known.size, known.changed_ns) != (size, changed_ns):
                # What was written long ago has settled already.
                idle = max(0.0, time.time() - changed_ns / 1e9) if known is None else 0.0
                self._files[path] = _State(size, changed_ns, status_ns, now - idle)
            elif known.status_ns != status_ns:
                known.status_ns = status_ns
                if known.retry_at is not None:
                    known.retry_at = now
        ready = [path for path in present if self._is_ready(path, self._files[path], now)]
        for path in ready:
            self._files[path].done, self._files[path].retry_at = True, None
        return sorted(ready, key=lambda path: (self._files[path].changed_ns, path))

    def retry(self, path: Path) -> float | None:
        """Hand over a file again after a delay, which doubles each time; return the delay in seconds."""
        state = self._files.get(path)
        if state is None:
            return None
        delay = min(MAX_RETRY_SECONDS, RETRY_SECONDS * 2.0 ** min(state.failures, 20))
        state.failures += 1
        state.retry_at = self._clock() + delay
        return delay

    @property
    def waiting(self) -> bool:
        """True while a file is there that is not complete yet."""
        return any(not state.done and state.missing_since is None for state in self._files.values())

    def seconds_to_retry(self) -> float | None:
        """Return the seconds until the next failed file is due; None: there is none."""
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
            except OSError:  # it went away just now
                continue
            present[path] = state.st_size, state.st_mtime_ns, state.st_ctime_ns
        return present

    def _is_ready(self, path: Path, state: _State, now: float) -> bool:
        if state.done:
            return state.retry_at is not None and now >= state.retry_at
        idle = now - state.since
        if idle < SETTLE_SECONDS:
            return False
        if idle >= PATIENCE_SECONDS:
            return True
        try:
            sandbox.probe(path)  # an MP4 cannot be opened before its writer has closed it
        except Exception:  # whatever is wrong with the file, adding it gives the reason
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
    """Hand over every file below a folder when it is complete, until `stop` is set.

    Args:
        folder: a folder that exists. While it is away (an unmounted drive), the watch waits for it.
        handle: called with one file at a time, in this thread. Where it returns True or raises an exception, which is
            logged, the file is handed over again later.
        stop: ends the watch after the file at work.
        housekeeping: called at the beginning and every hour, for retention.
        tick: called after each scan and each file; returns the seconds after which it wants to be called again, if any.
        problems: called after each scan with what could not be looked at.

    Raises:
        MediaNotFoundError: there is no such folder at the beginning.
    """
    if not folder.is_dir():
        raise MediaNotFoundError(f"{folder} is not a folder", fix="name the folder that the cameras write to")
    files = FolderWatch(folder)
    wake = threading.Event()
    end_notices = _notices(folder, wake)
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
            except Exception as error:  # also what a network drive raises
                if not away:
                    logger.warning("cannot look through %s, trying again until it is back: %s", folder, error)
                away, ready = True, []
            else:
                if away:
                    logger.warning("%s is back", folder)
                    end_notices()
                    end_notices = _notices(folder, wake)
                away = False
                problems(files.problems)
            for path in ready:
                if stop.is_set():
                    return
                _hand_over(files, path, handle)
                _call("raising alerts", tick)
            _pause(stop, wake, _seconds_to_wait(files, tick))
    finally:
        end_notices()


def _hand_over(files: FolderWatch, path: Path, handle: Callable[[Path], bool | None]) -> None:
    try:
        again = handle(path)
    except Exception:  # a file, or a store that is away, must not end the watch
        logger.exception("%s failed; the watch goes on", path)
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
        logger.exception("%s failed; the watch goes on", what)
        return None


def _pause(stop: threading.Event, wake: threading.Event, seconds: float) -> None:
    """Wait for a notice, the end, or some seconds; half a second in any case, since notices come by the hundred."""
    deadline = time.monotonic() + seconds
    while not stop.wait(0.5) and not wake.is_set() and time.monotonic() < deadline:
        pass


def _notices(folder: Path, wake: threading.Event) -> Callable[[], None]:
    """Let the operating system set `wake` when something changes in the folder; return a function that ends that."""
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
        # Not reading: the watch itself reads.
        changes = [FileCreatedEvent, FileModifiedEvent, FileMovedEvent]
        observer.schedule(Wake(), str(folder), recursive=True, event_filter=changes)
        observer.start()
    except OSError as error:  # the system's limit of watches
        logger.warning("no notices for %s, scanning every %.0f s instead: %s", folder, RESCAN_SECONDS, error)
        return lambda: None

    def end() -> None:
        observer.stop()
        observer.join()

    return end
