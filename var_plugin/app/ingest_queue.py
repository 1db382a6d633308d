"""Background queue that adds footage to the index, one video at a time."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from var_plugin.api import Index
from var_plugin.config import settings
from var_plugin.errors import InvalidInputError, VarPluginError, os_error_message
from var_plugin.ingest.add import camera_name, check_one_time
from var_plugin.media.files import scan_videos
from var_plugin.media.sandbox.client import probe
from var_plugin.private_files import is_marked, make_private_folder, mark_folder
from var_plugin.types import VideoReceipt

logger = logging.getLogger(__name__)

State = Literal["waiting", "working", "stored", "unchanged", "failed"]

MIN_FREE_BYTES = 10**9
"""Free disk space that uploads must leave."""


@dataclass
class IngestJob:
    """One video that is added to the index."""

    path: Path
    camera: str | None
    recorded_at: datetime | None = None
    state: State = "waiting"
    processed_seconds: float = 0.0
    duration: float | None = None
    message: str = ""
    """The outcome, or the reason of the failure."""


@dataclass
class IngestBatch:
    """The videos of one request."""

    jobs: list[IngestJob] = field(default_factory=list)
    error: str = ""
    """Why the videos could not be listed; empty if they could."""
    future: Future[None] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether no video is waiting or being added."""
        return self.future is None or self.future.done()


