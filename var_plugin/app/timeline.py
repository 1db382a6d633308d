"""Plots: the anomaly score over one video, and over time for each camera."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
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
MAX_CAMERA_POINTS = 400
"""Points of a camera's curve in the overview, about 0.1 MB of a page."""
_MAX_GAP_SECONDS = 60.0
"""The curve of a camera is interrupted where it has no footage for longer than this."""
_GRID = "rgba(139,144,160,0.2)"
_TEXT = "#8b90a0"
"""Readable on light and dark backgrounds."""


def curve(index: Index, selected: Moment, moments: Sequence[Moment]) -> go.Figure:
    """Return the anomaly score over the video of a moment. The points carry the id of the moment to play."""
    segments = index.segments(selected.video_id)
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
    """Return the anomaly score of each camera over time, and a sentence about the omitted videos.

    Each camera has a curve of at most about `MAX_CAMERA_POINTS` points. A point is the strongest segment of its bucket
    of time and carries the id of the moment to play.
    """
    videos = committed_videos(index)
    timed = sorted((video for video in videos if video.recorded_at), key=lambda video: video.recorded_at or 0)
    drawn = timed[-MAX_VIDEOS:]
    cameras = sorted({video.camera for video in drawn})
    figure = _figure(height=90 + 110 * max(1, len(cameras)))
    figure.set_subplots(
        rows=max(1, len(cameras)), cols=1, shared_xaxes=True, vertical_spacing=0.3 / max(1, len(cameras)),
        subplot_titles=[sanitize_name(camera) for camera in cameras] or None,
    )  # fmt: skip
    for row, camera in enumerate(cameras, 1):
        of_camera = [video for video in drawn if video.camera == camera]
        _add_camera(figure, row, _camera_points(index, of_camera, zone))
        _add_moments(figure, row, [moment for moment in moments if moment.camera == camera], zone)
    # Dragging zooms the time axis of all cameras; a double click shows everything again.
    figure.update_layout(dragmode="zoom", title_text="", margin_t=30)
    figure.update_annotations(x=0, xanchor="left", font_size=13)
    figure.update_xaxes(type="date", gridcolor=_GRID, zeroline=False)
    figure.update_yaxes(range=[0, 1.05], tickvals=[0, 0.5, 1], fixedrange=True, gridcolor=_GRID, automargin=True)
    omitted = [
        f"earlier videos not shown: {len(timed) - len(drawn)}" if len(timed) > len(drawn) else "",
        f"videos without a known recording time: {len(videos) - len(timed)}" if len(videos) > len(timed) else "",
    ]
    return figure, "; ".join(filter(None, omitted))


Point = tuple[datetime, Hit | None]
"""A local clock time and the segment to play; None: the curve is interrupted."""


def _camera_points(index: Index, videos: Sequence[Video], zone: tzinfo) -> list[Point]:
    """Return the points of a camera's curve in order of time: the strongest segment of each bucket.

    All videos have a recording time.
    """
    starts = {video.video_id: video.recorded_at for video in videos if video.recorded_at}
    first = min(starts.values())
    end = max(starts[video.video_id] + timedelta(seconds=video.duration) for video in videos)
    bucket = (end - first).total_seconds() / MAX_CAMERA_POINTS or 1.0
    strongest: dict[int, tuple[datetime, Hit]] = {}
    for video_id, start in starts.items():
        for segment in index.segments(video_id):
            time = start + timedelta(seconds=segment.key)
            number = int((time - first).total_seconds() / bucket)
            if number not in strongest or segment.anomaly > strongest[number][1].anomaly:
                strongest[number] = time, segment
    points: list[Point] = []
    previous: tuple[datetime, Hit] | None = None
    for _, (time, segment) in sorted(strongest.items()):
        if previous and previous[1].video_id != segment.video_id:
            gap = (time - previous[0]).total_seconds()
            if gap > max(2 * bucket, _MAX_GAP_SECONDS):
                points.append((_local_time(previous[0], gap / 2, zone), None))
        points.append((_local_time(time, 0, zone), segment))
        previous = time, segment
    return points


def _add_camera(figure: go.Figure, row: int, points: Sequence[Point]) -> None:
    figure.add_scatter(
        x=[time for time, _ in points],
        y=[segment and segment.anomaly for _, segment in points],
        customdata=[segment and _playable_id(segment) for _, segment in points],
        mode="lines+markers",
        line={"color": _CURVE, "width": 1.5},
        marker={"color": _CURVE, "size": 4},
        hovertemplate="%{x|%a %d %b %H:%M:%S}, anomaly %{y:.2f}<extra></extra>",
        row=row,
        col=1,
    )


def _add_moments(figure: go.Figure, row: int, moments: Sequence[Moment], zone: tzinfo) -> None:
    """Mark the moments of the last answer on the curve of their camera."""
    timed = [moment for moment in moments if moment.recorded_at]
    figure.add_scatter(
        x=[_local_time(moment.recorded_at, 0, zone) for moment in timed if moment.recorded_at],
        y=[moment.anomaly_score for moment in timed],
        customdata=[moment.id for moment in timed],
        mode="markers",
        marker={"symbol": "diamond", "size": 12, "color": "#f59e0b", "line": {"color": "white", "width": 1}},
        hovertemplate="moment of the answer, %{x|%d %b %H:%M:%S}<extra></extra>",
        row=row,
        col=1,
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
    figure.update_xaxes(gridcolor=_GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=_GRID, zeroline=False, automargin=True)
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


def _local_time(time: datetime, seconds: float, zone: tzinfo) -> datetime:
    """Return a clock time without its zone, because plotly converts aware times to UTC."""
    return (time + timedelta(seconds=seconds)).astimezone(zone).replace(tzinfo=None)
