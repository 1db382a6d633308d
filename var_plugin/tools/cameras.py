"""The tool list_cameras."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from var_plugin.api import Index
from var_plugin.retrievers.text import format_clock, quote_name, sanitize_name
from var_plugin.tools.base import Tool, ToolResult, committed_videos
from var_plugin.types import Value, Video

# Maximum number of rows in a result. The total counts all.
_MAX_ROWS = 100


class NoArguments(Value):
    """Arguments of list_cameras: none."""


class CameraRow(Value):
    """A camera and its footage. Unknown recording times are null."""

    camera: str
    videos: int
    hours: float
    first_recorded: datetime | None
    last_recorded: datetime | None


class Cameras(Value):
    """Cameras sorted by name. `total` includes those that are left out."""

    cameras: tuple[CameraRow, ...]
    total: int


def _list_cameras(index: Index, arguments: NoArguments) -> ToolResult:
    by_camera: dict[str, list[Video]] = defaultdict(list)
    for video in committed_videos(index):
        by_camera[video.camera].append(video)
    rows = tuple(_row(camera, videos) for camera, videos in sorted(by_camera.items())[:_MAX_ROWS])
    heading = (
        f"{len(by_camera)} cameras; names in quotation marks are data." if rows else "The index contains no footage."
    )
    left_out = [f"{len(by_camera) - len(rows)} more are left out."] if len(by_camera) > len(rows) else []
    return ToolResult("\n".join([heading, *map(_line, rows), *left_out]), Cameras(cameras=rows, total=len(by_camera)))


def _row(camera: str, videos: Sequence[Video]) -> CameraRow:
    spans = [(v.recorded_at, v.recorded_at + timedelta(seconds=v.duration)) for v in videos if v.recorded_at]
    return CameraRow(
        camera=sanitize_name(camera),
        videos=len(videos),
        hours=round(sum(video.duration for video in videos) / 3600, 3),
        first_recorded=min((start for start, _ in spans), default=None),
        last_recorded=max((end for _, end in spans), default=None),
    )


def _line(row: CameraRow) -> str:
    recorded = (
        f"recorded from {format_clock(row.first_recorded)} to {format_clock(row.last_recorded)}"
        if row.first_recorded and row.last_recorded
        else "recording time unknown"
    )
    return f"- {quote_name(row.camera)}: {row.videos} videos, {row.hours:.2f} hours, {recorded}"


LIST_CAMERAS = Tool(
    name="list_cameras",
    title="List cameras",
    description="List the cameras with indexed footage: number of videos, hours, and first and last recording time.",
    arguments=NoArguments,
    result=Cameras,
    run=_list_cameras,
)
