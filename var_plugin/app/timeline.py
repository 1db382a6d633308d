"""Plots: the anomaly curve of one video, and an overview of all cameras over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any

import plotly.graph_objects as go

from var_plugin.api import Index
from var_plugin.app import formatting
from var_plugin.app.media_registry import MAX_CLIP_SECONDS
from var_plugin.index.rows import Hit
from var_plugin.retrievers.moments import moment_id
from var_plugin.retrievers.text import sanitize_name
from var_plugin.tools.base import committed_videos
from var_plugin.types import Moment, Video

MAX_VIDEOS = 300
"""Number of videos in the overview and in the list of videos; the latest ones."""

_CURVE, _RESULT, _SELECTED = "#7c8cf8", "rgba(245,158,11,0.35)", "rgba(245,158,11,0.9)"
_CURVE_POINTS = 600
_TEXT = "#8b90a0"
"""Readable on light and dark backgrounds."""


def curve(index: Index, selected: Moment, moments: Sequence[Moment]) -> go.Figure:
    """Return the anomaly score over the video of a moment. The points carry the id of the moment to play."""
    segments = _segments(index, selected.video_id)
    figure = _figure(height=190)
    points = list(_points(segments))
    times = [time for time, _ in points]
    figure.add_scatter(
        x=times,
        y=[segment.anomaly for _, segment in points],
        customdata=[_playable_id(segment) for _, segment in points],
        text=[formatting.format_position(time) for time in times],
        mode="lines",
        line={"color": _CURVE, "width": 2},
        fill="tozeroy",
        fillcolor="rgba(124,140,248,0.2)",
        hovertemplate="%{text}, anomaly %{y:.2f}<extra></extra>",
    )
    for moment in moments:
        if moment.video_id == selected.video_id:
            color = _SELECTED if moment.id == selected.id else _RESULT
            figure.add_vrect(x0=moment.start, x1=moment.end, fillcolor=color, opacity=0.5, line_width=0)
    end = max(times, default=1.0)
    ticks = [end * part / 6 for part in range(7)]
    figure.update_xaxes(range=[0, end], tickvals=ticks, ticktext=[formatting.format_position(tick) for tick in ticks])
    figure.update_yaxes(range=[0, 1], tickvals=[0, 0.5, 1], title_text="anomaly")
    figure.update_layout(
        title_text=f"{sanitize_name(selected.camera)}: anomaly over the video", hovermode="x", hoverdistance=-1
    )
    return figure


def overview(index: Index, moments: Sequence[Moment], zone: tzinfo) -> tuple[go.Figure, str]:
    """Return a plot of all cameras over time, and a sentence about the omitted videos."""
    videos = committed_videos(index)
    timed = sorted((video for video in videos if video.recorded_at), key=lambda video: video.recorded_at or 0)
    drawn = timed[-MAX_VIDEOS:]
    figure = _figure(height=120 + 40 * len({video.camera for video in drawn}))
    with_results = {moment.video_id for moment in moments}
    for video in drawn:
        _add_video(figure, index, video, zone, clickable=video.video_id not in with_results)
    _add_moments(figure, [moment for moment in moments if moment.recorded_at], zone)
    figure.update_yaxes(type="category", automargin=True)
    figure.update_layout(title_text="All cameras over time. Bars: videos. Diamonds: moments of the answer.")
    omitted = [
        f"earlier videos not shown: {len(timed) - len(drawn)}" if len(timed) > len(drawn) else "",
        f"videos without a known recording time: {len(videos) - len(timed)}" if len(videos) > len(timed) else "",
    ]
    return figure, "; ".join(filter(None, omitted))


def _add_video(figure: go.Figure, index: Index, video: Video, zone: tzinfo, *, clickable: bool) -> None:
    """Draw the bar of a video. It is not clickable if moments of the answer lie on it."""
    segments = _segments(index, video.video_id)
    strongest = max(segments, key=lambda segment: segment.anomaly, default=None)
    if strongest is None or video.recorded_at is None:
        return
    start = _local_time(video.recorded_at, 0, zone)
    figure.add_scatter(
        x=[start, start + timedelta(seconds=video.duration)],
        y=[sanitize_name(video.camera)] * 2,
        customdata=[_playable_id(strongest)] * 2,
        mode="lines+markers",
        line={"color": _color(strongest.anomaly), "width": 14},
        marker={"color": _color(strongest.anomaly), "size": 14, "symbol": "square"},
        hoverinfo=None if clickable else "skip",
        hovertemplate=f"%{{x|%d %b %H:%M}}, highest anomaly {strongest.anomaly:.2f}<extra></extra>"
        if clickable
        else None,
    )


def _add_moments(figure: go.Figure, moments: Sequence[Moment], zone: tzinfo) -> None:
    figure.add_scatter(
        x=[_local_time(moment.recorded_at, 0, zone) for moment in moments if moment.recorded_at],
        y=[sanitize_name(moment.camera) for moment in moments],
        customdata=[moment.id for moment in moments],
        text=[str(rank) for rank in range(1, len(moments) + 1)],
        mode="markers+text",
        textposition="top center",
        marker={"symbol": "diamond", "size": 12, "color": "#f59e0b", "line": {"color": "white", "width": 1}},
        hovertemplate="moment %{text}, %{x|%d %b %H:%M:%S}<extra></extra>",
    )


def _figure(height: int) -> go.Figure:
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 34, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": _TEXT, "family": "system-ui, sans-serif", "size": 12},
        "title": {"font": {"size": 13}, "x": 0.01},
        "showlegend": False,
        "dragmode": False,
        "hovermode": "closest",
    }
    figure = go.Figure(layout=layout)
    figure.update_xaxes(gridcolor="rgba(139,144,160,0.2)", zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor="rgba(139,144,160,0.2)", zeroline=False, automargin=True)
    return figure


def _points(segments: Sequence[Hit]) -> Iterator[tuple[float, Hit]]:
    """Yield times with their segment, dense enough that every click is near one."""
    length = segments[-1].end if segments else 0.0
    step = max(1.0, length / _CURVE_POINTS)
    for segment in segments:
        count = max(1, round((segment.end - segment.start) / step))
        for part in range(count + 1):
            yield segment.start + (segment.end - segment.start) * part / count, segment


def _playable_id(segment: Hit) -> str:
    """Return the moment id that a click on a segment sends."""
    return moment_id(segment.video_id, segment.start, min(segment.end, segment.start + MAX_CLIP_SECONDS))


def _color(anomaly: float) -> str:
    low, high = (0xC7, 0xCD, 0xF5), (0xDC, 0x26, 0x26)
    mixed = (round(a + (b - a) * min(1.0, max(0.0, anomaly))) for a, b in zip(low, high, strict=True))
    return "rgb({},{},{})".format(*mixed)


def _local_time(time: datetime, seconds: float, zone: tzinfo) -> datetime:
    """Return a clock time without its zone, because plotly converts aware times to UTC."""
    return (time + timedelta(seconds=seconds)).astimezone(zone).replace(tzinfo=None)


@lru_cache(maxsize=512)
def _segments(index: Index, video_id: str) -> tuple[Hit, ...]:
    """Return the segments of a video. They never change, because other content has another video id."""
    return tuple(index.segments(video_id))
