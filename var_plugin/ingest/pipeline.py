"""Store one video file in an index: fingerprint it, embed it, write its rows, remove the video it replaces.

An engine runs these steps for many files. `LocalEngine` works in this process; `ingest.ray.RayEngine` uses a cluster.
"""

from __future__ import annotations

import hashlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from var_plugin.config import CameraClock, IndexOptions
from var_plugin.encoders.suite import Suite
from var_plugin.errors import (
    ChangedMediaError,
    InvalidInputError,
    UnreadableMediaError,
    VarPluginError,
    os_error_message,
)
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.index.filters import UNKNOWN_TIME, check_text, to_epoch_ms
from var_plugin.index.footage import find_footage
from var_plugin.index.generation import VideoGeneration
from var_plugin.index.index import VideoIndex
from var_plugin.ingest.embed import VideoEmbeddings, embed
from var_plugin.ingest.scoring import remember_rows, score_new_rows
from var_plugin.ingest.signals import defer_sigint
from var_plugin.ingest.timestamps import recorded_at
from var_plugin.media.files import canonical_path, check_file, content_hash
from var_plugin.media.sandbox.client import probe
from var_plugin.types import Scalar, VideoReceipt

logger = logging.getLogger(__name__)

T = TypeVar("T")

Progress = Callable[[Path, float], None]
"""Called with the current file and the position reached in it, in seconds."""


class RunProgress(ABC):
    """A `Progress` that also receives the planned files of a run and the outcome of each."""

    @abstractmethod
    def begin(self, files: Sequence[Path]) -> None:
        """Add files to the plan. A file that is planned already counts once."""

    @abstractmethod
    def __call__(self, file: Path, reached: float) -> None:
        """Report the current file and the position reached in it, in seconds."""

    @abstractmethod
    def end(self, file: Path, receipt: VideoReceipt) -> None:
        """Report that a file is done, with its receipt."""


OnResult = Callable[[int, VideoReceipt], None]
"""Called with the position of a file in the plan and its receipt."""


