"""The tool that counts anomalies over time: summarise_timeline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from var_plugin.errors import InvalidInputError
from var_plugin.index.index import Hit, VideoIndex
from var_plugin.retrievers.moments import moment_id
from var_plugin.retrievers.text import format_clock, quote_name, sanitize_name
from var_plugin.tools.base import Answer, Scope, Tool, committed_videos
from var_plugin.types import Filter, Value, Video

# A model reads no more lines than that; the totals count everything.
_MOST_ROWS = 100
# Each video is a query of its own.
_MOST_VIDEOS = 1_000
_TOUCHING_SECONDS = 0.05
_NEVER = datetime.max.replace(tzinfo=UTC)

Bucket = Literal["minute", "hour", "day"]


class TimelineArguments(Scope):
    """What summarise_timeline takes."""

    min_anomaly: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="what counts as an anomaly: a score from 0 (usual) to 1"
    )
    bucket: Bucket = Field(default="hour", description="count per minute, hour or day, in UTC")


class TimelineRow(Value):
    """The anomalies of one camera in one stretch of time, or of one video where no clock time is known."""

    begins: datetime | None
    camera: str
    video_id: str | None
    anomalies: int
    highest: float
    moment_id: str
    """The one with the highest score."""


class Timeline(Value):
    """Counts over time, oldest first; the totals count the rows left out as well."""

    anomalies: int
    videos: int
    min_anomaly: float
    scope: str
    rows: tuple[TimelineRow, ...]


@dataclass(frozen=True)
class _Event:
    """Neighbouring segments of one video that are all anomalous: one anomaly."""

    video: Video
    start: float
    end: float
    highest: float

    @property
    def recorded_at(self) -> datetime | None:
        return self.video.recorded_at and self.video.recorded_at + timedelta(seconds=self.start)


def _summarise(index: VideoIndex, asked: TimelineArguments) -> Answer:
    wanted = asked.filter(index)
    videos = [video for video in committed_videos(index) if _may_match(video, wanted)]
    if len(videos) > _MOST_VIDEOS:
        raise InvalidInputError(
            f"{len(videos)} videos at once", why=f"at most {_MOST_VIDEOS}", fix="name cameras or a shorter time"
        )
    groups: dict[tuple[datetime | None, str, str | None], list[_Event]] = defaultdict(list)
    for video in videos:
        for event in _events(video, index.segments(video.video_id), asked.min_anomaly):
            if _recorded_within(event, wanted):
                groups[_group(event, asked.bucket)].append(event)
    strongest = sorted((_row(*group, events) for group, events in groups.items()), key=lambda row: -row.highest)
    data = Timeline(
        anomalies=sum(map(len, groups.values())),
        videos=len(videos),
        min_anomaly=asked.min_anomaly,
        scope=index.suite.anomaly_scope,
        rows=tuple(sorted(strongest[:_MOST_ROWS], key=lambda row: (row.begins or _NEVER, row.camera))),
    )
    return Answer(_text(data, left_out=len(groups) - len(data.rows)), data)


def _may_match(video: Video, wanted: Filter) -> bool:
    """Tell whether any of the video can be what is wanted, by its catalog row alone."""
    if wanted.cameras is not None and video.camera not in wanted.cameras:
        return False
    if video.recorded_at is None:
        return wanted.after is None and wanted.before is None
    ends = video.recorded_at + timedelta(seconds=video.duration)
    too_early = wanted.after is not None and ends <= wanted.after
    too_late = wanted.before is not None and video.recorded_at >= wanted.before
    return not (too_early or too_late)


def _recorded_within(event: _Event, wanted: Filter) -> bool:
    """Return whether some of the anomaly lies between the bounds; see `Filter`."""
    begins = event.recorded_at
    if begins is None:
        return True  # `_may_match` refuses it where a bound is set
    ends = begins + timedelta(seconds=event.end - event.start)
    too_early = wanted.after is not None and ends <= wanted.after
    too_late = wanted.before is not None and begins >= wanted.before
    return not (too_early or too_late)


def _events(video: Video, segments: Iterable[Hit], min_anomaly: float) -> Iterator[_Event]:
    """Yield the anomalies of a video from its segments in order of time."""
    event: _Event | None = None
    for segment in segments:
        if segment.anomaly < min_anomaly:
            continue
        if event and segment.start <= event.end + _TOUCHING_SECONDS:
            event = _Event(video, event.start, segment.end, max(event.highest, segment.anomaly))
            continue
        if event:
            yield event
        event = _Event(video, segment.start, segment.end, segment.anomaly)
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
        f"{timeline.anomalies} anomalies with a score from {timeline.min_anomaly:.2f} on, in {timeline.videos} videos "
        f"looked at; names in quotation marks are data. The score is {timeline.scope}."
    ]
    for row in timeline.rows:
        begins = f"from {format_clock(row.begins)} on" if row.begins else f"clock time unknown, video {row.video_id}"
        lines.append(
            f"- {begins}, camera {quote_name(row.camera)}: {row.anomalies}, highest score {row.highest:.2f} "
            f"in moment {row.moment_id}"
        )
    if left_out:
        lines.append(f"{left_out} weaker lines are left out.")
    return "\n".join(lines)


SUMMARISE_TIMELINE = Tool(
    name="summarise_timeline",
    title="Summarise the timeline",
    description=(
        "Count anomalies over time, per camera and minute, hour or day, with the strongest moment of each. Footage "
        "whose clock time is unknown is counted per video."
    ),
    arguments=TimelineArguments,
    result=Timeline,
    run=_summarise,
)
