"""Evaluate anomaly scores on labelled footage: each part of the score, beside chance and the frame difference."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from var_plugin.config import DEFAULT_SEGMENT_SECONDS, ModelOptions
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.clip_features import PerFrameMixin
from var_plugin.encoders.suite import ClipScore, Suite
from var_plugin.errors import InvalidInputError, MediaError, MediaNotFoundError, field_errors, os_error_message
from var_plugin.escaping import printable
from var_plugin.evaluation.anomaly_labels import AnomalyLabels, VideoLabels, VideoNames
from var_plugin.evaluation.anomaly_metrics import (
    FALSE_ALARMS,
    FRAME_AUC,
    METRICS,
    VIDEO_AUC,
    Metrics,
    Track,
    chance,
    cut,
    measure,
    peak_in_event,
)
from var_plugin.evaluation.clip_cache import ClipCache, clip_cache
from var_plugin.evaluation.evaluate_suite import CHANCE
from var_plugin.media.decoded import Frame
from var_plugin.media.files import atomic_write

DIFFERENCE, NOVELTY, EVENTS, ANOMALY = "frame difference", "novelty", "events", "anomaly score"
OWN_KIND = "score of the kind"

_LISTED = 5
_OUTSIDE_SECONDS = 1.0


class ScoredClip(BaseModel):
    """The scores of a clip, from `start` to `end` seconds."""

    start: float = Field(ge=0)
    end: float
    score: float
    events: dict[str, float] = Field(default_factory=dict)
    novelty: float | None = None


Scores = Mapping[str, Sequence[ScoredClip]]
"""By video."""


class FrameDifference(PerFrameMixin):
    """Baseline: the mean absolute difference of two consecutive frames at the clip rate, in grey, 32×32 pixels."""

    size = (32, 32)

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return grey frames (n, 1024) float32 in 0…255."""
        return np.stack([frame.image.mean(axis=2).reshape(-1) for frame in frames]).astype(np.float32)


def frame_difference(video: Path, cache: ClipCache) -> Track:
    """Return the difference of every frame to the one before. The first frame has the value of the second.

    Args:
        video: the video.
        cache: the cache of `difference_cache`.
    """
    clips = cache(video)
    differences = np.abs(np.diff(clips.vectors, axis=0)).mean(axis=1)
    scores = np.r_[differences[:1], differences] if len(differences) else np.zeros(1)
    return Track(clips.times, np.r_[clips.times[1:], clips.end], scores.astype(np.float64))


def difference_cache(folder: Path, fps: float) -> ClipCache:
    """Return the cache of the frames that `frame_difference` compares.

    Args:
        folder: folder of the cache files.
        fps: frames per second.
    """
    return ClipCache(FrameDifference(), "frame-difference-1", folder, fps)


def scored_clip(clip: ClipScore) -> ScoredClip:
    """Convert the scores that a suite gives a clip."""
    events = dict(clip.events)
    return ScoredClip(start=clip.start, end=clip.end, score=clip.score, events=events, novelty=clip.novelty)


@dataclass
class ScoredFootage:
    """Scores of videos, and the videos that could not be scored."""

    clips: dict[str, Sequence[ScoredClip]] = field(default_factory=dict)
    differences: dict[str, Track] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """The error of each video that could not be decoded or has no scores."""


def score_footage(
    scores: Suite | Scores,
    files: Mapping[str, Path],
    options: ModelOptions,
    *,
    segment_seconds: float = DEFAULT_SEGMENT_SECONDS,
    report: Callable[[str], None] = lambda name: None,
) -> ScoredFootage:
    """Score videos with a suite and with the frame difference. Clip features are cached.

    Args:
        scores: the suite, or the scores of another method by video.
        files: videos by name. With scores of another method, they are only needed for the frame difference.
        options: cache folder and frame rate.
        segment_seconds: length of the segments of anomaly scores; see `Suite.anomaly`.
        report: called after each video.

    Raises:
        UnsupportedModalityError: the suite takes no video.
    """
    footage = ScoredFootage() if isinstance(scores, Suite) else ScoredFootage(dict(scores))
    folder = options.cache / "clips"
    embed = clip_cache(scores, folder) if isinstance(scores, Suite) else None
    differences = difference_cache(folder, options.fps)
    for name, file in files.items():
        try:
            footage.differences[name] = frame_difference(file, differences)
            if isinstance(scores, Suite) and embed:
                clips = scores.anomaly_of_clips(embed(file), segment_seconds=segment_seconds)
                footage.clips[name] = [scored_clip(clip) for clip in clips]
        except (MediaError, InvalidInputError) as error:
            footage.failed[name] = str(error)
        report(name)
    return footage


