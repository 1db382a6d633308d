"""What becomes of one file of footage in an index: recognised or stored; what its path held before is forgotten."""

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

from var_plugin.config import CameraClock, settings
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
from var_plugin.ingest.embed import Embedded, embed
from var_plugin.ingest.signals import held_back, hold_back, let_through
from var_plugin.ingest.timestamps import recorded_at
from var_plugin.media.files import canonical_path, check_file, content_hash
from var_plugin.media.sandbox.client import probe
from var_plugin.types import Scalar, VideoReceipt


@dataclass(frozen=True)
class Footage:
    """A file and what the caller knows of it."""

    path: Path
    camera: str
    recorded_at: datetime | None
    """Clock time at its start; None: derived from the file where it can be."""
    clock: CameraClock
    """The camera's clock, for times that are derived."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)

    def look(self) -> Look:
        """Read the file's header and hash all of it.

        Raises:
            InvalidInputError: its path or camera cannot be stored.
            As `media.sandbox.client.probe` and `content_hash`.
        """
        path = check_path(canonical_path(self.path))
        check_text(self.camera)
        state = check_file(self.path)
        recorded = recorded_at(
            self.path, given=self.recorded_at, created_at=lambda: probe(self.path).created_at, clock=self.clock
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
        clock = Clock()
        with clock.stage("hash"):
            content = content_hash(self.path)
        return Look(content, sighting, clock)


@dataclass(frozen=True)
class Look:
    """What a first look at a file tells: its SHA-256, where and when it was seen, and how long that took."""

    content: str
    sighting: Sighting
    clock: Clock

    @property
    def video_id(self) -> str:
        """The key of its content."""
        return self.content[:32]


class Begun:
    """A file of which all is known that an index stores; others are kept from it until it is stored or dropped.

    Args:
        path: the file.
        write: stores it.
        kept: what keeps others from it.
        afterwards: removes what its path held before and adds that to the receipt; None where it held nothing.
    """

    def __init__(
        self,
        path: Path,
        write: Callable[[], VideoReceipt],
        kept: ExitStack,
        afterwards: Callable[[VideoReceipt], VideoReceipt] | None,
    ) -> None:
        self.path = path
        self._write, self._kept, self._afterwards = write, kept, afterwards

    @property
    def concerns_others(self) -> bool:
        """Another video may have to go: nothing else must be looked at meanwhile."""
        return self._afterwards is not None

    def store(self) -> VideoReceipt:
        """Store it, in any thread; raises as `VideoGeneration.write`."""
        with self._kept:
            receipt = self._write()
        return self._afterwards(receipt) if self._afterwards else receipt

    def drop(self) -> None:
        """Let others in, and leave nothing behind."""
        self._kept.close()


def begin(index: VideoIndex, footage: Footage, look: Look, embed: Callable[[], Embedded]) -> Begun:
    """Prepare a file for storing; `embed` is called only where its content is not in the index already.

    From the end of embedding on Ctrl-C is held back; the caller lets it through.

    Raises:
        ChangedMediaError: the file was changed since the look.
        As `embed`.
    """
    path, video_id = look.sighting.path, look.video_id
    with ExitStack() as keeping:
        keeping.enter_context(index.lock(video_id))
        with held_back():
            known = index.entry(video_id)
            path_was_known = bool(index.find_by_path(path))
        if known and is_done(known, settings_fingerprint(index.suite)):
            write = partial(_seen_again, index, known, look.sighting)
        else:
            with look.clock.stage("embed"):
                embedded = embed()
            _check_unchanged(footage.path, look)
            write = partial(store, index, footage.path, _new(footage, look), look.clock, embedded)
        hold_back()
        afterwards = partial(_remove_replaced, index, video_id, path) if path_was_known else None
        return Begun(footage.path, write, keeping.pop_all(), afterwards)


def _check_unchanged(path: Path, look: Look) -> None:
    """Raise unless the file is what it was at the look: vectors of other footage must not be stored under its hash."""
    state = check_file(path)
    times = (state.st_mtime_ns // 1_000_000, state.st_ctime_ns // 1_000_000)
    if (state.st_size, *times) == (look.sighting.size, look.sighting.modified_ms, look.sighting.changed_ms):
        return
    if state.st_size != look.sighting.size or content_hash(path) != look.content:
        raise ChangedMediaError(
            f"{path} changed while it was indexed",
            why="something still writes to it",
            fix="index it again once it is complete; `var-plugin watch` waits for that by itself",
        )


def _stored_time(at: datetime | None) -> int:
    """Return the time as it is stored; the millisecond that means an unknown time is stored as the next one."""
    return UNKNOWN_TIME if at is None else to_epoch_ms(at) + (to_epoch_ms(at) == UNKNOWN_TIME)


def check_path(path: str) -> str:
    """Return a path if it can be stored.

    Raises:
        InvalidInputError: a name in it is not UTF-8, has control characters, or the path is too long.
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


