"""Add videos to an index. Each file is hashed, segmented, embedded, stored and counted, and gets a receipt.

A failed file does not affect the others. Its error is in its receipt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from var_plugin.config import CameraClock, IndexOptions
from var_plugin.errors import InvalidInputError, UnknownVideoError, VarPluginError
from var_plugin.index.filters import check_metadata, check_text
from var_plugin.index.index import VideoIndex
from var_plugin.ingest.pipeline import Engine, LocalEngine, Progress, RunProgress, VideoSource, failure
from var_plugin.ingest.reindex import finish_reindex
from var_plugin.ingest.timestamps import camera_clock, check_known
from var_plugin.media.files import canonical_path, scan_videos
from var_plugin.types import Receipt, Scalar, VideoReceipt

__all__ = ["Progress", "SourceInfo", "add"]


@dataclass(frozen=True)
class SourceInfo:
    """What the caller states about the footage."""

    camera: str | None = None
    """None: the name of the subfolder below the given folder, or the file name without its extension."""
    recorded_at: datetime | None = None
    """Clock time at the start of the one file. None: derive it from the file if possible."""
    clock: CameraClock | None = None
    """The camera's clock, for derived times. None: the one that the options of the index give for the camera."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


def add(
    index: VideoIndex,
    paths: Sequence[str | Path],
    info: SourceInfo = SourceInfo(),
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> Receipt:
    """Add files, and all videos below folders, to an index.

    The same content is stored once. Adding it again only updates its latest path. If a path holds other content than
    before, the new content replaces the old. After Ctrl-C (KeyboardInterrupt) the current video is discarded, or stored
    completely if its write had started. The receipt of the finished files is returned, marked as interrupted.

    Args:
        index: The index.
        paths: Files and folders.
        info: Camera, clock time and metadata of the footage.
        progress: Called while files are processed.
        engine: Processes the files. Default: `LocalEngine`.

    Raises:
        InvalidInputError: The camera name, the clock time or the metadata cannot be stored, or one clock time is given
            for several files. Errors of a single file are in the receipt instead.
        StoreError: The store failed before the first file.
        EngineError: The engine cannot be used.
    """
    if info.recorded_at:
        check_known(info.recorded_at)
    check_metadata(info.metadata)
    if info.camera is not None:
        check_text(info.camera)
    receipts: list[VideoReceipt] = []
    results: dict[int, VideoReceipt] = {}
    skipped: Counter[str] = Counter()
    interrupted = False
    try:
        plan = _plan(paths, info, index.options, skipped)
        files = {number: item.path for number, item in enumerate(plan) if isinstance(item, VideoSource)}
        check_one_time(info.recorded_at, list(files.values()))
        receipts.extend(receipt for receipt in finish_reindex(index, progress) if receipt.status == "failed")
        _finish_deletions(index)
        if isinstance(progress, RunProgress):
            progress.begin(list(files.values()))

        def on_result(number: int, receipt: VideoReceipt) -> None:
            results[number] = receipt
            if isinstance(progress, RunProgress) and number in files:
                progress.end(files[number], receipt)

        (engine or LocalEngine()).add(index, plan, progress, on_result)
    except KeyboardInterrupt:
        interrupted = True
    receipts.extend(receipt for _, receipt in sorted(results.items(), key=lambda item: item[0]))
    return Receipt(videos=tuple(receipts), skipped=dict(skipped), interrupted=interrupted)


def check_one_time(recorded_at: datetime | None, files: Sequence[Path]) -> None:
    """Raise InvalidInputError if one recording time is given for several files."""
    if recorded_at is not None and len(files) > 1:
        raise InvalidInputError(
            f"one recording time is given for several files ({len(files)}): {files[0].name}, {files[1].name}"
            + (", …" if len(files) > 2 else ""),
            why="they do not all begin at the same time",
            fix="omit it if file names or headers hold the time, give each file a sidecar NAME.mp4.json, or index the "
            "files one by one",
        )


def camera_name(file: Path, root: Path) -> str:
    """Return the camera name of a file: `north` for north/2026-11-01.mp4 below the root, and for north.mp4."""
    inside = file.relative_to(root).parts if file != root else ()
    return inside[0] if len(inside) > 1 else file.stem


def _finish_deletions(index: VideoIndex) -> None:
    """Finish deletions that an earlier run left incomplete."""
    for entry in index.all_entries():
        if entry.state == "deleting":
            with suppress(UnknownVideoError):  # the other run is still active and finished it
                index.delete(entry.video_id)


def _plan(
    paths: Sequence[str | Path], info: SourceInfo, options: IndexOptions, skipped: Counter[str]
) -> list[VideoSource | VideoReceipt]:
    """Return each file once, in order, and a failed receipt for each path that cannot be scanned."""
    plan: list[VideoSource | VideoReceipt] = []
    roots: set[str] = set()
    planned: set[str] = set()
    for root in map(Path, paths):
        try:
            canonical_root = canonical_path(root)
            if canonical_root in roots:
                continue
            roots.add(canonical_root)
            # A link to a file keeps its own name, which may hold the time and have a sidecar.
            is_folder = Path(canonical_root).is_dir()
            start = Path(canonical_root) if is_folder else Path(canonical_path(root.parent), root.name)
            scan = scan_videos(start)
        except VarPluginError as error:
            plan.append(failure(root, error))
            continue
        skipped.update(scan.skipped)
        plan.extend(failure(path, problem) for path, problem in scan.problems)
        for file in scan.videos:
            try:
                canonical_file = canonical_path(file)
            except VarPluginError as error:  # it was deleted since the scan
                plan.append(failure(file, error))
                continue
            if canonical_file in planned:
                continue
            planned.add(canonical_file)
            camera = info.camera if info.camera is not None else camera_name(file, start)
            clock = info.clock or camera_clock(options, camera)
            plan.append(VideoSource(file, camera, info.recorded_at, clock, info.metadata))
    return plan
