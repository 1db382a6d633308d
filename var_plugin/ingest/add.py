"""Adding videos to an index: each file is hashed, embedded, cut, stored and counted, and gets its line in the receipt.

A file that fails takes nothing else with it: its error goes into the receipt and the next one is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from var_plugin.errors import UnknownVideoError, VarPluginError
from var_plugin.index.filters import check_metadata, check_text, milliseconds
from var_plugin.index.video_index import VideoIndex
from var_plugin.ingest.engines import Engine, Here
from var_plugin.ingest.file import Footage
from var_plugin.ingest.interruption import let_through
from var_plugin.ingest.reindex import finish_reindex
from var_plugin.ingest.video import Progress, failure
from var_plugin.media.files import find_videos
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
    index: VideoIndex,
    paths: Sequence[str | Path],
    origin: Origin = Origin(),
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> Receipt:
    """Add files, and all videos below folders, to an index.

    The same content is stored once: adding it again changes nothing but where it was seen last. When a path holds other
    content than at its last visit, the new content replaces the old. Ctrl-C (KeyboardInterrupt) ends it: the video at
    work leaves nothing behind, or is stored as a whole if it was being written, and the receipt of the others is
    returned, marked as interrupted.

    Raises:
        InvalidInputError: the camera's name, the clock time or the metadata cannot be stored. Everything that concerns
            a single file is in the receipt instead.
        As the engine.
    """
    if origin.recorded_at:
        milliseconds(origin.recorded_at)
    check_metadata(origin.metadata)
    if origin.camera is not None:
        check_text(origin.camera)
    lines: list[VideoReceipt] = []
    done: dict[int, VideoReceipt] = {}
    interrupted = False
    try:
        lines.extend(line for line in finish_reindex(index, progress) if line.status == "failed")
        _finish_deletions(index)
        try:
            (engine or Here()).add(index, _found(paths, origin), progress, done.__setitem__)
        finally:
            let_through()
    except KeyboardInterrupt:
        interrupted = True
    lines.extend(line for _, line in sorted(done.items(), key=lambda item: item[0]))
    return Receipt(videos=tuple(lines), interrupted=interrupted)


def _finish_deletions(index: VideoIndex) -> None:
    """End what an interrupted run began."""
    for entry in index.all_entries():
        if entry.state == "deleting":
            with suppress(UnknownVideoError):  # a run that was not interrupted after all has ended it
                index.delete(entry.video_id)


def _found(paths: Sequence[str | Path], origin: Origin) -> Iterator[Footage | VideoReceipt]:
    """Yield the files in order, and a failed line for what holds none."""
    for root in dict.fromkeys(map(Path, paths)):
        try:
            files = find_videos(root)
        except VarPluginError as error:
            yield failure(root, error)
            continue
        for file in files:
            camera = origin.camera if origin.camera is not None else camera_name(file, root)
            clock = origin.clock or settings().clock(camera)
            yield Footage(file, camera, origin.recorded_at, clock, origin.metadata)


def camera_name(file: Path, root: Path) -> str:
    """north/2026-11-01.mp4 below a folder is camera `north`; north.mp4 is `north` as well."""
    inside = file.relative_to(root).parts if file != root else ()
    return inside[0] if len(inside) > 1 else file.stem