def _new(footage: Footage, look: Look) -> Entry:
    return Entry(
        video_id=look.video_id,
        state="pending",
        content=look.content,
        sightings=(look.sighting,),
        duration=0.0,
        metadata=dict(footage.metadata),
        settings="",
        rows={},
        added_at=to_epoch_ms(datetime.now(UTC)),
    )


def is_done(entry: Entry, how: str) -> bool:
    """Tell whether a video need not be stored again by these settings, told by their fingerprint."""
    return entry.state == "committed" and entry.settings == how


def _seen_again(index: VideoIndex, known: Entry, sighting: Sighting) -> VideoReceipt:
    """Remember a new path; the camera and clock time that the segments carry stay as they were first given."""
    last = known.sightings[-1]
    reason = "this content is in the index already"
    moved = last.model_copy(update=sighting.model_dump(include={"path", "size", "modified_ms", "changed_ms"}))
    if moved != last:
        others = tuple(seen for seen in known.sightings if seen.path != sighting.path)
        index.update(known.model_copy(update={"sightings": (*others, moved), "migrated": False}))
    if moved.path != last.path:
        reason += f"; it was last seen at {last.path}"
    if (sighting.camera, sighting.recorded_at) != (last.camera, last.recorded_at):
        reason += f" and stays with camera '{last.camera}' and its clock; delete it first to change them"
    return VideoReceipt(
        path=sighting.path,
        status="unchanged",
        video_id=known.video_id,
        duration=known.duration,
        content=known.content,
        recorded_at=known.video().recorded_at,
        clock=last.clock,
        planned=known.rows,
        embedded=dict.fromkeys(known.rows, 0),
        stored=dict.fromkeys(known.rows, 0),
        verified=index.count(known.video_id),
        reason=reason,
    )


def _remove_replaced(index: VideoIndex, video_id: str, path: str, receipt: VideoReceipt) -> VideoReceipt:
    """Forget that a path which now holds this video held another; delete what no other file holds, and say so."""
    removed, reasons = [], [receipt.reason] if receipt.reason else []
    for replaced in index.find_by_path(path):
        if replaced.video_id == video_id:
            continue
        elsewhere = tuple(seen for seen in replaced.sightings if seen.path != path and Path(seen.path).is_file())
        if elsewhere:
            index.update(replaced.model_copy(update={"sightings": elsewhere, "migrated": False}))
            other = elsewhere[-1].path
            reasons.append(f"video {replaced.video_id}, which lay there before, stays in the index as {other}")
        else:
            index.delete(replaced.video_id)
            removed.append(replaced.video_id)
            reasons.append(f"it replaces video {replaced.video_id}, which lay there before and left the index")
    return receipt.model_copy(update={"reason": "; ".join(reasons) or None, "replaced": tuple(removed)})


logger = logging.getLogger(__name__)

T = TypeVar("T")

Progress = Callable[[Path, float], None]
"""Called with the file at work and the time reached in it, in seconds."""


class RunProgress(ABC):
    """A `Progress` that also learns which files a run plans, and what becomes of each."""

    @abstractmethod
    def begin(self, files: Sequence[Path]) -> None:
        """Take in the files that are to be worked on; those known already count once."""

    @abstractmethod
    def __call__(self, file: Path, reached: float) -> None:
        """Take in the file at work and the time reached in it, in seconds."""

    @abstractmethod
    def end(self, file: Path, line: VideoReceipt) -> None:
        """Take in that a file is done, and its line of the receipt."""


def store(index: VideoGeneration, file: Path, entry: Entry, clock: Clock, embedded: Embedded) -> VideoReceipt:
    """Store what a file embeds to under `entry`, whose duration and settings are filled in here.

    Raises:
        As `VideoGeneration.write`.
    """
    rows, how = embedded.rows, settings_fingerprint(index.suite)
    with clock.stage("store"):
        counted = index.write(entry.model_copy(update={"duration": embedded.duration, "settings": how}), rows)
    planned = {name: len(segments) for name, (segments, _) in rows.items()}
    return VideoReceipt(
        path=str(file),
        status="stored",
        video_id=entry.video_id,
        duration=embedded.duration,
        content=entry.content,
        recorded_at=entry.video().recorded_at,
        clock=entry.sightings[-1].clock,
        planned=planned,
        embedded={name: len(vectors) for name, (_, vectors) in rows.items()},
        stored=planned,
        verified=counted,
        seconds=clock.seconds,
        reason=embedded.left_out,
    )


def store_again(index: VideoGeneration, entry: Entry, progress: Progress | None = None) -> VideoReceipt:
    """Embed a video anew from wherever its file still lies; what is known of it stays. A failure is in the receipt."""
    clock, named = Clock(), last_path(entry)
    try:
        with clock.stage("hash"):
            file = find_footage(entry, always_hash=True)
        with index.lock(entry.video_id):
            told = (lambda reached: progress(named, reached)) if progress else None
            with clock.stage("embed"):
                embedded = embed(file, index.suite, told)
            hold_back()  # until the line is returned: half a video is none
            return store(index, file, entry, clock, embedded)
    except Exception as error:  # as `attempt`
        return failure(named, error)
    finally:
        let_through()


