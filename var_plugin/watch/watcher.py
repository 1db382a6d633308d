"""Watch cameras: index new footage, raise alerts, delete old videos from the index."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from var_plugin.api import Index
from var_plugin.config import CameraClock, settings
from var_plugin.errors import (
    BrokenTimestampsError,
    EmptyMediaError,
    InvalidInputError,
    NoVideoStreamError,
    PlaylistError,
    TooLongMediaError,
    TooManyFramesError,
    TooManyPixelsError,
    TooManyStreamsError,
    TruncatedMediaError,
    UnreadableMediaError,
    VarPluginError,
    os_error_message,
)
from var_plugin.ingest.add import camera_name
from var_plugin.ingest.pipeline import failure
from var_plugin.ingest.retention import IncompletePruneError, Pruned
from var_plugin.ingest.timestamps import camera_clock, recorded_at
from var_plugin.media.sandbox.client import probe
from var_plugin.private_files import make_private_folder
from var_plugin.types import Receipt, VideoReceipt
from var_plugin.watch.alerts import Alerts, IndexFootage
from var_plugin.watch.folder import watch
from var_plugin.watch.pending_alerts import PendingAlerts
from var_plugin.watch.rtsp import SEGMENT_SECONDS, check_camera_name, record, recordings
from var_plugin.watch.rtsp import camera_name as stream_name

logger = logging.getLogger(__name__)

ALERT_SECONDS = 20.0
"""Time that a file must stay unchanged after it was stored before its alerts are raised, because uploads pause."""
_DAY_SECONDS = 86_400.0
_CONTENT_ERRORS = frozenset(
    error.__name__
    for error in (
        BrokenTimestampsError, EmptyMediaError, InvalidInputError, NoVideoStreamError, PlaylistError, TooLongMediaError,
        TooManyFramesError, TooManyPixelsError, TooManyStreamsError, TruncatedMediaError, UnreadableMediaError,
    )
)  # fmt: skip
"""Errors that are permanent until the file changes."""


@dataclass(frozen=True)
class Retention:
    """Maximum age and size of the index. None: unlimited."""

    keep_days: float | None = None
    max_bytes: float | None = None

    def __post_init__(self) -> None:
        if any(limit is not None and not limit > 0 for limit in (self.keep_days, self.max_bytes)):
            raise InvalidInputError(
                "a limit of age or size must be above zero", fix="omit the limit to keep everything"
            )


@dataclass
class Watch:
    """Watch a folder or a stream and index its footage.

    Args:
        index: The index.
        stop: Ends the watch. A video that is being embedded is discarded; the next watch indexes it.
        camera: Name of the camera. None: as `Index.add` for a folder, the host for a stream.
        clock: The camera's clock. None: from the settings. Recordings of a stream use the clock of this machine.
        alerts: Checked for every new video.
        retention: Limits of the index, applied at the start and every hour.
        on_result: Called with the receipt of each file.
        on_message: Called with one line per skipped file, deleted video and failed housekeeping.
    """

    index: Index
    stop: threading.Event
    camera: str | None = None
    clock: CameraClock | None = None
    alerts: Alerts | None = None
    retention: Retention = Retention()
    on_result: Callable[[VideoReceipt], None] = lambda receipt: None
    on_message: Callable[[str], None] = lambda text: None
    counts: Counter[str] = field(default_factory=Counter)
    """Numbers of files per outcome, `alerts`, `undelivered` and `unusable alerts`, `deleted` videos and `failed
    housekeeping`.
    """
    _failed: set[str] = field(default_factory=set)
    """Paths whose last attempt failed."""
    _problems: set[Path] = field(default_factory=set)
    """Paths of the last scan that cannot be read."""

    @property
    def ok(self) -> bool:
        """True if nothing failed."""
        return not any(
            self.counts[what] for what in ("failed", "undelivered", "unusable alerts", "failed housekeeping")
        )

    def folder(self, folder: Path) -> None:
        """Index every video below a folder, existing and new ones, until `stop` is set.

        A failed file is retried when it changes. If its content is not the cause, it is also retried after 10, 20, 40 s
        … 1 h. Files older than `retention.keep_days` are skipped. The age counts from the recording time, or from the
        last write if the recording time is unknown.

        Raises:
            MediaNotFoundError: The folder does not exist at the start.
        """
        self._follow(
            folder, lambda file: self.camera or camera_name(file, folder), self.clock, lambda: (), ALERT_SECONDS
        )

    def stream(self, url: str, folder: Path | None = None, *, seconds: float = SEGMENT_SECONDS) -> None:
        """Record a stream into files and index them, until `stop` is set.

        The recordings count towards the quota of the index and are deleted with their videos.

        Args:
            url: rtsp://… or rtsps://…
            folder: Folder of the recordings. Default: a folder with the camera's name below the setting `recordings`.
            seconds: Length of a recording in seconds.

        Raises:
            InvalidInputError: The URL is not an RTSP address, the name cannot be part of a file name, or the folder
                cannot be written.
        """
        name = self.camera or stream_name(url)
        check_camera_name(name)
        target = folder or settings().recordings / name
        if folder is None:
            try:
                make_private_folder(target)
            except OSError as error:
                raise InvalidInputError(
                    f"cannot record into {target}", why=os_error_message(error), fix="name another folder: --recordings"
                ) from error
        with ThreadPoolExecutor(1, thread_name_prefix="recorder") as pool:
            ready = threading.Event()
            recorder = pool.submit(record, url, target, stop=self.stop, camera=name, seconds=seconds, ready=ready.set)
            recorder.add_done_callback(lambda _: self.stop.set())
            recorder.add_done_callback(lambda _: ready.set())
            ready.wait()
            try:
                if not self.stop.is_set():
                    self._follow(target, lambda file: name, CameraClock(), lambda: recordings(target, name), 0.0)
            finally:
                self.stop.set()
            recorder.result()

    def _follow(
        self,
        folder: Path,
        camera: Callable[[Path], str],
        clock: CameraClock | None,
        owned: Callable[[], Sequence[Path]],
        alert_seconds: float,
    ) -> None:
        pending: PendingAlerts | None = None
        if self.alerts:
            self.alerts.check_suite(self.index.suite)
            pending = PendingAlerts(self.alerts, IndexFootage(self.index), alert_seconds)

        def handle(file: Path) -> bool:
            name = camera(file)
            reason = self._too_old(file, clock or camera_clock(settings(), name))
            if reason:
                self.counts["skipped"] += 1
                self.on_message(f"skipped: {file} {reason}")
                return False
            return self._add(file, name, clock, pending)

        def raise_alerts() -> float | None:
            if pending is None:
                return None
            self._raise(pending)
            return pending.seconds_left()

        watch(
            folder,
            handle,
            stop=self.stop,
            housekeeping=None if self.retention == Retention() else lambda: self._prune(owned),
            tick=raise_alerts,
            problems=self._report,
        )
        if pending:
            self._raise(pending, at_once=True)

    def _too_old(self, file: Path, clock: CameraClock) -> str | None:
        """Return why a file is too old, or None. This prevents that a deleted video is indexed again at every start."""
        days = self.retention.keep_days
        if days is None:
            return None
        try:
            written = file.stat().st_mtime
            recorded = recorded_at(file, created_at=lambda: probe(file).created_at, clock=clock)
        except (OSError, VarPluginError):  # the error is reported when the file is indexed
            return None
        oldest = time.time() - days * _DAY_SECONDS
        if recorded.at is None:
            if written >= oldest:
                return None
            return f"was last written {_age(written)}, more than {days:g} days ago; its recording time is unknown"
        if recorded.at.timestamp() >= oldest:
            return None
        reason = f"was recorded on {recorded.at:%Y-%m-%d} by its {recorded.origin.source}, more than {days:g} days ago"
        if written >= oldest:
            reason += (
                f", but was last written {_age(written)}: if the clock of the camera is wrong, correct it or give"
                " --clock-offset, and index the file with: var-plugin index"
            )
        return reason

    def _add(self, file: Path, camera: str, clock: CameraClock | None, pending: PendingAlerts | None) -> bool:
        """Index a file; return whether another attempt may succeed."""
        earlier: set[str] = set()
        try:
            earlier = {video.video_id for video in self.index.videos(file)}
            receipt = self.index.add(file, camera=camera, clock=clock, progress=self._check_stop)
        except Exception as error:  # an error of a file or of the store must not end the watch
            receipt = Receipt(videos=(failure(file, error),))
        if receipt.interrupted:
            self.on_message(f"stopped: {file} is not indexed yet; the next watch does it")
        retry = False
        for video in receipt.videos:
            self._count(video)
            if video.status == "failed":
                retry |= video.error not in _CONTENT_ERRORS or not _is_readable(file)
            # A video that already had this path is not new. It was embedded again with other settings.
            elif video.status == "stored" and video.video_id and video.video_id not in earlier and pending is not None:
                pending.add(file, video.video_id)
        return retry

    def _check_stop(self, file: Path, reached: float) -> None:
        if self.stop.is_set():
            raise KeyboardInterrupt  # `Index.add` stops and stores no partial video

    def _count(self, receipt: VideoReceipt) -> None:
        if receipt.status == "failed":
            self._failed.add(receipt.path)
        else:
            self._failed.discard(receipt.path)
            self.counts[receipt.status] += 1
        self.counts["failed"] = len(self._failed)
        self.on_result(receipt)

    def _report(self, problems: Mapping[Path, VarPluginError]) -> None:
        """Count paths that cannot be read, such as unreadable folders and broken links."""
        for path, error in problems.items():
            if path not in self._problems:
                self._count(failure(path, error))
        self._failed -= {str(path) for path in self._problems - problems.keys()}
        self.counts["failed"] = len(self._failed)
        self._problems = set(problems)

    def _prune(self, owned: Callable[[], Sequence[Path]]) -> None:
        limits = self.retention
        try:
            pruned = self.index.prune(keep_days=limits.keep_days, max_bytes=limits.max_bytes, recordings=owned())
        except Exception as error:  # housekeeping runs again an hour later
            if isinstance(error, IncompletePruneError):
                self._note_deleted(error.pruned)
            logger.debug("housekeeping failed", exc_info=error)
            self.counts["failed housekeeping"] += 1
            self.on_message(f"housekeeping failed: {os_error_message(error) or type(error).__name__}")
            return
        self._note_deleted(pruned)

    def _note_deleted(self, pruned: Pruned) -> None:
        self.counts["deleted"] += len(pruned.deleted)
        for video in pruned.deleted:
            self.on_message(f"deleted: {video.uri} from the index")
        for reason in pruned.not_deleted:
            self.on_message(f"not deleted: {reason}")

    def _raise(self, pending: PendingAlerts, *, at_once: bool = False) -> None:
        try:
            alerts = pending.raise_due(at_once=at_once)
        except Exception as error:  # they stay pending
            logger.debug("raising alerts failed", exc_info=error)
            self.on_message(f"alerts failed: {os_error_message(error) or type(error).__name__}")
            if at_once:
                self.counts["undelivered"] += len(pending)
            return
        self.counts["alerts"] += len(alerts)
        self.counts["undelivered"] += sum(bool(alert.failures) for alert in alerts)
        if self.alerts:
            self.counts["unusable alerts"] = len(self.alerts.unusable)


def _is_readable(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            content.read(1)
    except OSError:
        return False
    return True


def _age(timestamp: float) -> str:
    """Format a timestamp as a date, or as seconds if it is outside the range of the calendar."""
    try:
        return f"on {datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d}"
    except (OverflowError, OSError, ValueError):
        return f"{timestamp:.0f} s after 1970"
