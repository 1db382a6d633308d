"""Labels of anomalous events in videos: own CSV tables, and the annotations of UCF-Crime and XD-Violence.

| source | recognised by | content |
|---|---|---|
| CSV of spans | columns `video,start,end`, optionally `kind` | seconds; a video without a span is normal |
| CSV of frames | a column `<kind>_per_frame`, and `video` or `file` | a string with 0 or 1 per frame, evenly spaced |
| UCF-Crime | lines `Abuse028_x264.mp4  Abuse  165  240  -1  -1` | frames at 30 fps, both inclusive, from 1; -1: none |
| XD-Violence | lines `NAME_label_B1-0-0 26 80 210 288` | frames at 24 fps, from 0, the end exclusive |
| names of XD-Violence | no file; names with `_label_` | the kinds of a video, without times |

The formats of the benchmarks are those of `Temporal_Anomaly_Annotation.txt` in WaqasSultani/AnomalyDetectionCVPR2018
with `Evaluate_Anomaly_Detector.m`, and of `annotations.txt` with `list/make_gt.py` in Roc-Ng/XDVioDet.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath

from var_plugin.errors import InvalidInputError, MediaNotFoundError, os_error_message
from var_plugin.evaluation.csv_tables import read_csv
from var_plugin.media.files import VIDEO_SUFFIXES, find_videos

UCF_FPS, XD_FPS = 30.0, 24.0
UCF_TEST_VIDEOS, XD_TEST_VIDEOS = 290, 800

UCF_KINDS = {
    "Abuse": "assault", "Arson": "fire", "RoadAccidents": "traffic accident", "Shoplifting": "theft",
    "Stealing": "theft",
}  # fmt: skip
"""Event kinds of UCF-Crime classes with another name. Other classes are their own kind in lower case."""
XD_KINDS = {
    "B1": "fighting", "B2": "shooting", "B4": "riot", "B5": "assault", "B6": "traffic accident", "G": "explosion",
}  # fmt: skip
"""Event kinds of the codes in file names of XD-Violence."""

_UCF_NORMAL = "Normal"
_XD_LABEL = re.compile(r"_label_([A-Z0-9-]+)$")
_PER_FRAME = "_per_frame"
_UNKNOWN_KIND = "anomaly"


@dataclass(frozen=True)
class Event:
    """A labelled event from `start` to `end` seconds. The end is infinite if the event lasts until the video ends."""

    start: float
    end: float
    kinds: tuple[str, ...]
    """Kinds that the label names; several if it does not say which one it is."""


@dataclass(frozen=True)
class VideoLabels:
    """The labels of one video."""

    events: tuple[Event, ...] = ()
    frames: int | None = None
    """If given, times are not seconds, but numbers of frames, of which the video has this many."""
    scope: tuple[tuple[float, float], ...] | None = None
    """The labelled time in seconds. None: all of the video. Other time is left out of the evaluation."""

    @property
    def is_normal(self) -> bool:
        """Whether the video has no event."""
        return not self.events

    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of all events."""
        return tuple(dict.fromkeys(kind for event in self.events for kind in event.kinds))

    def in_seconds(self, end: float) -> VideoLabels:
        """Return the labels in seconds of a video that ends at `end` seconds."""
        if self.frames is None:
            return self
        step = end / self.frames
        return VideoLabels(tuple(Event(event.start * step, event.end * step, event.kinds) for event in self.events))


@dataclass(frozen=True)
class AnomalyLabels:
    """The labels of a collection of videos."""

    source: str
    """Format of the labels."""
    videos: Mapping[str, VideoLabels]
    """By name of the video, as `VideoNames` returns it. Only videos that exist."""
    missing: Sequence[str] = ()
    """Labelled videos that do not exist."""
    unlabelled: Sequence[str] = ()
    """Existing videos that a benchmark does not label. They are left out."""
    is_timed: bool = True
    """Whether the times of events are known. If not, an event covers the whole video."""
    benchmark: str | None = None
    test_videos: int = 0
    """Number of videos in the test set of the benchmark."""