def last_path(entry: Entry) -> Path:
    """Return where the footage of a video was seen last."""
    return Path(entry.sightings[-1].path)


def settings_fingerprint(suite: Suite) -> str:
    """Return a hash of all that decides how a video is cut and embedded."""
    used = settings().model_dump(
        include={"fps", "segment_seconds", "merge_threshold", "max_merged_seconds", "anomaly_threshold"}, mode="json"
    )
    return hashlib.sha256(f"{suite.fingerprint}|{sorted(used.items())}".encode()).hexdigest()[:16]


def attempt(path: Path, work: Callable[[], T]) -> T | VideoReceipt:
    """Do the work on one file; return its failed line instead where that raises anything but KeyboardInterrupt.

    Every engine runs its steps through this, so that no file ends a run.
    """
    try:
        return work()
    except Exception as error:
        return failure(path, error)


def failure(path: Path, error: Exception) -> VideoReceipt:
    """Return the line of a file that failed, with the reason; an error that was not foreseen is logged as well."""
    if not isinstance(error, VarPluginError):
        if isinstance(error, OSError):
            error = UnreadableMediaError(
                f"{path} could not be processed",
                why=os_error_message(error),
                fix="check the disk and the rights to the file, then try again",
            )
        else:
            logger.debug("%s failed", path, exc_info=error)
            detail = str(error)
            error = VarPluginError("unexpected error", why=type(error).__name__ + (f": {detail}" if detail else ""))
    return VideoReceipt(path=str(path), status="failed", reason=str(error), exit_code=error.exit_code)


class Clock:
    """Time per stage, in seconds; a stage that comes again counts on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a `with` block."""
        started = time.perf_counter()
        yield
        self.count(name, time.perf_counter() - started)

    def count(self, name: str, seconds: float) -> None:
        """Add to a stage."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 3)


Tell = Callable[[int, VideoReceipt], None]
"""Called with the place of a file and its line."""


class Engine(Protocol):
    """Adds files to an index and says what became of each."""

    def add(
        self, index: VideoIndex, found: Iterable[Footage | VideoReceipt], progress: Progress | None, tell: Tell
    ) -> None:
        """Tell the line of each file when it is done, with its place in `found`; lines in there are passed on."""
        ...


class Here:
    """This process does it: one file after another, and each is stored while the next is looked at; an `Engine`."""

    def add(
        self, index: VideoIndex, found: Iterable[Footage | VideoReceipt], progress: Progress | None, tell: Tell
    ) -> None:
        """Tell the lines in order. Where Ctrl-C ends it, what is being stored is stored and told."""
        with _Storing(tell) as storing:
            for number, footage in enumerate(found):
                if isinstance(footage, Footage):
                    _add_file(index, number, footage, storing, progress)
                else:
                    storing.tell(number, footage)


def _add_file(index: VideoIndex, number: int, footage: Footage, storing: _Storing, progress: Progress | None) -> None:
    path = footage.path
    told = (lambda reached: progress(path, reached)) if progress else None
    storing.finish(path)
    begun = attempt(path, lambda: begin(index, footage, footage.look(), lambda: embed(path, index.suite, told)))
    if isinstance(begun, Begun):
        storing.store(number, begun)
    else:
        storing.tell(number, begun)


class _Storing:
    """Stores files in a thread, one at a time, and tells their lines in order."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._thread = ThreadPoolExecutor(1, "storing")
        self._waiting: tuple[int, Path, Future[VideoReceipt]] | None = None

    def finish(self, path: Path) -> None:
        """Be done with a path before it is looked at once more."""
        if self._waiting and self._waiting[1] == path.absolute():
            self._settle()

    def store(self, number: int, begun: Begun) -> None:
        """Store a file when the one before is, and go on meanwhile; from here on Ctrl-C interrupts again."""
        try:
            self._settle()
        except BaseException:
            begun.drop()
            raise
        if begun.concerns_others:
            self._tell(number, attempt(begun.path, begun.store))
        else:
            self._waiting = number, begun.path.absolute(), self._thread.submit(attempt, begun.path, begun.store)
        let_through()

    def tell(self, number: int, line: VideoReceipt) -> None:
        """Tell a line when the ones before are told."""
        self._settle()
        self._tell(number, line)

    def _settle(self) -> None:
        if self._waiting:
            number, _, line = self._waiting
            self._tell(number, line.result())
            self._waiting = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with held_back():
                self._settle()
        finally:  # interrupted nevertheless: what is being stored will be, so it is told
            self._thread.shutdown()
            self._settle()
