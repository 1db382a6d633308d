"""Adding videos to an index: each file is hashed, embedded, cut, stored and counted, and gets its line in the receipt.

A file that fails takes nothing else with it: its error goes into the receipt and the next one is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from var_plugin.errors import UnknownVideoError, VarPluginError
from var_plugin.index.catalogue import Entry, Sighting
from var_plugin.index.filters import UNKNOWN_TIME, check_metadata, check_text, milliseconds
from var_plugin.index.video_index import VideoIndex
from var_plugin.ingest.clock import recorded_at
from var_plugin.ingest.reindex import finish_reindex
from var_plugin.ingest.video import Clock, Progress, failure, settings_fingerprint, store
from var_plugin.media.files import content_hash, find_videos
from var_plugin.media.guard import probe
from var_plugin.settings import CameraClock, settings
from var_plugin.types import Receipt, Scalar, VideoReceipt

__all__ = ["Origin", "Progress", "add"]


@dataclass(frozen=True)
class Origin:
    """What the caller knows about the footage."""

    camera: str | None = None
    """None: the folder inside the one named, else the file's name without its ending."""
    recorded_at: datetime | None = None
    """Clock time at the start of the file; None: derived from the file where it can be."""
    clock: CameraClock | None = None
    """The camera's clock, for times that are derived; None: what the settings say of the camera."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


def add(
    index: VideoIndex, paths: Sequence[str | Path], origin: Origin = Origin(), progress: Progress | None = None
) -> Receipt:
    """Add files, and all videos below folders, to an index.

    The same content is stored once: adding it again changes nothing but where it was seen last. When a path holds other
    content than at its last visit, the new content replaces the old. Ctrl-C (KeyboardInterrupt) ends it: the video at
    work leaves nothing behind, and the receipt of the others is returned, marked as interrupted.

    Raises:
        InvalidInputError: the camera's name, the clock time or the metadata cannot be stored. Everything that concerns
            a single file is in the receipt instead.
    """
    if origin.recorded_at:
        milliseconds(origin.recorded_at)
    check_metadata(origin.metadata)
    if origin.camera is not None:
        check_text(origin.camera)
    lines: list[VideoReceipt] = []
    try:
        lines.extend(line for line in finish_reindex(index, progress) if line.status == "failed")
        _finish_deletions(index)
        for root in dict.fromkeys(map(Path, paths)):
            for line in _add_root(index, root, origin, progress):
                lines.append(line)  # noqa: PERF402  (an interruption must not lose the lines before it)
    except KeyboardInterrupt:
        return Receipt(videos=tuple(lines), interrupted=True)
    return Receipt(videos=tuple(lines))


def _finish_deletions(index: VideoIndex) -> None:
    """End what an interrupted run began."""
    for entry in index.all_entries():
        if entry.state == "deleting":
            with suppress(UnknownVideoError):  # a run that was not interrupted after all has ended it
                index.delete(entry.video_id)


def _add_root(index: VideoIndex, root: Path, origin: Origin, progress: Progress | None) -> Iterator[VideoReceipt]:
    try:
        files = find_videos(root)
    except VarPluginError as error:
        yield failure(root, error)
        return
    for file in files:
        camera = origin.camera if origin.camera is not None else camera_name(file, root)
        try:
            yield _add_file(index, file, _sighting(file, camera, origin), origin.metadata, progress)
        except VarPluginError as error:
            yield failure(file, error)


def _sighting(file: Path, camera: str, origin: Origin) -> Sighting:
    recorded = recorded_at(
        file,
        given=origin.recorded_at,
        created_at=lambda: probe(file).created_at,
        clock=origin.clock or settings().clock(camera),
    )
    return Sighting(
        path=str(file.absolute()),
        camera=camera,
        recorded_at=milliseconds(recorded.at) if recorded.at else UNKNOWN_TIME,
        clock=recorded.origin,
    )


def _add_file(
    index: VideoIndex, file: Path, sighting: Sighting, metadata: Mapping[str, Scalar], progress: Progress | None
) -> VideoReceipt:
    check_text(sighting.path)
    check_text(sighting.camera)
    clock = Clock()
    with clock.stage("hash"):
        content = content_hash(file)
    video_id = content[:32]
    with index.exclusive(video_id):
        known = index.entry(video_id)
        if known and known.state == "committed" and known.settings == settings_fingerprint(index.suite):
            receipt = _seen_again(index, known, sighting)
        else:
            entry = Entry(
                video_id=video_id,
                state="pending",
                content=content,
                sightings=(sighting,),
                duration=0.0,
                metadata=dict(metadata),
                settings="",
                rows={},
                added_at=milliseconds(datetime.now(UTC)),
            )
            receipt = store(index, file, entry, clock, progress)
    _remove_replaced(index, video_id, sighting.path)
    return receipt


def _seen_again(index: VideoIndex, known: Entry, sighting: Sighting) -> VideoReceipt:
    """Remember a new path; the camera and clock time that the segments carry stay as they were first given."""
    last = known.sightings[-1]
    reason = "this content is in the index already"
    if sighting.path != last.path:
        others = tuple(seen for seen in known.sightings if seen.path != sighting.path)
        moved = last.model_copy(update={"path": sighting.path})
        index.update(known.model_copy(update={"sightings": (*others, moved), "brought": False}))
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


def _remove_replaced(index: VideoIndex, video_id: str, path: str) -> None:
    """Forget that a path which now holds this video held another; delete what no other file holds."""
    for replaced in index.seen_at(path):
        if replaced.video_id == video_id:
            continue
        elsewhere = tuple(seen for seen in replaced.sightings if seen.path != path and Path(seen.path).is_file())
        if elsewhere:
            index.update(replaced.model_copy(update={"sightings": elsewhere, "brought": False}))
        else:
            index.delete(replaced.video_id)


def camera_name(file: Path, root: Path) -> str:
    """north/2026-11-01.mp4 below a folder is camera `north`; north.mp4 is `north` as well."""
    inside = file.relative_to(root).parts if file != root else ()
    return inside[0] if len(inside) > 1 else file.stem