@dataclass
class VideoNames:
    """Names of existing videos. A video is also known by its file name, with and without suffix."""

    names: Sequence[str]
    _known: dict[str, set[str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.names:
            for alias in (name, PurePosixPath(name).name, _stem(name)):
                self._known.setdefault(alias, set()).add(name)

    @classmethod
    def in_folder(cls, folder: Path) -> tuple[VideoNames, dict[str, Path]]:
        """Return the names of the videos in a folder, which are their relative paths, and their files."""
        root = folder if folder.is_dir() else folder.parent
        files = {video.relative_to(root).as_posix(): video for video in find_videos(folder)}
        return cls(list(files)), files

    def find(self, name: str) -> str | None:
        """Return the name of the video that `name` refers to, or None.

        Raises:
            InvalidInputError: the name is that of several videos.
        """
        matches = self._known.get(name) or self._known.get(_stem(name), set())
        if len(matches) > 1:
            raise InvalidInputError(
                f"'{name}' is the name of {len(matches)} videos",
                why=", ".join(sorted(matches)),
                fix="use the path within the folder, such as north/a.mp4",
            )
        return next(iter(matches), None)


def load_labels(annotations: Path | None, names: VideoNames) -> AnomalyLabels:
    """Read labels in one of the formats of this module. The content decides which.

    Args:
        annotations: the file. None: the labels in the file names of XD-Violence.
        names: the existing videos.

    Raises:
        MediaNotFoundError: the file does not exist.
        InvalidInputError: the format is unknown, a line is invalid, or no labelled video exists.
    """
    if annotations is None:
        return _from_xd_names(names)
    if annotations.suffix.lower() == ".csv":
        return _from_csv(annotations, names)
    return _from_benchmark(annotations, names)


def _from_csv(path: Path, names: VideoNames) -> AnomalyLabels:
    columns, rows = read_csv(path, missing="pass a CSV table with the columns video, start, end and kind")
    frame_columns = [column for column in columns if column.endswith(_PER_FRAME)]
    if frame_columns and {"video", "file"} & set(columns):
        name_column = "video" if "video" in columns else "file"
        return _collect(
            "CSV of frames",
            names,
            ((row[name_column], _frame_labels(row, frame_columns, f"{path}, row {number}"))
             for number, row in enumerate(rows, start=2)),
        )  # fmt: skip
    if not {"video", "start", "end"} <= set(columns) <= {"video", "start", "end", "kind"}:
        raise InvalidInputError(
            f"{path} does not have the right columns",
            why=f"it has {', '.join(columns)}; video, start and end are required, kind is optional",
            fix="rename the columns in the first line",
        )
    events: dict[str, list[Event]] = {}
    for number, row in enumerate(rows, start=2):
        event = _csv_event(row, f"{path}, row {number}")
        events.setdefault(row["video"].strip(), []).extend([event] if event else [])
    labels = _collect("CSV of spans", names, ((name, VideoLabels(tuple(spans))) for name, spans in events.items()))
    normal = {name: VideoLabels() for name in names.names if name not in labels.videos}
    return AnomalyLabels(labels.source, {**labels.videos, **normal}, labels.missing)


def _csv_event(row: Mapping[str, str], place: str) -> Event | None:
    start, end, kind = (row.get(column, "").strip() for column in ("start", "end", "kind"))
    if not start and not end:
        if kind not in ("", "normal"):
            raise InvalidInputError(
                f"{place}: '{kind}' has no times", fix="write start and end in seconds; an empty end is the video's end"
            )
        return None
    try:
        first, last = float(start or 0), float(end or math.inf)
    except ValueError as error:
        raise InvalidInputError(f"{place}: '{start}' and '{end}' are not times", fix="write seconds") from error
    if not (0 <= first < last and math.isfinite(first)):
        raise InvalidInputError(
            f"{place}: {start} to {end} s is not a valid span", fix="write a start from 0 and an end after it"
        )
    return Event(first, last, (kind or _UNKNOWN_KIND,))


def _frame_labels(row: Mapping[str, str], columns: Sequence[str], place: str) -> VideoLabels:
    events: list[Event] = []
    count = len(row[columns[0]].strip())
    for column in columns:
        text, position = row[column].strip(), 0
        if not text or set(text) - {"0", "1"} or len(text) != count:
            raise InvalidInputError(
                f"{place}: {column} is '{text[:40]}'", why="it has one 0 or 1 per frame", fix="correct the row"
            )
        for digit, run in groupby(text):
            length = sum(1 for _ in run)
            if digit == "1":
                kind = column.removesuffix(_PER_FRAME).replace("_", " ")
                events.append(Event(position, position + length, (kind,)))
            position += length
    return VideoLabels(tuple(events), frames=count)


def _from_benchmark(path: Path, names: VideoNames) -> AnomalyLabels:
    if not path.is_file():
        raise MediaNotFoundError(
            f"{path} does not exist",
            fix="pass a CSV of spans, or the annotation file of UCF-Crime or XD-Violence",
        )
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"cannot read {path}", why=os_error_message(error), fix="pass a text file in UTF-8"
        ) from error
    if lines and all(_xd_label(line[0]) for line in lines):
        return _from_xd(path, lines, names)
    if lines and all(len(line) >= 4 and not _is_integer(line[1]) for line in lines):
        return _from_ucf(path, lines, names)
    raise InvalidInputError(
        f"{path} is not a list of anomalies",
        why="its lines are neither those of UCF-Crime ('Abuse028_x264.mp4 Abuse 165 240 -1 -1') nor those of"
        " XD-Violence ('NAME_label_B1-0-0 26 80')",
        fix="write a CSV table with the columns video, start, end and kind",
    )


def _from_ucf(path: Path, lines: Sequence[Sequence[str]], names: VideoNames) -> AnomalyLabels:
    def read(line: Sequence[str], place: str) -> VideoLabels:
        label = line[1]
        kinds = (UCF_KINDS.get(label, label.lower()),)
        spans = [span for span in _frame_spans(line[2:], place) if span != (-1, -1)]
        if (label == _UCF_NORMAL) != (not spans) or any(not 1 <= start <= end for start, end in spans):
            raise InvalidInputError(
                f"{place}: the frames of a video with the label {label} are {' '.join(line[2:])}",
                why="a normal video has only -1, any other video has a first and a last frame, counted from 1",
                fix="download the annotations again",
            )
        # Both frames are inclusive and counted from 1.
        return VideoLabels(tuple(Event((start - 1) / UCF_FPS, end / UCF_FPS, kinds) for start, end in spans))

    labels = _collect("UCF-Crime", names, _read_lines(path, lines, read))
    unlabelled = [name for name in names.names if name not in labels.videos]
    return AnomalyLabels(
        "annotations of UCF-Crime", labels.videos, labels.missing, unlabelled, True, "UCF-Crime", UCF_TEST_VIDEOS
    )


def _from_xd(path: Path, lines: Sequence[Sequence[str]], names: VideoNames) -> AnomalyLabels:
    def read(line: Sequence[str], place: str) -> VideoLabels:
        kinds, spans = xd_kinds(line[0]), _frame_spans(line[1:], place)
        if any(not 0 <= start < end for start, end in spans) or (kinds and not spans):
            raise InvalidInputError(
                f"{place}: the frames {' '.join(line[1:])} are not spans", fix="download the annotations again"
            )
        return VideoLabels(tuple(Event(start / XD_FPS, end / XD_FPS, kinds) for start, end in spans))

    labels = _collect("XD-Violence", names, _read_lines(path, lines, read))
    # The file lists violent videos only. Normal ones are known by their names.
    rest = [name for name in names.names if name not in labels.videos]
    normal = {name: VideoLabels() for name in rest if _xd_label(name) and not xd_kinds(name)}
    return AnomalyLabels(
        "annotations of XD-Violence",
        {**labels.videos, **normal},
        labels.missing,
        [name for name in rest if name not in normal],
        True,
        "XD-Violence",
        XD_TEST_VIDEOS,
    )


def _from_xd_names(names: VideoNames) -> AnomalyLabels:
    named = [name for name in names.names if _xd_label(name)]
    if not named:
        raise InvalidInputError(
            "there are no labels",
            why="no file name contains a label of XD-Violence such as _label_B1-0-0",
            fix="pass --annotations: a CSV table with the columns video, start, end and kind, or a benchmark's file",
        )
    videos = {name: VideoLabels((Event(0.0, math.inf, kinds),) if (kinds := xd_kinds(name)) else ()) for name in named}
    unlabelled = [name for name in names.names if name not in videos]
    return AnomalyLabels("file names of XD-Violence", videos, (), unlabelled, is_timed=False)


def xd_kinds(name: str) -> tuple[str, ...]:
    """Return the kinds in a file name of XD-Violence, such as `v=abc__#1_label_B1-B5-0`. Normal videos have none.

    Raises:
        InvalidInputError: the name has no label, or one with an unknown code.
    """
    label = _xd_label(name)
    if label == "A":
        return ()
    kinds = tuple(XD_KINDS.get(code, "") for code in label.split("-") if code != "0")
    if not kinds or not all(kinds):
        raise InvalidInputError(
            f"'{name}' has no label of XD-Violence",
            why=f"the codes are A, {', '.join(XD_KINDS)}",
            fix="rename the file",
        )
    return kinds


def _xd_label(name: str) -> str:
    """Return the codes in a file name, such as `B1-B5-0`, or an empty string."""
    match = _XD_LABEL.search(_stem(name))
    return match[1] if match else ""


def _stem(name: str) -> str:
    """Return the file name without folder and without the suffix of a video. Names may contain other dots."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name


def _read_lines(
    path: Path, lines: Sequence[Sequence[str]], read: Callable[[Sequence[str], str], VideoLabels]
) -> Iterable[tuple[str, VideoLabels]]:
    return ((line[0], read(line, f"{path}, line {number}")) for number, line in enumerate(lines, start=1))


def _collect(source: str, names: VideoNames, labels: Iterable[tuple[str, VideoLabels]]) -> AnomalyLabels:
    """Return the labels by video, and the names without one."""
    videos: dict[str, VideoLabels] = {}
    missing: list[str] = []
    for label, video_labels in labels:
        name = names.find(label)
        if name is None:
            missing.append(label)
        elif name in videos:
            raise InvalidInputError(f"'{name}' is labelled twice", why=f"as '{label}' as well", fix="join the lines")
        else:
            videos[name] = video_labels
    if missing and not videos:
        raise InvalidInputError(
            f"none of the {len(missing)} labelled videos exists",
            why=", ".join(missing[:3]),
            fix="check the folder and the names in the annotations",
        )
    return AnomalyLabels(source, videos, missing)


def _frame_spans(numbers: Sequence[str], place: str) -> list[tuple[int, int]]:
    if len(numbers) % 2 or not all(_is_integer(number) for number in numbers):
        raise InvalidInputError(
            f"{place}: '{' '.join(numbers)[:80]}' are not pairs of frames", fix="download the annotations again"
        )
    frames = [int(number) for number in numbers]
    return list(zip(frames[::2], frames[1::2], strict=True))


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,9}", text) is not None
