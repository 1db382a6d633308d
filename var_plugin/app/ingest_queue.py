"""Adding footage while the page goes on working: one video after another, in a thread of its own."""

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

KEPT_FREE_BYTES = 10**9
"""Uploads are refused when the disk has less room than this afterwards."""


@dataclass
class Job:
    """One video on its way into the index."""

    path: Path
    camera: str | None
    recorded_at: datetime | None = None
    state: State = "waiting"
    reached: float = 0.0
    """Seconds of the video that are done."""
    duration: float | None = None
    told: str = ""
    """What came out, or why it failed."""


@dataclass
class Batch:
    """The videos that were added together."""

    jobs: list[Job] = field(default_factory=list)
    problem: str = ""
    done: Future[None] | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing of it waits or runs."""
        return self.done is None or self.done.done()


class Adder:
    """Adds footage to an index, one video at a time, for everybody who uses the page."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="adding")

    def start(self, jobs: Callable[[], Iterable[Job]]) -> Batch:
        """Put videos into the queue; look at the batch to see how far they are.

        Args:
            jobs: makes the list when its turn comes; what it raises becomes the batch's `problem`.
        """
        batch = Batch()
        batch.done = self._worker.submit(self._run, batch, jobs)
        return batch

    def close(self) -> None:
        """Take no more, and wait for the video at work."""
        self._worker.shutdown(cancel_futures=True)

    def _run(self, batch: Batch, jobs: Callable[[], Iterable[Job]]) -> None:
        try:
            batch.jobs = list(jobs())
        except VarPluginError as error:
            batch.problem = str(error)
        except Exception as error:
            batch.problem = f"the footage cannot be listed: {_reason(error)}"
        for job in batch.jobs:
            if job.state == "waiting":
                self._add(job, batch)

    def _add(self, job: Job, batch: Batch) -> None:
        """Add one video. Whatever goes wrong is its outcome: the page shows it, and the next video is added."""
        job.state = "working"
        try:
            job.duration = probe(job.path).duration
            # The last receipt is of this video; those before it are of an unfinished re-index.
            *unfinished, receipt = self._index.add(
                job.path,
                camera=job.camera,
                recorded_at=job.recorded_at,
                progress=lambda _, seconds: setattr(job, "reached", seconds),
            ).videos
            job.told = self._outcome(receipt)
            job.state = receipt.status
            known = {each.path for each in batch.jobs}
            batch.jobs += [self._failed(line) for line in unfinished if Path(line.path) not in known]
        except VarPluginError as error:
            job.state, job.told = "failed", public(str(error), job.path)
        except Exception as error:
            job.state, job.told = "failed", public(_reason(error), job.path)

    def _failed(self, receipt: VideoReceipt) -> Job:
        """Return a failed job for a video that an unfinished re-index cannot bring into the new index."""
        return Job(Path(receipt.path), None, state="failed", told=f"not re-indexed: {self._outcome(receipt)}")

    def _outcome(self, receipt: VideoReceipt) -> str:
        """Return the stored rows and the reason of a receipt, without the folders of videos."""
        stored = ", ".join(f"{count} {space}" for space, count in receipt.verified.items())
        parts = [f"{stored} rows"] if receipt.status == "stored" else []
        if receipt.reason:
            sightings = [seen.path for entry in self._index.all_entries() for seen in entry.sightings]
            parts.append(public(receipt.reason, Path(receipt.path), *map(Path, sightings)))
        if receipt.clock and receipt.status == "stored":
            parts.extend(public(note, Path(receipt.path)) for note in receipt.clock.notes)
        return "; ".join(parts)


def _reason(error: Exception) -> str:
    """Return what the person reads of an error that the package does not foresee; the log has all of it."""
    logger.error("footage could not be added", exc_info=error)
    return (
        os_error_message(error) if isinstance(error, OSError) else f"unexpected error, {type(error).__name__}: {error}"
    )


