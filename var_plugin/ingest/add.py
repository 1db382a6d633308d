"""Adding videos to an index: each file is hashed, embedded, cut, stored and counted, and gets its line in the receipt.

A file that fails takes nothing else with it: its error goes into the receipt and the next one is tried.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from var_plugin.encoders.suite import Suite
from var_plugin.errors import VarPluginError
from var_plugin.index.catalogue import Entry, Sighting
from var_plugin.index.filters import UNKNOWN_TIME, check_metadata, check_text, milliseconds
from var_plugin.index.video_index import VideoIndex
from var_plugin.ingest.rows import Rows, embed
from var_plugin.media.files import content_hash, find_videos
from var_plugin.settings import settings
from var_plugin.types import Receipt, Scalar, VideoReceipt

Progress = Callable[[Path, float], None]
"""Called with the file at work and the time reached in it, in seconds."""


@dataclass(frozen=True)
class Origin:
    """What the caller knows about the footage."""

    camera: str | None = None
    """None: the folder inside the one named, else the file's name without its ending."""
    recorded_at: datetime | None = None
    """Clock time at the start of the file; None where unknown."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


def add(
    index: VideoIndex, paths: Sequence[str | Path], origin: Origin = Origin(), progress: Progress | None = None
) -> Receipt:
    """Add files, and all videos below folders, to an index.

    The same content is stored once: adding it again changes nothing but where it was seen last. When a path holds other
    content than at its last visit, the new content replaces the old.

    Raises:
        InvalidInputError: the camera's name, the clock time or the metadata cannot be stored. Everything that concerns
            a single file is in the receipt instead.
    """
    recorded_at = milliseconds(origin.recorded_at) if origin.recorded_at else UNKNOWN_TIME
    check_metadata(origin.metadata)
    if origin.camera is not None:
        check_text(origin.camera)
    receipts: list[VideoReceipt] = []
    for root in dict.fromkeys(map(Path, paths)):
        try:
            files = find_videos(root)
        except VarPluginError as error:
            receipts.append(_failure(root, error))
            continue
        for file in files:
            sighting = Sighting(
                path=str(file.absolute()),
                camera=origin.camera if origin.camera is not None else _camera(file, root),
                recorded_at=recorded_at,
            )
            try:
                receipts.append(_add_file(index, file, sighting, origin.metadata, progress))
            except VarPluginError as error:
                receipts.append(_failure(file, error))
    return Receipt(videos=tuple(receipts))


def _add_file(
    index: VideoIndex, file: Path, sighting: Sighting, metadata: Mapping[str, Scalar], progress: Progress | None
) -> VideoReceipt:
    check_text(sighting.path)
    check_text(sighting.camera)
    clock = _Clock()
    with clock.stage("hash"):
        content = content_hash(file)
    video_id = content[:32]
    how = _settings_fingerprint(index.suite)
    known = index.entry(video_id)
    if known and known.state == "committed" and known.settings == how:
        return _seen_again(index, known, sighting)
    with clock.stage("embed"):
        rows, duration = embed(file, index.suite, (lambda reached: progress(file, reached)) if progress else None)
    entry = Entry(
        video_id=video_id,
        state="pending",
        content=content,
        sightings=(sighting,),
        duration=duration,
        metadata=dict(metadata),
        settings=how,
        rows={},
        added_at=milliseconds(datetime.now(UTC)),
    )
    with clock.stage("store"):
        counted = index.write(entry, rows)
        _remove_replaced(index, entry)
    planned = _counts(rows)
    return VideoReceipt(
        path=str(file),
        status="stored",
        video_id=video_id,
        duration=duration,
        planned=planned,
        stored=planned,
        verified=counted,
        seconds=clock.seconds,
    )


def _seen_again(index: VideoIndex, known: Entry, sighting: Sighting) -> VideoReceipt:
    """Remember a new path; the camera and clock time that the segments carry stay as they were first given."""
    first = known.sightings[-1]
    reason = "this content is in the index already"
    if sighting.path != first.path:
        moved = sighting.model_copy(update={"camera": first.camera, "recorded_at": first.recorded_at})
        index.update(known.model_copy(update={"sightings": (*known.sightings, moved)}))
        reason += f"; it was last seen at {first.path}"
    if (sighting.camera, sighting.recorded_at) != (first.camera, first.recorded_at):
        reason += f" and stays with camera '{first.camera}' and its clock; delete it first to change them"
    return VideoReceipt(
        path=sighting.path,
        status="unchanged",
        video_id=known.video_id,
        duration=known.duration,
        planned=known.rows,
        stored=dict.fromkeys(known.rows, 0),
        verified=index.count(known.video_id),
        reason=reason,
    )


def _remove_replaced(index: VideoIndex, entry: Entry) -> None:
    """Delete what was seen last at a path that now holds other content."""
    for replaced in index.seen_at(entry.sightings[-1].path):
        if replaced.video_id != entry.video_id:
            index.delete(replaced.video_id)


def _settings_fingerprint(suite: Suite) -> str:
    used = settings().model_dump(
        include={"clip_rate", "segment_seconds", "static_similarity", "static_seconds"}, mode="json"
    )
    return hashlib.sha256(f"{suite.fingerprint}|{sorted(used.items())}".encode()).hexdigest()[:16]


def _camera(file: Path, root: Path) -> str:
    """north/2026-11-01.mp4 below a folder is camera `north`; north.mp4 is `north` as well."""
    inside = file.relative_to(root).parts if file != root else ()
    return inside[0] if len(inside) > 1 else file.stem


def _counts(rows: Rows) -> dict[str, int]:
    return {name: len(segments) for name, (segments, _) in rows.items()}


def _failure(path: Path, error: VarPluginError) -> VideoReceipt:
    return VideoReceipt(path=str(path), status="failed", reason=str(error), exit_code=error.exit_code)


class _Clock:
    """Wall time per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 3)
