"""Alerts that wait until their file is complete, so that an event raises one alert however the file arrives.

A slow upload is indexed each time it pauses, and each version is another video that replaces the one before. An alert
for a version that is replaced would name a moment that no longer exists. So a file must stay unchanged for a while
before its alerts are raised. Where it grows even after that, moments that overlap earlier alerts are the same events.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from var_plugin.watch.alerts import Alert, Alerts, Search

_RETRY_SECONDS = 60.0
_OLD_SECONDS = 600.0
"""A file that was written longer ago is complete."""
_SAMPLE_BYTES = 64 << 10
_MAX_FILES = 1_000
"""Files whose alerts are remembered, in case they grow."""


@dataclass(frozen=True)
class _Version:
    """The state of a file, and a sample that shows whether a later version continues it."""

    size: int
    changed_ns: int
    sample: bytes

    @staticmethod
    def of(file: Path, size: int | None = None) -> _Version | None:
        """Return the version of a file; with `size`, the sample that a version of that size has. None: unreadable."""
        try:
            state = file.stat()
            # The middle: recorders rewrite the beginning and the end of a file when they complete it.
            start = (state.st_size if size is None else size) // 2
            with file.open("rb") as content:
                content.seek(start)
                sample = content.read(min(_SAMPLE_BYTES, start))
        except OSError:
            return None
        return _Version(state.st_size, state.st_mtime_ns, hashlib.sha256(sample).digest())

    def continues_in(self, file: Path) -> bool:
        """Return whether a file still holds this version, and may hold more."""
        now = _Version.of(file, self.size)
        return now is not None and now.size >= self.size and now.sample == self.sample


@dataclass
class _Pending:
    video_id: str
    version: _Version | None
    due: float


class PendingAlerts:
    """Raises alerts for the videos of files that stay unchanged.

    Args:
        alerts: raises them.
        search: as `Index.search`.
        quiet_seconds: a file must stay unchanged for so long after it was stored; 0 for files that are complete.
        clock: seconds that only increase.
    """

    def __init__(
        self, alerts: Alerts, search: Search, quiet_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._alerts, self._search, self._quiet, self._clock = alerts, search, quiet_seconds, clock
        self._pending: dict[Path, _Pending] = {}
        self._raised: dict[Path, tuple[_Version, tuple[Alert, ...]]] = {}

    def add(self, file: Path, video_id: str) -> None:
        """Note that a file was stored as a new video, in place of what it was stored as before."""
        version = _Version.of(file)
        # Not the time since the last change: embedding takes time, too, in which an upload may pause.
        old = version is not None and time.time() - version.changed_ns / 1e9 > _OLD_SECONDS
        self._pending[file] = _Pending(video_id, version, self._clock() + (0.0 if old else self._quiet))

    def __len__(self) -> int:
        """The number of videos whose alerts were not raised yet."""
        return len(self._pending)

    def seconds_left(self) -> float | None:
        """Return the seconds until `raise_due` has something to do; None: nothing is pending."""
        return min((max(0.0, each.due - self._clock()) for each in self._pending.values()), default=None)

    def raise_due(self, *, at_once: bool = False) -> list[Alert]:
        """Raise the alerts of files that stayed unchanged; with `at_once`, of all files.

        Raises:
            As `Alerts.check`; then the same alerts are due again a minute later.
        """
        now = self._clock()
        due: dict[Path, _Pending] = {}
        for file, each in self._pending.items():
            if not at_once and each.due > now:
                continue
            version = _Version.of(file)
            if at_once or version is None or version == each.version:
                due[file] = each
            else:
                each.version, each.due = version, now + self._quiet
        if not due:
            return []
        known = {each.video_id: self._known(file) for file, each in due.items()}
        try:
            alerts = self._alerts.check([each.video_id for each in due.values()], self._search, known=known)
        except BaseException:
            for each in due.values():
                each.due = now + _RETRY_SECONDS
            raise
        for file, each in due.items():
            del self._pending[file]
            own = tuple(alert for alert in alerts if alert.moment.video_id == each.video_id)
            self._raised.pop(file, None)
            if each.version and (own or known[each.video_id]):
                self._raised[file] = each.version, (*known[each.video_id], *own)
        while len(self._raised) > _MAX_FILES:
            del self._raised[next(iter(self._raised))]
        return alerts

    def _known(self, file: Path) -> tuple[Alert, ...]:
        version, alerts = self._raised.get(file, (None, ()))
        return alerts if version and version.continues_in(file) else ()