def read_scores(path: Path) -> dict[str, list[ScoredClip]]:
    """Read the scores of any method: a JSON object from the name of a video to its clips.

    A clip is an object with `start` and `end` in seconds and `score`, optionally `novelty` and `events` (an object from
    kind to score).

    Raises:
        MediaNotFoundError: the file does not exist.
        InvalidInputError: the file has another format.
    """
    if not path.is_file():
        raise MediaNotFoundError(f"{path} does not exist", fix="pass a JSON file with scores")
    try:
        scores = TypeAdapter(dict[str, list[ScoredClip]]).validate_json(path.read_bytes())
    except ValidationError as error:
        raise InvalidInputError(
            f"{path} is not a JSON file of scores",
            why=str(field_errors(error)[0]),
            fix='write {"a.mp4": [{"start": 0, "end": 0.5, "score": 0.1}]}',
        ) from error
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}", why=os_error_message(error), fix="check the file") from error
    for name, clips in scores.items():
        if not clips:
            raise InvalidInputError(f"{path}: '{name}' has no clips", fix="remove it, or add its clips")
    return scores


@dataclass(frozen=True)
class AnomalyReport:
    """The result of an evaluation."""

    labels: AnomalyLabels
    failed: Mapping[str, str]
    unscored: Sequence[str]
    """Videos of which labelled events lie outside of the scored time."""
    footage: Mapping[str, float]
    """Numbers of videos and events, and seconds."""
    rows: Mapping[str, Metrics]
    """By method."""
    kinds: Mapping[str, Mapping[str, Metrics]]
    """By kind of event and method."""
    videos: Sequence[Mapping[str, Any]]
    """Per video: its labels, and its results by method."""
    threshold: float

    @property
    def is_complete(self) -> bool:
        """Whether every labelled video was scored."""
        return not self.labels.missing and not self.failed

    @property
    def is_whole_benchmark(self) -> bool:
        """Whether the videos are the whole test set of a benchmark."""
        return self.is_complete and bool(self.labels.benchmark) and len(self.labels.videos) == self.labels.test_videos


def evaluate_anomalies(
    labels: AnomalyLabels,
    footage: ScoredFootage,
    *,
    threshold: float = 0.5,
    resamples: int = 1000,
    seed: int = 0,
) -> AnomalyReport:
    """Compare scores with labels.

    Args:
        labels: the labels.
        footage: the scores of the labelled videos.
        threshold: minimum score of an alarm.
        resamples: bootstrap resamples of the videos. 0: no intervals.
        seed: random seed of the bootstrap.

    Raises:
        InvalidInputError: no labelled video has scores, or a score is invalid.
    """
    names = [name for name in labels.videos if name in footage.clips]
    if not names:
        first = next(iter(footage.failed.values()), "")
        raise InvalidInputError("no labelled video has scores", why=first, fix="check the videos and the scores")
    unscored = {name: "it has no scores" for name in labels.videos if name not in footage.clips}
    methods, kind_tracks = _tracks({name: footage.clips[name] for name in names})
    if all(name in footage.differences for name in names):
        methods[DIFFERENCE] = {name: footage.differences[name] for name in names}
    tracks = methods[ANOMALY]
    timed = {name: labels.videos[name].in_seconds(float(tracks[name].ends[-1])) for name in names}

    def measured(of: Mapping[str, Track], kind: str | None = None, limit: float | None = None) -> Metrics:
        return measure(
            of, timed, kind=kind, is_timed=labels.is_timed, threshold=limit, resamples=resamples, seed=seed
        )  # fmt: skip

    rows = {CHANCE: chance(tracks, timed, is_timed=labels.is_timed)}
    for name in (DIFFERENCE, NOVELTY, EVENTS, ANOMALY):
        if name in methods:
            rows[name] = measured(methods[name], limit=None if name == DIFFERENCE else threshold)
    kinds: dict[str, dict[str, Metrics]] = {}
    for kind in sorted({kind for video in timed.values() for kind in video.kinds()}):
        kinds[kind] = {name: measured(methods[name], kind) for name in rows if name in methods}
        if kind in kind_tracks:
            kinds[kind][OWN_KIND] = measured(kind_tracks[kind], kind)
    return AnomalyReport(
        labels,
        unscored | footage.failed,
        [name for name in names if _unscored_seconds(tracks[name], timed[name]) > _OUTSIDE_SECONDS],
        _footage(tracks, timed),
        rows,
        kinds,
        [_video_row(name, timed[name], methods, threshold) for name in names],
        threshold,
    )


