"""Plots: the anomaly score over one video, and over time for each camera."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import groupby
from typing import Any

import plotly.graph_objects as go

from var_plugin.api import Index
from var_plugin.app import formatting
from var_plugin.app.media_registry import MAX_CLIP_SECONDS
from var_plugin.index.rows import CurvePoint, Hit
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
        customdata=[_playable_id(segment.video_id, segment.start, segment.end) for _, segment in points],
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


def overview(index: Index, moments: Sequence[Moment], zone: tzinfo) -> tuple[go.Figure | None, str]:
    """Return the anomaly score of each camera over time, and sentences about the omitted videos.

    Without footage that has a recording time, there is no plot. Each camera has a curve of at most about
    `MAX_CAMERA_POINTS` points. A point is the strongest segment of its bucket of time and carries the id of the moment
    to play.
    """
    videos = committed_videos(index)
    timed = sorted((video for video in videos if video.recorded_at), key=lambda video: video.recorded_at or 0)
    if not timed:
        return None, formatting.NO_TIMELINE if videos else formatting.NO_FOOTAGE
    drawn = timed[-MAX_VIDEOS:]
    cameras = sorted({video.camera for video in drawn})
    curves = index.curves([video.video_id for video in drawn])
    figure = _figure(height=90 + 110 * len(cameras))
    figure.set_subplots(
        rows=len(cameras), cols=1, shared_xaxes=True, vertical_spacing=0.3 / len(cameras),
        subplot_titles=[sanitize_name(camera) for camera in cameras],
    )  # fmt: skip
    by_camera = {
        camera: _camera_points(curves, [video for video in drawn if video.camera == camera], zone) for camera in cameras
    }
    times = [point.time for points in by_camera.values() for point in points]
    min_width = (max(times) - min(times)) / MAX_CAMERA_POINTS if times else timedelta()
    for row, (camera, points) in enumerate(by_camera.items(), 1):
        _add_camera(figure, row, points, min_width)
        _add_moments(figure, row, [moment for moment in moments if moment.camera == camera], zone)
    # Dragging zooms the time axis of all cameras; a double click shows everything again.
    # Automatic margins would draw all cameras again for each of them.
    figure.update_layout(dragmode="zoom", title_text="", margin={"l": 30, "r": 8, "t": 30, "b": 40})
    figure.update_annotations(x=0, xanchor="left", font_size=13)
    figure.update_xaxes(type="date", gridcolor=_GRID, zeroline=False, automargin=False)
    figure.update_yaxes(range=[-0.05, 1.05], tickvals=[0, 0.5, 1], fixedrange=True, gridcolor=_GRID, automargin=False)
    omitted = [
        f"Earlier videos that are not shown: {len(timed) - len(drawn)}." if len(timed) > len(drawn) else "",
        f"Videos without a known recording time: {len(videos) - len(timed)}." if len(videos) > len(timed) else "",
    ]
    return figure, " ".join(filter(None, omitted))


@dataclass(frozen=True)
class _Point:
    """A point of a camera's curve. Without a score, it interrupts the curve."""

    time: datetime
    """Local clock time."""
    anomaly: float | None = None
    moment_id: str | None = None
    """Id of the moment to play."""


def _camera_points(curves: Mapping[str, Sequence[CurvePoint]], videos: Sequence[Video], zone: tzinfo) -> list[_Point]:
    """Return the points of a camera's curve in order of time: the strongest segment of each bucket.

    All videos have a recording time.
    """
    starts = {video.video_id: video.recorded_at.timestamp() for video in videos if video.recorded_at}
    first = min(starts.values())
    end = max(starts[video.video_id] + video.duration for video in videos)
    bucket = (end - first) / MAX_CAMERA_POINTS or 1.0
    strongest: dict[int, tuple[float, str, CurvePoint]] = {}
    for video_id, start in starts.items():
        for point in curves.get(video_id, ()):
            number = int((start + point.key - first) / bucket)
            if number not in strongest or point.anomaly > strongest[number][2].anomaly:
                strongest[number] = start + point.key, video_id, point
    points: list[_Point] = []
    previous: tuple[float, str] | None = None
    for _, (time, video_id, point) in sorted(strongest.items()):
        if previous and previous[1] != video_id and time - previous[0] > max(2 * bucket, _MAX_GAP_SECONDS):
            points.append(_Point(_local_time((previous[0] + time) / 2, zone)))
        points.append(_Point(_local_time(time, zone), point.anomaly, _playable_id(video_id, point.start, point.end)))
        previous = time, video_id
    return points


def _add_camera(figure: go.Figure, row: int, points: Sequence[_Point], min_width: timedelta) -> None:
    """Draw the curve of a camera. Parts up to `min_width` get a marker; more markers would slow browsers."""
    for mode, drawn in (("lines", points), ("markers", list(_short_parts(points, min_width)))):
        figure.add_scatter(
            x=[point.time for point in drawn],
            y=[point.anomaly for point in drawn],
            customdata=[point.moment_id for point in drawn],
            mode=mode,
            line={"color": _CURVE, "width": 1.5},
            marker={"color": _CURVE, "size": 4},
            hovertemplate="%{x|%a %d %b %H:%M:%S}, anomaly %{y:.2f}<extra></extra>",
            row=row,
            col=1,
        )


def _short_parts(points: Sequence[_Point], min_width: timedelta) -> Iterator[_Point]:
    """Yield the strongest point of each uninterrupted part of a curve that is not longer than `min_width`."""
    for is_drawn, group in groupby(points, key=lambda point: point.anomaly is not None):
        part = list(group)
        if is_drawn and part[-1].time - part[0].time <= min_width:
            yield max(part, key=lambda point: point.anomaly or 0.0)


def _add_moments(figure: go.Figure, row: int, moments: Sequence[Moment], zone: tzinfo) -> None:
    """Mark the moments of the last answer on the curve of their camera."""
    timed = [moment for moment in moments if moment.recorded_at]
    figure.add_scatter(
        x=[_local_time(moment.recorded_at.timestamp(), zone) for moment in timed if moment.recorded_at],
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


def _playable_id(video_id: str, start: float, end: float) -> str:
    """Return the moment id that a click on a segment sends."""
    return moment_id(video_id, start, min(end, start + MAX_CLIP_SECONDS))


def _local_time(timestamp: float, zone: tzinfo) -> datetime:
    """Return the clock time of a Unix time without its zone, because plotly converts aware times to UTC."""
    return datetime.fromtimestamp(timestamp, zone).replace(tzinfo=None)
