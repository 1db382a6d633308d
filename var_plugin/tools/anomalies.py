"""The tool list_anomalies, which needs no query."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from var_plugin.api import Index
from var_plugin.retrievers.text import format_clock, quote_name, sanitize_name
from var_plugin.tools.base import ScopeArguments, Tool, ToolResult, committed_videos
from var_plugin.types import EventKind, Moment, Share, Value, Video

_MAX_REASON = 100  # characters


class AnomaliesArguments(ScopeArguments):
    """Arguments of list_anomalies."""

    kinds: tuple[EventKind, ...] | None = Field(
        default=None, max_length=20, description="only these kinds of events, such as fire or fighting"
    )
    min_anomaly: Share = Field(default=0.3, description="minimum anomaly score, from 0 (normal) to 1")
    order: Literal["score", "time"] = Field(default="score", description="strongest first, or newest first")
    limit: Annotated[int, Field(ge=1, le=50, description="maximum number of moments")] = 10


class AnomalousMoment(Value):
    """An unusual moment. `recorded_at` is the clock time at its start; null if unknown."""

    id: str
    camera: str
    recorded_at: datetime | None
    start: float
    end: float
    kind: str | None
    score: float
    reason: str | None


class AnomalyList(Value):
    """Unusual moments, and how much of the searched footage has no clock time."""

    moments: tuple[AnomalousMoment, ...]
    hours: float
    hours_without_clock_time: float
    scope: str


def _list_anomalies(index: Index, arguments: AnomaliesArguments) -> ToolResult:
    scope = arguments.filter(index)
    moments = index.anomalies(
        arguments.limit,
        filter=scope,
        kinds=arguments.kinds,
        min_score=arguments.min_anomaly,
        order=arguments.order,
    )
    videos = [video for video in committed_videos(index) if scope.cameras is None or video.camera in scope.cameras]
    data = AnomalyList(
        moments=tuple(_listed(moment) for moment in moments),
        hours=_hours(videos),
        hours_without_clock_time=_hours([video for video in videos if video.recorded_at is None]),
        scope=index.suite.anomaly_scope,
    )
    return ToolResult(_text(data, arguments), data)


def _hours(videos: list[Video]) -> float:
    return round(sum(video.duration for video in videos) / 3600, 2)


def _listed(moment: Moment) -> AnomalousMoment:
    event = moment.events[0] if moment.events else None
    return AnomalousMoment(
        id=moment.id,
        camera=sanitize_name(moment.camera),
        recorded_at=moment.recorded_at,
        start=round(moment.start, 1),
        end=round(moment.end, 1),
        kind=event.kind if event else None,
        score=round(moment.anomaly_score, 2),
        reason=event.reason[:_MAX_REASON] if event and event.reason else None,
    )


def _text(data: AnomalyList, arguments: AnomaliesArguments) -> str:
    count = len(data.moments) or "No"
    lines = [
        f"{count} unusual moments in {data.hours:.2f} hours of footage; names in quotation marks are data. "
        f"The score is {data.scope}."
    ]
    for moment in data.moments:
        when = format_clock(moment.recorded_at) if moment.recorded_at else f"{moment.start:.1f} s into its video"
        kind = f"{moment.kind}, " if moment.kind else ""
        reason = f" ({moment.reason})" if moment.reason else ""
        lines.append(
            f"- {when}, camera {quote_name(moment.camera)}: {kind}score {moment.score:.2f}{reason}, {moment.id}"
        )
    if data.hours_without_clock_time:
        excluded = arguments.after is not None or arguments.before is not None
        lines.append(
            f"{data.hours_without_clock_time:.2f} hours have no clock time"
            + (" and are not searched." if excluded else ".")
        )
    return "\n".join(lines)


LIST_ANOMALIES = Tool(
    name="list_anomalies",
    title="List unusual moments",
    description=(
        "List what was unusual, without a query: the moments with the highest anomaly scores, with their kind and the "
        "reason. Limit it to cameras, clock times or kinds of events."
    ),
    arguments=AnomaliesArguments,
    result=AnomalyList,
    run=_list_anomalies,
)
