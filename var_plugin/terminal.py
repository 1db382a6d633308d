"""Format results for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from var_plugin.escaping import printable
from var_plugin.index.index import Hit
from var_plugin.retrievers.text import kinds_of
from var_plugin.types import Moment, Video, VideoReceipt

_LEVELS = "▁▂▃▄▅▆▇█"
_BAR_WIDTH = 60


def clock(seconds: float) -> str:
    """Format a position in a video as m:ss.s or h:mm:ss.s."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def clock_time(moment: datetime) -> str:
    """Format a clock time to the second, with its zone."""
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"


def recording(video: Video | VideoReceipt) -> str:
    """Format the clock time of a video and its source."""
    when = f"recorded {clock_time(video.recorded_at)}" if video.recorded_at else "recorded at an unknown time"
    if video.clock is None:
        return when
    source = f" ({video.clock.certainty}: {video.clock.source})" if video.recorded_at else ""
    return "; ".join([when + source, *video.clock.notes])


def format_match(moment: Moment) -> str:
    """Format the grade of a moment, if it has one, and its score, followed by two spaces."""
    if not moment.matched:  # listed without a query
        return ""
    grade = f"{moment.grade} match  " if moment.grade else ""
    return f"{grade}score {moment.score:.2f}  "


def moment_lines(rank: int, moment: Moment, curve: Sequence[Hit]) -> list[str]:
    """Format one moment: camera, times, grade, the anomaly curve of its video, its thumbnail.

    Args:
        rank: Rank in the results, from 1.
        moment: The moment.
        curve: The segments of its video in order of time.
    """
    recorded = f"  {clock_time(moment.recorded_at)}" if moment.recorded_at else ""
    lines = [
        f"{rank}. {moment.camera}  {clock(moment.start)} - {clock(moment.end)}{recorded}"
        f"  {format_match(moment)}anomaly {moment.anomaly_score:.2f}"
    ]
    if moment.events:
        kinds = ", ".join(f"{event.kind} {event.score:.2f}" for event in moment.events)
        lines.append(f"   {kinds}" + (f": {moment.events[0].reason}" if moment.events[0].reason else ""))
    elif not moment.matched:
        lines.append(f"   {kinds_of(moment)[0]}: novelty {moment.novelty:.2f}")
    bar, marks = anomaly_bar(moment, curve)
    lines += [f"   {bar}  anomaly over the video", f"   {marks}"]
    if moment.thumbnail:
        lines.append(f"   {moment.thumbnail}")
    return [printable(line) for line in lines]


def anomaly_bar(moment: Moment, curve: Sequence[Hit]) -> tuple[str, str]:
    """Format the anomaly scores of a video as a bar of 60 characters, and a second line that marks the moment."""
    duration = curve[-1].end if curve else moment.end
    columns = [(i + 0.5) * duration / _BAR_WIDTH for i in range(_BAR_WIDTH)]
    bar = "".join(_level(_score_at(curve, time)) for time in columns)
    half = duration / _BAR_WIDTH / 2
    marks = "".join("^" if moment.start - half < time < moment.end + half else " " for time in columns)
    return bar, marks.rstrip()


def _score_at(curve: Sequence[Hit], time: float) -> float:
    return next((hit.anomaly for hit in curve if hit.start <= time < hit.end), 0.0)


def _level(score: float) -> str:
    return _LEVELS[min(len(_LEVELS) - 1, int(score * len(_LEVELS)))]