@dataclass(frozen=True)
class VideoSource:
    """A video file and what the caller states about it."""

    path: Path
    camera: str
    recorded_at: datetime | None
    """Clock time at the start of the file. None: derive it from the file if possible."""
    clock: CameraClock
    """The camera's clock, for derived times."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)

    def fingerprint(self) -> FileFingerprint:
        """Read the file's header and hash its content.

        Raises:
            InvalidInputError: The path or the camera name cannot be stored.
            MediaError: The file is missing, empty or unreadable.
        """
        path = check_path(canonical_path(self.path))
        check_text(self.camera)
        state = check_file(self.path)
        recorded = recorded_at(
            self.path, explicit=self.recorded_at, created_at=lambda: probe(self.path).created_at, clock=self.clock
        )
        sighting = Sighting(
            path=path,
            camera=self.camera,
            recorded_at=_stored_time(recorded.at),
            clock=recorded.origin,
            size=state.st_size,
            modified_ms=state.st_mtime_ns // 1_000_000,
            changed_ms=state.st_ctime_ns // 1_000_000,
        )
        timer = StageTimer()
        with timer.stage("hash"):
            content = content_hash(self.path)
        return FileFingerprint(content, sighting, timer)


class StageTimer:
    """Wall time per stage, in seconds. Repeated stages add up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a `with` block."""
        started = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - started)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a stage."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 3)


@dataclass(frozen=True)
class FileFingerprint:
    """The SHA-256 of a file, its path, camera, clock time and state, and the time that reading it took."""

    content: str
    sighting: Sighting
    timer: StageTimer

    @property
    def video_id(self) -> str:
        """The ID of the content."""
        return self.content[:32]


class PendingWrite:
    """A file that is ready to be written. It holds the video's lock until it is stored or discarded.

    Args:
        path: The file.
        write: Writes the file.
        lock: Holds the lock of the video.
        on_committed: Removes the videos that the path held before and adds them to the receipt. None: the path held no
            other video.
    """

    def __init__(
        self,
        path: Path,
        write: Callable[[], VideoReceipt],
        lock: ExitStack,
        on_committed: Callable[[VideoReceipt], VideoReceipt] | None,
    ) -> None:
        self.path = path
        self._write, self._lock, self._on_committed = write, lock, on_committed

    @property
    def blocks_next(self) -> bool:
        """Whether another video may be deleted, so that the next file must wait."""
        return self._on_committed is not None

    def store(self) -> VideoReceipt:
        """Write the file, in any thread. Raises as `VideoGeneration.write`."""
        with self._lock:
            receipt = self._write()
        return self._on_committed(receipt) if self._on_committed else receipt

    def discard(self) -> None:
        """Release the lock without writing."""
        self._lock.close()


@contextmanager
def prepare(
    index: VideoIndex, source: VideoSource, fingerprint: FileFingerprint, embed: Callable[[], VideoEmbeddings]
) -> Iterator[PendingWrite]:
    """Embed a file and yield its pending write. SIGINT is deferred inside the block.

    Args:
        index: The index to write to.
        source: The file.
        fingerprint: Its fingerprint.
        embed: Embeds the file. It is called only if the index does not hold the content.

    Raises:
        ChangedMediaError: The file changed since its fingerprint was taken.
        MediaError: The file cannot be decoded.
    """
    path, video_id = fingerprint.sighting.path, fingerprint.video_id
    with ExitStack() as lock:
        lock.enter_context(index.lock(video_id))
        with defer_sigint():
            entry = index.entry(video_id)
            replaces_videos = bool(index.find_by_path(path))
        if entry and is_up_to_date(entry, settings_fingerprint(index.suite, index.options)):
            write = partial(_update_path, index, entry, fingerprint.sighting)
        else:
            with fingerprint.timer.stage("embed"):
                embeddings = embed()
            _check_unchanged(source.path, fingerprint)
            write = partial(store, index, source.path, _new_entry(source, fingerprint), fingerprint.timer, embeddings)
        on_committed = partial(_remove_replaced, index, video_id, path) if replaces_videos else None
        with defer_sigint():
            yield PendingWrite(source.path, write, lock.pop_all(), on_committed)


def store(
    index: VideoGeneration, file: Path, entry: Entry, timer: StageTimer, embeddings: VideoEmbeddings
) -> VideoReceipt:
    """Write the embeddings of a file under `entry`, with the duration and the settings filled in.

    Raises:
        StoreError: The store failed.
        InvalidVectorError: A vector must not be stored.
    """
    fingerprint = settings_fingerprint(index.suite, index.options)
    entry = entry.model_copy(update={"duration": embeddings.duration, "settings": fingerprint})
    with timer.stage("score"):
        entry, rows = score_new_rows(index, entry, embeddings.rows)
    with timer.stage("store"):
        verified = index.write(entry, rows)
        remember_rows(index, entry, rows)
    planned = {name: len(segments) for name, (segments, _) in rows.items()}
    return VideoReceipt(
        path=str(file),
        status="stored",
        video_id=entry.video_id,
        duration=embeddings.duration,
        content=entry.content,
        recorded_at=entry.video().recorded_at,
        clock=entry.latest_sighting.clock,
        planned=planned,
        embedded={name: len(vectors) for name, (_, vectors) in rows.items()},
        stored=planned,
        verified=verified,
        seconds=timer.seconds,
        reason=embeddings.warnings,
    )


def reembed(index: VideoGeneration, entry: Entry, progress: Progress | None = None) -> VideoReceipt:
    """Embed a stored video again from a file that holds it. Its catalog entry is kept. Errors go into the receipt."""
    timer, path = StageTimer(), last_path(entry)
    try:
        with timer.stage("hash"):
            file = find_footage(entry, always_hash=True)
        with index.lock(entry.video_id):
            with timer.stage("embed"):
                embeddings = embed(file, index.suite, index.options, _progress_of(path, progress))
            with defer_sigint():
                return store(index, file, entry, timer, embeddings)
    except Exception as error:  # as `attempt`
        return failure(path, error)


def last_path(entry: Entry) -> Path:
    """Return the latest known path of a video."""
    return Path(entry.latest_sighting.path)


def is_up_to_date(entry: Entry, fingerprint: str) -> bool:
    """Return whether a video is stored with the settings of this fingerprint."""
    return entry.state == "committed" and entry.settings == fingerprint


def settings_fingerprint(suite: Suite, options: IndexOptions) -> str:
    """Return a hash of the suite and the options that decide how a video is segmented, embedded and scored."""
    values = {"fps": suite.fps} | options.model_dump(
        include={"segment_seconds", "merge_threshold", "max_merged_seconds", "anomaly_threshold"}, mode="json"
    )
    return hashlib.sha256(
        f"{suite.fingerprint}|{suite.description.revision}|{sorted(values.items())}".encode()
    ).hexdigest()[:16]


def check_path(path: str) -> str:
    """Return a path if it can be stored.

    Raises:
        InvalidInputError: A name in it is not UTF-8 or has control characters, or the path is too long.
    """
    name = Path(path).name
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"the name of {path} is not UTF-8",
            why="an index stores names as UTF-8 text",
            fix=f"rename the file or folder, for example: convmv -r -f latin1 -t utf8 --notest {name}",
        ) from error
    if any(letter < " " or letter == "\x7f" for letter in path):
        raise InvalidInputError(
            f"the name of {path} has control characters", why="they cannot be stored", fix="rename the file or folder"
        )
    return check_text(path)


def attempt(path: Path, work: Callable[[], T]) -> T | VideoReceipt:
    """Process one file. Return its failed receipt if that raises anything but KeyboardInterrupt.

    Every engine runs its steps through this function, so that a failed file does not end the run.
    """
    try:
        return work()
    except Exception as error:
        return failure(path, error)


def failure(path: Path, error: Exception) -> VideoReceipt:
    """Return the receipt of a failed file. An unexpected error is also logged."""
    if not isinstance(error, VarPluginError):
        if isinstance(error, OSError):
            error = UnreadableMediaError(
                f"{path} could not be processed",
                why=os_error_message(error),
                fix="check the disk and the permissions of the file, then try again",
            )
        else:
            logger.debug("%s failed", path, exc_info=error)
            detail = str(error)
            error = VarPluginError("unexpected error", why=type(error).__name__ + (f": {detail}" if detail else ""))
    return VideoReceipt(
        path=str(path), status="failed", reason=str(error), error=type(error).__name__, exit_code=error.exit_code
    )


class Engine(Protocol):
    """Adds files to an index."""

    def add(
        self,
        index: VideoIndex,
        plan: Iterable[VideoSource | VideoReceipt],
        progress: Progress | None,
        on_result: OnResult,
    ) -> None:
        """Call `on_result(position, receipt)` for each file. Receipts in the plan pass through."""
        ...


class LocalEngine:
    """Adds files one after another in this process. A thread stores a file while the next one is embedded."""

    def add(
        self,
        index: VideoIndex,
        plan: Iterable[VideoSource | VideoReceipt],
        progress: Progress | None,
        on_result: OnResult,
    ) -> None:
        """Call `on_result` in the order of the plan. After Ctrl-C a write in progress is completed and reported."""
        with _Writer(on_result) as writer:
            for number, item in enumerate(plan):
                if isinstance(item, VideoSource):
                    _add_file(index, number, item, writer, progress)
                else:
                    writer.report(number, item)


def _add_file(index: VideoIndex, number: int, source: VideoSource, writer: _Writer, progress: Progress | None) -> None:
    path = source.path

    def embed_file() -> VideoEmbeddings:
        return embed(path, index.suite, index.options, _progress_of(path, progress))

    with ExitStack() as stack:
        result = attempt(path, lambda: stack.enter_context(prepare(index, source, source.fingerprint(), embed_file)))
        if isinstance(result, PendingWrite):
            writer.store(number, result)
            return
    writer.report(number, result)


class _Writer:
    """Writes files in a thread, one at a time, and reports receipts in order."""

    def __init__(self, on_result: OnResult) -> None:
        self._on_result = on_result
        self._thread = ThreadPoolExecutor(1, "store")
        self._current: tuple[int, Future[VideoReceipt]] | None = None

    def store(self, number: int, pending: PendingWrite) -> None:
        """Start a write once the previous one is complete."""
        try:
            self._finish()
        except BaseException:
            pending.discard()
            raise
        if pending.blocks_next:
            self._on_result(number, attempt(pending.path, pending.store))
        else:
            self._current = number, self._thread.submit(attempt, pending.path, pending.store)

    def report(self, number: int, receipt: VideoReceipt) -> None:
        """Report a receipt after the previous ones."""
        self._finish()
        self._on_result(number, receipt)

    def _finish(self) -> None:
        if self._current:
            number, future = self._current
            self._on_result(number, future.result())
            self._current = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with defer_sigint():
                self._finish()
        finally:  # a second Ctrl-C interrupts the wait, but the thread still completes its write
            self._thread.shutdown()
            self._finish()


def _progress_of(path: Path, progress: Progress | None) -> Callable[[float], None] | None:
    return (lambda reached: progress(path, reached)) if progress else None


def _check_unchanged(path: Path, fingerprint: FileFingerprint) -> None:
    """Raise unless the file is unchanged: vectors of other footage must not be stored under its hash."""
    state = check_file(path)
    sighting = fingerprint.sighting
    times = (state.st_mtime_ns // 1_000_000, state.st_ctime_ns // 1_000_000)
    if (state.st_size, *times) == (sighting.size, sighting.modified_ms, sighting.changed_ms):
        return
    if state.st_size != sighting.size or content_hash(path) != fingerprint.content:
        raise ChangedMediaError(
            f"{path} changed while it was indexed",
            why="another program is writing to it",
            fix="index it again once it is complete; `var-plugin watch` waits for that by itself",
        )


def _stored_time(at: datetime | None) -> int:
    """Return a time in milliseconds. The value that means an unknown time is stored as the next one."""
    return UNKNOWN_TIME if at is None else to_epoch_ms(at) + (to_epoch_ms(at) == UNKNOWN_TIME)


def _new_entry(source: VideoSource, fingerprint: FileFingerprint) -> Entry:
    return Entry(
        video_id=fingerprint.video_id,
        state="pending",
        content=fingerprint.content,
        sightings=(fingerprint.sighting,),
        duration=0.0,
        metadata=dict(source.metadata),
        settings="",
        rows={},
        added_at=to_epoch_ms(datetime.now(UTC)),
    )


def _update_path(index: VideoIndex, entry: Entry, sighting: Sighting) -> VideoReceipt:
    """Record the latest path of a stored video. Its segments keep their camera and clock time."""
    last = entry.latest_sighting
    reason = "this content is in the index already"
    moved = last.model_copy(update=sighting.model_dump(include={"path", "size", "modified_ms", "changed_ms"}))
    if moved != last:
        others = tuple(other for other in entry.sightings if other.path != sighting.path)
        index.update(entry.model_copy(update={"sightings": (*others, moved), "migrated": False}))
    if moved.path != last.path:
        reason += f"; its previous path was {last.path}"
    if (sighting.camera, sighting.recorded_at) != (last.camera, last.recorded_at):
        reason += f" and it keeps camera '{last.camera}' and its clock time; delete it first to change them"
    return VideoReceipt(
        path=sighting.path,
        status="unchanged",
        video_id=entry.video_id,
        duration=entry.duration,
        content=entry.content,
        recorded_at=entry.video().recorded_at,
        clock=last.clock,
        planned=entry.rows,
        embedded=dict.fromkeys(entry.rows, 0),
        stored=dict.fromkeys(entry.rows, 0),
        verified=index.count(entry.video_id),
        reason=reason,
    )


def _remove_replaced(index: VideoIndex, video_id: str, path: str, receipt: VideoReceipt) -> VideoReceipt:
    """Remove this path from the other videos that had it. Delete a video that no other file holds.

    Returns:
        The receipt with the deleted videos and the reasons added.
    """
    deleted, reasons = [], [receipt.reason] if receipt.reason else []
    for replaced in index.find_by_path(path):
        if replaced.video_id == video_id:
            continue
        others = tuple(other for other in replaced.sightings if other.path != path and Path(other.path).is_file())
        if others:
            index.update(replaced.model_copy(update={"sightings": others, "migrated": False}))
            reasons.append(
                f"video {replaced.video_id}, which had this path before, stays in the index as {others[-1].path}"
            )
        else:
            index.delete(replaced.video_id)
            deleted.append(replaced.video_id)
            reasons.append(f"it replaces video {replaced.video_id}, which is deleted from the index")
    return receipt.model_copy(update={"reason": "; ".join(reasons) or None, "replaced": tuple(deleted)})
