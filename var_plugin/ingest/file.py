"""What becomes of one file of footage in an index: recognised or stored; what its path held before is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from var_plugin.errors import ChangedMediaError, InvalidInputError
from var_plugin.index.catalogue import Entry, Sighting
from var_plugin.index.filters import UNKNOWN_TIME, check_text, milliseconds
from var_plugin.index.video_index import VideoIndex
from var_plugin.ingest.clock import recorded_at
from var_plugin.ingest.interruption import held_back, hold_back
from var_plugin.ingest.rows import Embedded
from var_plugin.ingest.video import Clock, settings_fingerprint, store
from var_plugin.media.files import canonical, check_file, content_hash
from var_plugin.media.guard import probe
from var_plugin.settings import CameraClock
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
            As `media.guard.probe` and `content_hash`.
        """
        path = check_path(canonical(self.path))
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
        keeping.enter_context(index.exclusive(video_id))
        with held_back():
            known = index.entry(video_id)
            path_was_known = bool(index.seen_at(path))
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
    return UNKNOWN_TIME if at is None else milliseconds(at) + (milliseconds(at) == UNKNOWN_TIME)


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
        added_at=milliseconds(datetime.now(UTC)),
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
        index.update(known.model_copy(update={"sightings": (*others, moved), "brought": False}))
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
    for replaced in index.seen_at(path):
        if replaced.video_id == video_id:
            continue
        elsewhere = tuple(seen for seen in replaced.sightings if seen.path != path and Path(seen.path).is_file())
        if elsewhere:
            index.update(replaced.model_copy(update={"sightings": elsewhere, "brought": False}))
            other = elsewhere[-1].path
            reasons.append(f"video {replaced.video_id}, which lay there before, stays in the index as {other}")
        else:
            index.delete(replaced.video_id)
            removed.append(replaced.video_id)
            reasons.append(f"it replaces video {replaced.video_id}, which lay there before and left the index")
    return receipt.model_copy(update={"reason": "; ".join(reasons) or None, "replaced": tuple(removed)})
