"""Watching cameras: new footage is indexed, told of where it matches a saved query, and leaves the index in time."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from var_plugin.errors import InvalidInputError
from var_plugin.ingest.add import camera_name
from var_plugin.ingest.alerts import Alerts
from var_plugin.ingest.clock import recorded_at
from var_plugin.ingest.rtsp import SEGMENT_SECONDS, record, recordings
from var_plugin.ingest.rtsp import camera_name as stream_name
from var_plugin.ingest.watch import watch
from var_plugin.library import Index
from var_plugin.private_files import make_private_folder
from var_plugin.settings import CameraClock, settings
from var_plugin.types import Filter, Moment, VideoReceipt

logger = logging.getLogger(__name__)

_MOMENTS = 10
"""Of one video, an alert looks at so many at most."""


@dataclass(frozen=True)
class Retention:
    """How long and how much is kept; None: all."""

    keep_days: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if any(limit is not None and not limit > 0 for limit in (self.keep_days, self.max_bytes)):
            raise InvalidInputError("a limit must be above zero", fix="leave it out to keep everything")


@dataclass
class Watch:
    """Follows one source of footage and keeps an index of it.

    Args:
        index: where the footage goes.
        stop: ends the watch after the file at work.
        camera: name of the camera; None: for a folder as `Index.add`, for a stream its host.
        clock: the camera's clock; None: what the settings say of it. A stream's files have the time of this machine.
        alerts: told of every new video.
        retention: what leaves the index, at the beginning and every hour.
        say: told the outcome of each file.
    """

    index: Index
    stop: threading.Event
    camera: str | None = None
    clock: CameraClock | None = None
    alerts: Alerts | None = None
    retention: Retention = Retention()
    say: Callable[[VideoReceipt], None] = lambda line: None
    counts: Counter[str] = field(default_factory=Counter)
    """Files by status, `alerts` raised, `undelivered` ones among them, videos `deleted`."""

    def folder(self, folder: Path) -> None:
        """Index every video below a folder, those that are there and each new one, until told to stop.

        Files from before the days to be kept, by name or sidecar, else by when they were last written, are passed over.

        Raises:
            MediaNotFoundError: there is no such folder at the beginning.
        """
        self._follow(folder, lambda file: self.camera or camera_name(file, folder), self.clock, owned=lambda: ())

    def stream(self, url: str, folder: Path | None = None, *, seconds: float = SEGMENT_SECONDS) -> None:
        """Record a stream into files and index them, until told to stop.

        The recordings are the index's own: they count to the room that it may take, and are deleted with their videos.

        Args:
            url: rtsp://… or rtsps://…
            folder: where the recordings go; default: a folder of the camera's name below the setting `recordings`.
            seconds: length of a recording.

        Raises:
            InvalidInputError: no address of a camera, or a name that cannot be part of a file's name.
        """
        name = self.camera or stream_name(url)
        target = folder or make_private_folder(settings().recordings / name)
        target.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(1, thread_name_prefix="recorder") as pool:
            recorder = pool.submit(record, url, target, stop=self.stop, camera=name, seconds=seconds)
            recorder.add_done_callback(lambda _: self.stop.set())
            try:
                self._follow(target, lambda file: name, CameraClock(), owned=lambda: recordings(target, name))
            finally:
                self.stop.set()
            recorder.result()

    def _follow(
        self,
        folder: Path,
        camera: Callable[[Path], str],
        clock: CameraClock | None,
        owned: Callable[[], Sequence[Path]],
    ) -> None:
        def handle(file: Path) -> None:
            name = camera(file)
            if not self._too_old(file, clock or settings().clock(name)):
                self._add(file, name, clock)

        def clean() -> None:
            limits = self.retention
            pruned = self.index.prune(keep_days=limits.keep_days, max_bytes=limits.max_bytes, recordings=owned())
            self.counts["deleted"] += len(pruned.deleted)

        watch(folder, handle, stop=self.stop, housekeeping=clean if self.retention != Retention() else None)

    def _too_old(self, file: Path, clock: CameraClock) -> bool:
        """What was thrown out must not come back at every start."""
        if self.retention.keep_days is None:
            return False
        written = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        try:
            recorded = recorded_at(file, clock=clock).at
        except InvalidInputError:  # its sidecar; adding it will say so
            recorded = None
        return datetime.now(UTC) - (recorded or written) > timedelta(days=self.retention.keep_days)

    def _add(self, file: Path, camera: str, clock: CameraClock | None) -> None:
        receipt = self.index.add(file, camera=camera, clock=clock)
        for line in receipt.videos:
            self.counts[line.status] += 1
            self.say(line)
        new = [line.video_id for line in receipt.videos if line.status == "stored" and line.video_id]
        if self.alerts:
            for alert in self.alerts.check(new, self._search):
                self.counts["alerts"] += 1
                self.counts["undelivered"] += bool(alert.failures)

    def _search(self, text: str, wanted: Filter) -> list[Moment]:
        return self.index.search(text, filter=wanted, k=_MOMENTS, thumbnails=True)
