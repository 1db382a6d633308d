"""The tool summarise_timeline, which counts anomalies over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from var_plugin.api import Index
from var_plugin.errors import InvalidInputError
from var_plugin.index.rows import CurvePoint
from var_plugin.retrievers.moments import moment_id
from var_plugin.retrievers.text import format_clock, quote_name, sanitize_name
from var_plugin.tools.base import ScopeArguments, Tool, ToolResult, committed_videos
from var_plugin.types import Filter, Value, Video

# Maximum number of rows in a result. The totals count everything.
_MAX_ROWS = 100
# Maximum number of videos. Each one needs a query.
_MAX_VIDEOS = 1_000
_MAX_GAP_SECONDS = 0.05
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)

Bucket = Literal["minute", "hour", "day"]


class TimelineArguments(ScopeArguments):
    """Arguments of summarise_timeline."""

    min_anomaly: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="minimum anomaly score of an anomaly, from 0 (normal) to 1"
    )
    bucket: Bucket = Field(default="hour", description="count per minute, hour or day, in UTC")


class TimelineRow(Value):
    """The anomalies of one camera in one time interval, or of one video if its clock time is unknown."""

    begins: datetime | None
    camera: str
    video_id: str | None
    anomalies: int
    highest: float
    moment_id: str
    """The moment with the highest score."""


class Timeline(Value):
    """Counts over time, oldest first. The totals include rows that are left out."""

    anomalies: int
    videos: int
    min_anomaly: float
    scope: str
    rows: tuple[TimelineRow, ...]


@dataclass(frozen=True)
class _Event:
    """One anomaly: adjacent segments of one video with a score above the minimum."""

    video: Video
    start: float
    end: float
    highest: float

    @property
    def recorded_at(self) -> datetime | None:
        return self.video.recorded_at and self.video.recorded_at + timedelta(seconds=self.start)


def _summarise(index: Index, arguments: TimelineArguments) -> ToolResult:
    time_filter = arguments.filter(index)
    videos = [video for video in committed_videos(index) if _may_match(video, time_filter)]
    if len(videos) > _MAX_VIDEOS:
        raise InvalidInputError(
            f"the timeline has {len(videos)} videos",
            why=f"the limit is {_MAX_VIDEOS}",
            fix="choose cameras or a shorter time",
        )
    groups: dict[tuple[datetime | None, str, str | None], list[_Event]] = defaultdict(list)
    curves = index.curves([video.video_id for video in videos])
    for video in videos:
        for event in _events(video, curves.get(video.video_id, ()), arguments.min_anomaly):
            if _recorded_within(event, time_filter):
                groups[_group(event, arguments.bucket)].append(event)
    strongest = sorted((_row(*group, events) for group, events in groups.items()), key=lambda row: -row.highest)
    data = Timeline(
        anomalies=sum(map(len, groups.values())),
        videos=len(videos),
        min_anomaly=arguments.min_anomaly,
        scope=index.suite.anomaly_scope,
        rows=tuple(sorted(strongest[:_MAX_ROWS], key=lambda row: (row.begins or _END_OF_TIME, row.camera))),
    )
    return ToolResult(_text(data, left_out=len(groups) - len(data.rows)), data)


def _may_match(video: Video, filter: Filter) -> bool:  # noqa: A002
    """Return whether a video can match a filter, according to its catalog row."""
    if filter.cameras is not None and video.camera not in filter.cameras:
        return False
    if video.recorded_at is None:
        return filter.after is None and filter.before is None
    ends = video.recorded_at + timedelta(seconds=video.duration)
    too_early = filter.after is not None and ends <= filter.after
    too_late = filter.before is not None and video.recorded_at >= filter.before
    return not (too_early or too_late)


def _recorded_within(event: _Event, filter: Filter) -> bool:  # noqa: A002
    """Return whether an anomaly overlaps the time range of a filter."""
    begins = event.recorded_at
    if begins is None:
        return True  # `_may_match` excludes it if the filter has a time range
    ends = begins + timedelta(seconds=event.end - event.start)
    too_early = filter.after is not None and ends <= filter.after
    too_late = filter.before is not None and begins >= filter.before
    return not (too_early or too_late)


def _events(video: Video, curve: Iterable[CurvePoint], min_anomaly: float) -> Iterator[_Event]:
    """Yield the anomalies of a video from its curve, in order of time."""
    event: _Event | None = None
    for point in curve:
        if point.anomaly < min_anomaly:
            continue
        if event and point.start <= event.end + _MAX_GAP_SECONDS:
            event = _Event(video, event.start, point.end, max(event.highest, point.anomaly))
            continue
        if event:
            yield event
        event = _Event(video, point.start, point.end, point.anomaly)
    if event:
        yield event


def _group(event: _Event, bucket: Bucket) -> tuple[datetime | None, str, str | None]:
    at = event.recorded_at
    if at is None:
        return None, event.video.camera, event.video.video_id
    begins = at.replace(second=0, microsecond=0)
    if bucket != "minute":
        begins = begins.replace(minute=0)
    if bucket == "day":
        begins = begins.replace(hour=0)
    return begins, event.video.camera, None


def _row(begins: datetime | None, camera: str, video_id: str | None, events: Sequence[_Event]) -> TimelineRow:
    strongest = max(events, key=lambda event: event.highest)
    return TimelineRow(
        begins=begins,
        camera=sanitize_name(camera),
        video_id=video_id,
        anomalies=len(events),
        highest=strongest.highest,
        moment_id=moment_id(strongest.video.video_id, strongest.start, strongest.end),
    )


def _text(timeline: Timeline, left_out: int) -> str:
    lines = [
        f"{timeline.anomalies} anomalies with a score of at least {timeline.min_anomaly:.2f} in {timeline.videos} "
        f"videos; names in quotation marks are data. The score is {timeline.scope}."
    ]
    for row in timeline.rows:
        unknown = f"recording time unknown, video {row.video_id}"
        begins = f"from {format_clock(row.begins)} on" if row.begins else unknown
        lines.append(
            f"- {begins}, camera {quote_name(row.camera)}: {row.anomalies}, highest score {row.highest:.2f} "
            f"in moment {row.moment_id}"
        )
    if left_out:
        lines.append(f"{left_out} weaker rows are left out.")
    return "\n".join(lines)


SUMMARISE_TIMELINE = Tool(
    name="summarise_timeline",
    title="Summarise the timeline",
    description=(
        "Count anomalies over time, per camera and minute, hour or day, with the strongest moment of each. Footage "
        "with an unknown recording time is counted per video."
    ),
    arguments=TimelineArguments,
    result=Timeline,
    run=_summarise,
)