def _tracks(scores: Scores) -> tuple[dict[str, dict[str, Track]], dict[str, dict[str, Track]]]:
    """Return the tracks by method and video, and those of single kinds by kind and video."""
    methods: dict[str, dict[str, Track]] = {ANOMALY: {}}
    kinds: dict[str, dict[str, Track]] = {}
    known = sorted({kind for clips in scores.values() for clip in clips for kind in clip.events})
    has_novelty = all(clip.novelty is not None for clips in scores.values() for clip in clips)
    for name, clips in scores.items():
        methods[ANOMALY][name] = _track(name, clips, [clip.score for clip in clips])
        if has_novelty:
            methods.setdefault(NOVELTY, {})[name] = _track(name, clips, [clip.novelty or 0.0 for clip in clips])
        if known:
            highest = [max(clip.events.values(), default=0.0) for clip in clips]
            methods.setdefault(EVENTS, {})[name] = _track(name, clips, highest)
        for kind in known:
            kinds.setdefault(kind, {})[name] = _track(name, clips, [clip.events.get(kind, 0.0) for clip in clips])
    return methods, kinds


def _track(name: str, clips: Sequence[ScoredClip], values: Sequence[float]) -> Track:
    starts, ends = [clip.start for clip in clips], [clip.end for clip in clips]
    try:
        return Track(np.array(starts, float), np.array(ends, float), np.array(values, float))
    except InvalidInputError as error:
        raise InvalidInputError(f"{name}: {error.what}", why=error.why, fix=error.fix) from error


def _unscored_seconds(track: Track, labels: VideoLabels) -> float:
    """Return the seconds of events with a known end that lie outside of the scored time."""
    spans = [(event.start, event.end) for event in labels.events if math.isfinite(event.end)]
    return sum(
        end - start - float(np.clip(np.minimum(track.ends, end) - np.maximum(track.starts, start), 0, None).sum())
        for start, end in spans
    )


def _footage(tracks: Mapping[str, Track], labels: Mapping[str, VideoLabels]) -> dict[str, float]:
    pieces = {name: cut(track, labels[name]) for name, track in tracks.items()}
    return {
        "videos": len(tracks),
        "videos with events": sum(not labels[name].is_normal for name in tracks),
        "normal videos": sum(labels[name].is_normal for name in tracks),
        "events": sum(len(labels[name].events) for name in tracks),
        "seconds": sum(float(piece.seconds.sum()) for piece in pieces.values()),
        "seconds of events": sum(float(piece.seconds[piece.anomalous].sum()) for piece in pieces.values()),
        "seconds of normal videos": sum(tracks[name].seconds for name in tracks if labels[name].is_normal),
    }


def _video_row(
    name: str, labels: VideoLabels, methods: Mapping[str, Mapping[str, Track]], threshold: float
) -> dict[str, Any]:
    track = methods[ANOMALY][name]
    pieces = cut(track, labels)
    row: dict[str, Any] = {
        "video": name,
        "kinds": ", ".join(labels.kinds()),
        "seconds": round(float(pieces.seconds.sum()), 2),
        "event seconds": round(float(pieces.seconds[pieces.anomalous].sum()), 2),
        "alarms": track.alarms(threshold),
    }
    for method, tracks in methods.items():
        single = measure({name: tracks[name]}, {name: labels}, resamples=0)
        row[f"{method}: AUC"] = single.values.get(FRAME_AUC)
        pieces = cut(tracks[name], labels)
        row[f"{method}: peak in event"] = peak_in_event(pieces) if pieces.is_mixed else None
        row[f"{method}: highest"] = float(pieces.scores.max()) if len(pieces.scores) else None
    return row


