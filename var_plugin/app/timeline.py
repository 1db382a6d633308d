"""The anomaly curve of a video with the found moments on it, and an overview of all cameras over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any

import plotly.graph_objects as go

from var_plugin.app import formatting as words
from var_plugin.app.media_registry import LONGEST_CLIP
from var_plugin.index.index import VideoIndex
from var_plugin.index.rows import Hit
from var_plugin.retrievers.moments import moment_id
from var_plugin.retrievers.text import sanitize_name
from var_plugin.tools.base import committed_videos
from var_plugin.types import Moment, Video

MOST_VIDEOS = 300
"""The overview draws so many, the latest ones."""

_CURVE, _FOUND, _CHOSEN = "#7c8cf8", "rgba(245,158,11,0.35)", "rgba(245,158,11,0.9)"
_CURVE_POINTS = 600
_TEXT = "#8b90a0"
"""Reads on light and on dark."""


def curve(index: VideoIndex, chosen: Moment, shown: Sequence[Moment]) -> go.Figure:
    """Return the anomaly score over the video of a moment; a click on it names the moment to play by its id."""
    segments = _segments(index, chosen.video_id)
    figure = _figure(height=190)
    points = list(_points(segments))
    times = [time for time, _ in points]
    figure.add_scatter(
        x=times,
        y=[segment.anomaly for _, segment in points],
        customdata=[_playable(segment) for _, segment in points],
        text=[words.minutes(time) for time in times],
        mode="lines",
        line={"color": _CURVE, "width": 2},
        fill="tozeroy",
        fillcolor="rgba(124,140,248,0.2)",
        hovertemplate="%{text}, anomaly %{y:.2f}<extra></extra>",
    )
    for moment in shown:
        if moment.video_id == chosen.video_id:
            color = _CHOSEN if moment.id == chosen.id else _FOUND
            figure.add_vrect(x0=moment.start, x1=moment.end, fillcolor=color, opacity=0.5, line_width=0)
    end = max(times, default=1.0)
    ticks = [end * part / 6 for part in range(7)]
    figure.update_xaxes(range=[0, end], tickvals=ticks, ticktext=[words.minutes(tick) for tick in ticks])
    figure.update_yaxes(range=[0, 1], tickvals=[0, 0.5, 1], title_text="anomaly")
    figure.update_layout(
        title_text=f"{sanitize_name(chosen.camera)}: anomaly over the video", hovermode="x", hoverdistance=-1
    )
    return figure


def overview(index: VideoIndex, shown: Sequence[Moment], zone: tzinfo) -> tuple[go.Figure, str]:
    """Return all cameras over time, and a sentence about the videos that are not drawn."""
    videos = committed_videos(index)
    timed = sorted((video for video in videos if video.recorded_at), key=lambda video: video.recorded_at or 0)
    drawn = timed[-MOST_VIDEOS:]
    figure = _figure(height=120 + 40 * len({video.camera for video in drawn}))
    found_in = {moment.video_id for moment in shown}
    for video in drawn:
        _add_video(figure, index, video, zone, clickable=video.video_id not in found_in)
    _add_found(figure, [moment for moment in shown if moment.recorded_at], zone)
    figure.update_yaxes(type="category", automargin=True)
    figure.update_layout(title_text="All cameras over time: a bar per video, a diamond per moment found")
    left_out = [
        f"{len(timed) - len(drawn)} earlier videos are not drawn" if len(timed) > len(drawn) else "",
        f"{len(videos) - len(timed)} videos have no known clock time" if len(videos) > len(timed) else "",
    ]
    return figure, "; ".join(filter(None, left_out))


def _add_video(figure: go.Figure, index: VideoIndex, video: Video, zone: tzinfo, *, clickable: bool) -> None:
    """Draw a video's bar; where moments lie on it, a click means them."""
    segments = _segments(index, video.video_id)
    strongest = max(segments, key=lambda segment: segment.anomaly, default=None)
    if strongest is None or video.recorded_at is None:
        return
    begins = _at(video.recorded_at, 0, zone)
    figure.add_scatter(
        x=[begins, begins + timedelta(seconds=video.duration)],
        y=[sanitize_name(video.camera)] * 2,
        customdata=[_playable(strongest)] * 2,
        mode="lines+markers",
        line={"color": _color(strongest.anomaly), "width": 14},
        marker={"color": _color(strongest.anomaly), "size": 14, "symbol": "square"},
        hoverinfo=None if clickable else "skip",
        hovertemplate=f"%{{x|%d %b %H:%M}}, highest anomaly {strongest.anomaly:.2f}<extra></extra>"
        if clickable
        else None,
    )


def _add_found(figure: go.Figure, found: Sequence[Moment], zone: tzinfo) -> None:
    figure.add_scatter(
        x=[_at(moment.recorded_at, 0, zone) for moment in found if moment.recorded_at],
        y=[sanitize_name(moment.camera) for moment in found],
        customdata=[moment.id for moment in found],
        text=[str(rank) for rank in range(1, len(found) + 1)],
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
    """Yield times with their segment, dense enough that a click always has one near it."""
    length = segments[-1].end if segments else 0.0
    step = max(1.0, length / _CURVE_POINTS)
    for segment in segments:
        inside = max(1, round((segment.end - segment.start) / step))
        for part in range(inside + 1):
            yield segment.start + (segment.end - segment.start) * part / inside, segment


def _playable(segment: Hit) -> str:
    """Return the id by which a click on a segment asks for it."""
    return moment_id(segment.video_id, segment.start, min(segment.end, segment.start + LONGEST_CLIP))


def _color(anomaly: float) -> str:
    low, high = (0xC7, 0xCD, 0xF5), (0xDC, 0x26, 0x26)
    mixed = (round(a + (b - a) * min(1.0, max(0.0, anomaly))) for a, b in zip(low, high, strict=True))
    return "rgb({},{},{})".format(*mixed)


def _at(time: datetime, seconds: float, zone: tzinfo) -> datetime:
    """Return a clock time as plotly draws it: without its zone, which it would turn into UTC."""
    return (time + timedelta(seconds=seconds)).astimezone(zone).replace(tzinfo=None)


@lru_cache(maxsize=512)
def _segments(index: VideoIndex, video_id: str) -> tuple[Hit, ...]:
    """Return the curve of a video, which never changes: another content is another video."""
    return tuple(index.segments(video_id))