class IngestQueue:
    """Adds footage to an index, one video at a time, for all visitors.

    Args:
        index: the index.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="ingest")

    def start(self, jobs: Callable[[], Iterable[IngestJob]]) -> IngestBatch:
        """Queue videos. The returned batch shows their progress.

        Args:
            jobs: called in the queue's thread to make the list. An error that it raises becomes `batch.error`.
        """
        batch = IngestBatch()
        batch.future = self._worker.submit(self._run, batch, jobs)
        return batch

    def close(self) -> None:
        """Cancel waiting videos and wait for the current one."""
        self._worker.shutdown(cancel_futures=True)

    def _run(self, batch: IngestBatch, jobs: Callable[[], Iterable[IngestJob]]) -> None:
        try:
            batch.jobs = list(jobs())
        except VarPluginError as error:
            batch.error = str(error)
        except Exception as error:
            batch.error = f"the videos cannot be listed: {_reason(error)}"
        for job in batch.jobs:
            if job.state == "waiting":
                self._add(job, batch)

    def _add(self, job: IngestJob, batch: IngestBatch) -> None:
        """Add one video. An error becomes the message of the job, and the next video is added."""
        job.state = "working"
        try:
            job.duration = probe(job.path).duration
            # The last receipt belongs to this video. Earlier ones belong to an unfinished re-index.
            *unfinished, receipt = self._index.add(
                job.path,
                camera=job.camera,
                recorded_at=job.recorded_at,
                progress=lambda _, seconds: setattr(job, "processed_seconds", seconds),
            ).videos
            job.message = self._outcome(receipt)
            job.state = receipt.status
            paths = {other.path for other in batch.jobs}
            batch.jobs += [self._failed(other) for other in unfinished if Path(other.path) not in paths]
        except VarPluginError as error:
            job.state, job.message = "failed", strip_folders(str(error), job.path)
        except Exception as error:
            job.state, job.message = "failed", strip_folders(_reason(error), job.path)

    def _failed(self, receipt: VideoReceipt) -> IngestJob:
        """Return a failed job for a video that an unfinished re-index cannot add."""
        return IngestJob(Path(receipt.path), None, state="failed", message=f"not re-indexed: {self._outcome(receipt)}")

    def _outcome(self, receipt: VideoReceipt) -> str:
        """Return the stored rows and the reason of a receipt, without the folders of videos."""
        stored = ", ".join(f"{count} {space}" for space, count in receipt.verified.items())
        parts = [f"{stored} rows"] if receipt.status == "stored" else []
        if receipt.reason:
            paths = [Path(path) for video in self._index.videos() for path in video.paths]
            parts.append(strip_folders(receipt.reason, Path(receipt.path), *paths))
        if receipt.clock and receipt.status == "stored":
            parts.extend(strip_folders(note, Path(receipt.path)) for note in receipt.clock.notes)
        return "; ".join(parts)


def _reason(error: Exception) -> str:
    """Log an unexpected error and return its message for the page."""
    logger.error("footage could not be added", exc_info=error)
    return (
        os_error_message(error) if isinstance(error, OSError) else f"unexpected error, {type(error).__name__}: {error}"
    )


def jobs_from_form(
    uploads: Sequence[str], folder: str, camera: str | None, recorded_at: datetime | None
) -> list[IngestJob]:
    """Return the jobs for uploaded files and for the videos in a folder; `folder` may be empty.

    Raises:
        As `jobs_from_folder` and `jobs_from_uploads`. One clock time for several videos is refused.
    """
    folder_jobs = jobs_from_folder(folder, camera, recorded_at) if folder else []
    videos = [job.path for job in folder_jobs if job.state != "failed"]
    check_one_time(recorded_at, [*map(Path, uploads), *videos])
    return [*jobs_from_uploads(uploads, camera, recorded_at), *folder_jobs]


def jobs_from_folder(folder: str, camera: str | None, recorded_at: datetime | None) -> list[IngestJob]:
    """Return a job for each video at a path, and a failed job for each unreadable entry.

    Raises:
        MediaNotFoundError, UnreadableMediaError, NoVideosFoundError: there are no videos, or the path is unreadable.
        InvalidInputError: one clock time is given for several videos.
    """
    root = Path(folder).expanduser()
    scan = scan_videos(root)
    check_one_time(recorded_at, scan.videos)
    failed = [
        IngestJob(path, camera, state="failed", message=strip_folders(str(problem), path))
        for path, problem in scan.problems
    ]
    return [*failed, *(IngestJob(path, camera or camera_name(path, root), recorded_at) for path in scan.videos)]


def jobs_from_uploads(uploads: Sequence[str], camera: str | None, recorded_at: datetime | None) -> list[IngestJob]:
    """Move uploaded files to the upload folder and return a job for each. It is a failed job if the move fails.

    Raises:
        InvalidInputError: the upload folder is not writable, or the disk is nearly full.
    """
    if not uploads:
        return []
    folder = upload_folder()
    try:
        make_private_folder(folder)
        mark_folder(folder)
        device = folder.stat().st_dev
        statuses = [Path(upload).stat() for upload in uploads]
        needed = sum(status.st_size for status in statuses if status.st_dev != device)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise InvalidInputError(
            "the uploaded files cannot be stored",
            why=os_error_message(error),
            fix="set VAR_PLUGIN_DATA to a writable folder",
        ) from error
    if free - needed < MIN_FREE_BYTES:
        raise InvalidInputError(
            "the uploaded files cannot be stored",
            why=f"the disk is nearly full; {MIN_FREE_BYTES / 1e9:.0f} GB must stay free",
            fix="delete videos or other files",
        )
    return [_from_upload(Path(upload), folder, camera, recorded_at) for upload in uploads]


def _from_upload(upload: Path, folder: Path, camera: str | None, recorded_at: datetime | None) -> IngestJob:
    # Gradio names the folder by a hash of the content, so that equal file names do not collide.
    stored = folder / upload.parent.name / upload.name
    job = IngestJob(stored, camera or stored.stem, recorded_at)
    try:
        make_private_folder(stored.parent)
        shutil.move(upload, stored)
        stored.chmod(0o600)
    except OSError as error:
        job.state, job.message = "failed", f"cannot be stored: {os_error_message(error)}"
    return job


def jobs_from_demo() -> list[IngestJob]:
    """Compose the demo footage if it is missing, and return a job for each camera.

    Raises:
        MissingDependencyError: a package of the `demo` extra is missing.
    """
    from var_plugin.demo import compose

    return [
        IngestJob(video.path, video.camera, video.recorded_at) for video in compose(settings().data / "demo-footage")
    ]


def delete_upload(path: Path) -> None:
    """Delete the file of a video that was uploaded.

    Other files are kept. Links are not followed.
    """
    try:
        if is_upload(path):
            (path.parent.resolve() / path.name).unlink(missing_ok=True)
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
    except OSError as error:
        logger.warning("an uploaded file was not deleted: %s", error)


def is_upload(path: Path) -> bool:
    """Return whether a file was uploaded: it is in a subfolder of the upload folder."""
    folder = upload_folder().resolve()
    try:
        return path.parent.resolve().parent == folder and is_marked(folder) and path.name not in ("", "..")
    except (OSError, ValueError):  # invalid path
        return False


def upload_folder() -> Path:
    """Return the folder of uploaded footage."""
    return settings().data / "uploads"


def strip_folders(text: str, *paths: Path) -> str:
    """Return a message without the folders of the given paths."""
    folders = {str(folder) for path in paths for folder in (path.absolute().parent, path.parent)}
    for folder in sorted(folders - {"/", "."}, key=len, reverse=True):
        text = text.replace(f"{folder}/", "")
    return text
