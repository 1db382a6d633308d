"""Adding footage while the page goes on working: one video after another, in a thread of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from var_plugin.errors import InvalidInputError, VarPluginError
from var_plugin.ingest.add import camera_name, check_one_time
from var_plugin.library import Index
from var_plugin.media.files import scan_videos
from var_plugin.media.guard import probe
from var_plugin.private_files import make_private_folder
from var_plugin.settings import settings

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
        for job in batch.jobs:
            if job.state == "waiting":
                self._add(job)

    def _add(self, job: Job) -> None:
        job.state = "working"
        try:
            job.duration = probe(job.path).duration
            (line,) = self._index.add(
                job.path,
                camera=job.camera,
                recorded_at=job.recorded_at,
                progress=lambda _, seconds: setattr(job, "reached", seconds),
            ).videos
        except VarPluginError as error:
            job.state, job.told = "failed", public(str(error), job.path)
            return
        job.state = line.status
        stored = ", ".join(f"{count} {space}" for space, count in line.verified.items())
        job.told = f"{stored} rows" if line.status == "stored" else public(line.reason or "", job.path)


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
    """Move uploaded files to where they are kept, and return a job for each.

    Raises:
        InvalidInputError: there is no room for them.
    """
    folder = upload_folder()
    make_private_folder(folder)
    needed = sum(Path(upload).stat().st_size for upload in uploads)
    if shutil.disk_usage(folder).free - needed < KEPT_FREE_BYTES:
        raise InvalidInputError("the disk is nearly full", why="uploads are kept there", fix="delete videos first")
    jobs = []
    for upload in map(Path, uploads):
        # The name of its folder is a hash of the content: equal names do not meet.
        kept = folder / upload.parent.name / upload.name
        make_private_folder(kept.parent)
        shutil.move(upload, kept)
        jobs.append(Job(kept, camera or kept.stem, recorded_at))
    return jobs


def from_demo() -> list[Job]:
    """Compose the demo footage, unless it is there already, and return a job for each of its cameras.

    Raises:
        MissingDependencyError: a package of the `demo` extra is missing.
    """
    from var_plugin.demo import compose

    return [Job(video.path, video.camera, video.recorded_at) for video in compose(settings().data / "demo-footage")]


def remove_upload(path: Path) -> None:
    """Delete the file of a video that was added by upload; footage that lies elsewhere is never touched."""
    if path.resolve().is_relative_to(upload_folder().resolve()):
        path.unlink(missing_ok=True)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def upload_folder() -> Path:
    """Return where uploaded footage is kept."""
    return settings().data / "uploads"


def public(text: str, path: Path) -> str:
    """Return a message without the folder that a file lies in."""
    return text.replace(f"{path.absolute().parent}/", "").replace(f"{path.parent}/", "")