def markdown(report: AnomalyReport) -> str:
    """Return the report as text with Markdown tables. Intervals are in brackets."""
    footage = report.footage
    lines = [
        _title(report),
        "",
        f"{_count(footage['videos'], 'video')} ({_duration(footage['seconds'])}): "
        f"{footage['videos with events']:.0f} with {_count(footage['events'], 'event')} "
        f"({_duration(footage['seconds of events'])}), {footage['normal videos']:.0f} normal "
        f"({_duration(footage['seconds of normal videos'])}). 95 % intervals: bootstrap over videos.",
    ]
    lines += _problems(report)
    lines += ["", metrics_markdown(report.rows)]
    if any(FALSE_ALARMS in row.values for row in report.rows.values()):
        seconds = footage["seconds of normal videos"]
        lines.append(
            f"Alarms: runs of clips with a score from {report.threshold:g}. False alarms: those in normal videos; in "
            f"{_duration(seconds)}, one alarm is {3600 / seconds:.3g} per hour."
        )
    if report.kinds:
        metric = FRAME_AUC if report.labels.is_timed else VIDEO_AUC
        columns = [name for name in (*report.rows, OWN_KIND) if any(name in rows for rows in report.kinds.values())]
        lines += ["", f"{metric} by kind, against normal time:", ""]
        lines += ["| kind | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
        for kind, rows in report.kinds.items():
            cells = [_cell(rows[name], metric) if name in rows else "–" for name in columns]
            lines.append(f"| {printable(kind)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _title(report: AnomalyReport) -> str:
    labels = report.labels
    if labels.benchmark is None:
        return f"Labels: {labels.source}."
    scored = len(labels.videos) - len(report.failed)
    if report.is_whole_benchmark:
        return f"All {scored} test videos of {labels.benchmark}."
    return (
        f"{scored} of the {labels.test_videos} test videos of {labels.benchmark}: a part of the test set, "
        "not comparable with published results."
    )


def _problems(report: AnomalyReport) -> list[str]:
    def listed(names: Sequence[str]) -> str:
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        return ", ".join(map(printable, names[:_LISTED])) + more

    problems = [
        ("Missing", report.labels.missing),
        ("Not scored", [f"{name}: {reason}" for name, reason in report.failed.items()]),
        ("Left out, without labels", report.labels.unlabelled),
        ("With events outside of the scored time", report.unscored),
    ]
    return [
        line
        for text, names in problems
        if names
        for line in ("", f"{text}: {_count(len(names), 'video')} ({listed(names)}).")
    ]


def metrics_markdown(rows: Mapping[str, Metrics]) -> str:
    """Return a Markdown table with a row per method. Intervals are in brackets."""
    metrics = [name for name in METRICS if any(name in row.values for row in rows.values())]
    lines = ["| score | " + " | ".join(metrics) + " |", "|" + "---|" * (len(metrics) + 1)]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(_cell(row, metric) for metric in metrics) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: Metrics, metric: str) -> str:
    if metric not in row.values:
        return "–"
    digits = 1 if metric == FALSE_ALARMS else 3
    interval = row.intervals.get(metric)
    brackets = f" ({interval.low:.{digits}f}…{interval.high:.{digits}f})" if interval else ""
    return f"{row.values[metric]:.{digits}f}{brackets}"


def _count(number: float, noun: str) -> str:
    return f"{number:.0f} {noun}" + ("" if number == 1 else "s")


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def as_json(report: AnomalyReport) -> dict[str, Any]:
    """Return the report as JSON values."""
    labels = report.labels
    return {
        "labels": labels.source,
        "benchmark": labels.benchmark,
        "test_videos": labels.test_videos or None,
        "is_whole_benchmark": report.is_whole_benchmark,
        "missing": list(labels.missing),
        "failed": dict(report.failed),
        "unlabelled": list(labels.unlabelled),
        "events_outside_scored_time": list(report.unscored),
        "footage": {name.replace(" ", "_"): value for name, value in report.footage.items()},
        "threshold": report.threshold,
        "scores": _rows_as_json(report.rows),
        "kinds": {kind: _rows_as_json(rows) for kind, rows in report.kinds.items()},
    }


def _rows_as_json(rows: Mapping[str, Metrics]) -> list[dict[str, Any]]:
    return [
        {
            "method": method,
            "status": "computed" if method == CHANCE else "measured",
            "values": dict(row.values),
            "intervals": {name: asdict(interval) for name, interval in row.intervals.items()},
        }
        for method, row in rows.items()
    ]


def write_videos(report: AnomalyReport, path: Path) -> None:
    """Write the results per video as a CSV table. A metric that is not defined is empty."""
    with atomic_write(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(report.videos[0]))
        table.writeheader()
        table.writerows(report.videos)


def match_scores(scores: Scores, names: VideoNames) -> dict[str, Sequence[ScoredClip]]:
    """Assign scores to videos. Return them by the name of the video.

    Raises:
        InvalidInputError: scores belong to no video, or a video has several.
    """
    matched: dict[str, Sequence[ScoredClip]] = {}
    for key, clips in scores.items():
        name = names.find(key)
        if name is None or name in matched:
            reason = "there is no such video" if name is None else f"'{name}' has other scores"
            raise InvalidInputError(f"the scores of '{key}' cannot be used", why=reason, fix="remove or rename them")
        matched[name] = clips
    return matched