def from_form(uploads: Sequence[str], folder: str, camera: str | None, recorded_at: datetime | None) -> list[Job]:
    """Return the jobs for uploaded files and for the videos at a path on this machine, which may be empty.

    Raises:
        As `from_folder` and `from_uploads`; one clock time is refused for several videos of both together.
    """
    named = from_folder(folder, camera, recorded_at) if folder else []
    videos = [job.path for job in named if job.state != "failed"]
    check_one_time(recorded_at, [*map(Path, uploads), *videos])
    return [*from_uploads(uploads, camera, recorded_at), *named]


def from_folder(folder: str, camera: str | None, recorded_at: datetime | None) -> list[Job]:
    """Return a job for each video at a path on this machine, and a failed one for whatever cannot be looked at.

    Raises:
        MediaNotFoundError, UnreadableMediaError, NoVideosFoundError: nothing is there, or it cannot be looked at.
        InvalidInputError: one clock time is given for several videos.
    """
    root = Path(folder).expanduser()
    scan = scan_videos(root)
    check_one_time(recorded_at, scan.videos)
    failed = [Job(path, camera, state="failed", told=public(str(problem), path)) for path, problem in scan.problems]
    return [*failed, *(Job(path, camera or camera_name(path, root), recorded_at) for path in scan.videos)]


def from_uploads(uploads: Sequence[str], camera: str | None, recorded_at: datetime | None) -> list[Job]:
    """Move uploaded files to the upload folder, and return a job for each; a file that cannot be moved is a failed one.

    Raises:
        InvalidInputError: the folder cannot be written, or the disk is nearly full.
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
            fix="set VAR_PLUGIN_DATA to a folder that can be written",
        ) from error
    if free - needed < KEPT_FREE_BYTES:
        raise InvalidInputError("the disk is nearly full", why="uploads are stored there", fix="delete videos first")
    return [_from_upload(Path(upload), folder, camera, recorded_at) for upload in uploads]


def _from_upload(upload: Path, folder: Path, camera: str | None, recorded_at: datetime | None) -> Job:
    # The name of its folder is a hash of the content: equal names do not meet.
    stored = folder / upload.parent.name / upload.name
    job = Job(stored, camera or stored.stem, recorded_at)
    try:
        make_private_folder(stored.parent)
        shutil.move(upload, stored)
        stored.chmod(0o600)
    except OSError as error:
        job.state, job.told = "failed", f"it cannot be stored: {os_error_message(error)}"
    return job


def from_demo() -> list[Job]:
    """Compose the demo footage, unless it is there already, and return a job for each of its cameras.

    Raises:
        MissingDependencyError: a package of the `demo` extra is missing.
    """
    from var_plugin.demo import compose

    return [Job(video.path, video.camera, video.recorded_at) for video in compose(settings().data / "demo-footage")]


def remove_upload(path: Path) -> None:
    """Delete the file of a video that was added by upload; footage elsewhere is never touched.

    The path comes from the index: only a file in a folder of the upload folder is deleted, never what a link names.
    """
    folder = upload_folder().resolve()
    try:
        is_upload = path.parent.resolve().parent == folder and is_marked(folder) and path.name not in ("", "..")
        if is_upload:
            (path.parent.resolve() / path.name).unlink(missing_ok=True)
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
    except (OSError, ValueError) as error:  # no path at all, or the file stays where it is
        logger.warning("an uploaded file was not deleted: %s", error)


def upload_folder() -> Path:
    """Return where uploaded footage is kept."""
    return settings().data / "uploads"


def public(text: str, *paths: Path) -> str:
    """Return a message without the folders of the files that it may name."""
    folders = {str(folder) for path in paths for folder in (path.absolute().parent, path.parent)}
    for folder in sorted(folders - {"/", "."}, key=len, reverse=True):
        text = text.replace(f"{folder}/", "")
    return text
