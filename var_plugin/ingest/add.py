"""Adding videos to an index: each file is hashed, embedded, cut, stored and counted, and gets its line in the receipt.

A file that fails takes nothing else with it: its error goes into the receipt and the next one is tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from var_plugin.config import CameraClock, settings
from var_plugin.errors import InvalidInputError, UnknownVideoError, VarPluginError
from var_plugin.index.filters import check_metadata, check_text
from var_plugin.index.index import VideoIndex
from var_plugin.ingest.pipeline import Engine, Footage, Here, Progress, RunProgress, failure
from var_plugin.ingest.reindex import finish_reindex
from var_plugin.ingest.signals import let_through
from var_plugin.ingest.timestamps import check_known
from var_plugin.media.files import canonical_path, scan_videos
from var_plugin.types import Receipt, Scalar, VideoReceipt

__all__ = ["Origin", "Progress", "add"]


@dataclass(frozen=True)
class Origin:
    """What the caller knows about the footage."""

    camera: str | None = None
    """None: the folder inside the one named, else the file's name without its ending."""
    recorded_at: datetime | None = None
    """Clock time at the start of the one file; None: derived from the file where it can be."""
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
        InvalidInputError: the camera's name, the clock time or the metadata cannot be stored, or one clock time is
            given for several files. Everything that concerns a single file is in the receipt instead.
        StoreError: the store failed before the first file.
        As the engine.
    """
    if origin.recorded_at:
        check_known(origin.recorded_at)
    check_metadata(origin.metadata)
    if origin.camera is not None:
        check_text(origin.camera)
    lines: list[VideoReceipt] = []
    done: dict[int, VideoReceipt] = {}
    passed_over: Counter[str] = Counter()
    interrupted = False
    try:
        plan = _plan(paths, origin, passed_over)
        files = {number: item.path for number, item in enumerate(plan) if isinstance(item, Footage)}
        check_one_time(origin.recorded_at, list(files.values()))
        lines.extend(line for line in finish_reindex(index, progress) if line.status == "failed")
        _finish_deletions(index)
        if isinstance(progress, RunProgress):
            progress.begin(list(files.values()))

        def tell(number: int, line: VideoReceipt) -> None:
            done[number] = line
            if isinstance(progress, RunProgress) and number in files:
                progress.end(files[number], line)

        try:
            (engine or Here()).add(index, plan, progress, tell)
        finally:
            let_through()
    except KeyboardInterrupt:
        interrupted = True
    lines.extend(line for _, line in sorted(done.items(), key=lambda item: item[0]))
    return Receipt(videos=tuple(lines), passed_over=dict(passed_over), interrupted=interrupted)


def _finish_deletions(index: VideoIndex) -> None:
    """End what an interrupted run began."""
    for entry in index.all_entries():
        if entry.state == "deleting":
            with suppress(UnknownVideoError):  # a run that was not interrupted after all has ended it
                index.delete(entry.video_id)


def _plan(paths: Sequence[str | Path], origin: Origin, passed_over: Counter[str]) -> list[Footage | VideoReceipt]:
    """Return the files in order, and a failed line for whatever cannot be looked at; each file once."""
    plan: list[Footage | VideoReceipt] = []
    places: set[str] = set()
    planned: set[str] = set()
    for root in map(Path, paths):
        try:
            place = canonical_path(root)
            if place in places:
                continue
            places.add(place)
            # Of a link to a file the name counts: it may hold the time, and have a sidecar.
            start = Path(place) if Path(place).is_dir() else Path(canonical_path(root.parent), root.name)
            scan = scan_videos(start)
        except VarPluginError as error:
            plan.append(failure(root, error))
            continue
        passed_over.update(scan.passed_over)
        plan.extend(failure(path, problem) for path, problem in scan.problems)
        for file in scan.videos:
            try:
                own_place = canonical_path(file)
            except VarPluginError as error:  # deleted meanwhile
                plan.append(failure(file, error))
                continue
            if own_place in planned:
                continue
            planned.add(own_place)
            camera = origin.camera if origin.camera is not None else camera_name(file, start)
            clock = origin.clock or settings().clock(camera)
            plan.append(Footage(file, camera, origin.recorded_at, clock, origin.metadata))
    return plan


def check_one_time(recorded_at: datetime | None, files: Sequence[Path]) -> None:
    """Raise InvalidInputError where one clock time is given for several files: it cannot be that of all of them."""
    if recorded_at is not None and len(files) > 1:
        raise InvalidInputError(
            f"one clock time is given for several files ({len(files)}): {files[0].name}, {files[1].name}"
            + (", …" if len(files) > 2 else ""),
            why="they do not all begin at the same time",
            fix="leave it out where names or headers hold the time, give a sidecar NAME.mp4.json to each file, or "
            "index the files one by one",
        )


def camera_name(file: Path, root: Path) -> str:
    """Return the camera's name: `north` for north/2026-11-01.mp4 below the folder, and for north.mp4."""
    inside = file.relative_to(root).parts if file != root else ()
    return inside[0] if len(inside) > 1 else file.stem
