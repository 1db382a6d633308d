"""Delay alerts until their file is complete, so that each event raises one alert.

A slow upload is indexed each time it pauses, and each version replaces the video of the previous one. An alert for a
replaced version would refer to a moment that no longer exists. Alerts are therefore raised only after a file has stayed
unchanged for some time. If it grows afterwards, moments that overlap earlier alerts count as the same events.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from var_plugin.watch.alerts import Alert, Alerts, Footage

_RETRY_SECONDS = 60.0
_OLD_SECONDS = 600.0
"""A file that was last written longer ago counts as complete."""
_SAMPLE_BYTES = 64 << 10
_MAX_FILES = 1_000
"""Maximum number of files whose raised alerts are kept in case the files grow."""


@dataclass(frozen=True)
class _Version:
    """State of a file. The hash of a sample tells whether a longer file continues it."""

    size: int
    changed_ns: int
    sample: bytes

    @staticmethod
    def of(file: Path, size: int | None = None) -> _Version | None:
        """Return the version of a file, or None if it is unreadable.

        Args:
            file: the file.
            size: size in bytes of the version whose sample is computed. None: the current size.
        """
        try:
            state = file.stat()
            # The sample is from the middle, because recorders rewrite the start and end of a file when they close it.
            start = (state.st_size if size is None else size) // 2
            with file.open("rb") as content:
                content.seek(start)
                sample = content.read(min(_SAMPLE_BYTES, start))
        except OSError:
            return None
        return _Version(state.st_size, state.st_mtime_ns, hashlib.sha256(sample).digest())

    def continues_in(self, file: Path) -> bool:
        """Return whether the current content of a file equals or extends this version."""
        now = _Version.of(file, self.size)
        return now is not None and now.size >= self.size and now.sample == self.sample


@dataclass
class _Pending:
    video_id: str
    version: _Version | None
    due: float


class PendingAlerts:
    """Raise alerts for the videos of files that stay unchanged.

    Args:
        alerts: raises the alerts.
        footage: the index.
        quiet_seconds: time in seconds that a file must stay unchanged after it is stored. 0: files are complete.
        clock: monotonic clock in seconds.
    """

    def __init__(
        self, alerts: Alerts, footage: Footage, quiet_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._alerts, self._footage, self._quiet, self._clock = alerts, footage, quiet_seconds, clock
        self._pending: dict[Path, _Pending] = {}
        self._raised: dict[Path, tuple[_Version, tuple[Alert, ...]]] = {}

    def add(self, file: Path, video_id: str) -> None:
        """Register a file that was stored as a new video. It replaces an earlier pending video of the file."""
        version = _Version.of(file)
        # The quiet time starts now, not at the last change, because an upload may pause while the video is embedded.
        old = version is not None and time.time() - version.changed_ns / 1e9 > _OLD_SECONDS
        self._pending[file] = _Pending(video_id, version, self._clock() + (0.0 if old else self._quiet))

    def __len__(self) -> int:
        """Return the number of videos with pending alerts."""
        return len(self._pending)

    def seconds_left(self) -> float | None:
        """Return the seconds until the next call of `raise_due` is due. None: nothing is pending."""
        return min((max(0.0, each.due - self._clock()) for each in self._pending.values()), default=None)

    def raise_due(self, *, at_once: bool = False) -> list[Alert]:
        """Raise the alerts of files that stayed unchanged.

        Args:
            at_once: raise the alerts of all pending files.

        Raises:
            As `Alerts.check`. The alerts are then retried after a minute.
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
        earlier = {each.video_id: self._earlier_alerts(file) for file, each in due.items()}
        try:
            alerts = self._alerts.check([each.video_id for each in due.values()], self._footage, earlier=earlier)
        except BaseException:
            for each in due.values():
                each.due = now + _RETRY_SECONDS
            raise
        for file, each in due.items():
            del self._pending[file]
            own = tuple(alert for alert in alerts if alert.moment.video_id == each.video_id)
            self._raised.pop(file, None)
            if each.version and (own or earlier[each.video_id]):
                self._raised[file] = each.version, (*earlier[each.video_id], *own)
        while len(self._raised) > _MAX_FILES:
            del self._raised[next(iter(self._raised))]
        return alerts

    def _earlier_alerts(self, file: Path) -> tuple[Alert, ...]:
        version, alerts = self._raised.get(file, (None, ()))
        return alerts if version and version.continues_in(file) else ()
