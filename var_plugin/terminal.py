"""How results look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from var_plugin.escaping import printable
from var_plugin.index.index import Hit
from var_plugin.types import Moment, Video, VideoReceipt

_LEVELS = "▁▂▃▄▅▆▇█"
_BAR_WIDTH = 60


def clock(seconds: float) -> str:
    """Return minutes and seconds as m:ss.s, with hours before them where there are any."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def clock_time(moment: datetime) -> str:
    """Return a clock time to the second, with its zone."""
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"


def recording(video: Video | VideoReceipt) -> str:
    """Say when a video was recorded, and how that is known."""
    when = f"recorded {clock_time(video.recorded_at)}" if video.recorded_at else "recorded at an unknown time"
    if video.clock is None:
        return when
    source = f" ({video.clock.certainty}: {video.clock.source})" if video.recorded_at else ""
    return "; ".join([when + source, *video.clock.notes])


def how_sure(moment: Moment) -> str:
    """Say how good a match is: its confidence where the suite was calibrated, and its score."""
    sure = f"confidence {moment.confidence:.0%}  " if moment.confidence is not None else ""
    return f"{sure}score {moment.score:.2f}"


def moment_lines(rank: int, moment: Moment, curve: Sequence[Hit]) -> list[str]:
    """Return the lines for one moment: what, when, how sure, the anomaly curve of its video, its thumbnail.

    Args:
        rank: place in the answer, from 1.
        moment: the moment.
        curve: the segments of its video in order of time.
    """
    recorded = f"  {clock_time(moment.recorded_at)}" if moment.recorded_at else ""
    lines = [
        f"{rank}. {moment.camera}  {clock(moment.start)} - {clock(moment.end)}{recorded}"
        f"  {how_sure(moment)}  anomaly {moment.anomaly_score:.2f}"
    ]
    bar, marks = anomaly_bar(moment, curve)
    lines += [f"   {bar}  anomaly over the video", f"   {marks}"]
    if moment.thumbnail:
        lines.append(f"   {moment.thumbnail}")
    return [printable(line) for line in lines]


def anomaly_bar(moment: Moment, curve: Sequence[Hit]) -> tuple[str, str]:
    """Return the anomaly scores of a whole video as a bar of 60 characters, and a line that marks the moment below."""
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
