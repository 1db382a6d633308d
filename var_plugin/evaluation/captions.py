"""Videos with captions: own videos with a CSV table, and the public benchmarks in their released formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, FiniteFloat, TypeAdapter, ValidationError

from var_plugin.errors import InvalidInputError, MediaNotFoundError, field_errors, os_error_message
from var_plugin.evaluation.benchmarks.pairs import MAX_LISTED, Split
from var_plugin.evaluation.benchmarks.ucfcrime_ar import read_captions
from var_plugin.evaluation.benchmarks.xdviolence_ar import NORMAL_MARK, read_names
from var_plugin.evaluation.csv_tables import read_csv
from var_plugin.media.files import find_videos
from var_plugin.types import Value

CollectionName = Literal["own", "ucfcrime-ar", "xdviolence-ar", "uca"]

UCA_FILES: dict[Split, str] = {"train": "UCFCrime_Train.json", "test": "UCFCrime_Test.json"}

_COLUMNS = ("video", "caption", "start", "end", "anomalous")
_LABELS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": None}


@dataclass(frozen=True)
class CaptionedVideo:
    """A video, or a span of it, and the query that it answers."""

    video: Path
    caption: str | None
    """None: the audio track of the video is the query."""
    span: tuple[float, float] | None = None
    """Start and end in seconds. None: the whole video."""
    anomalous: bool | None = None
    """Whether the content is abnormal. None: unlabelled."""


class _UcaVideo(Value):
    """A video of UCF-Crime Annotation. Its other fields are not used."""

    model_config = ConfigDict(extra="ignore")

    timestamps: tuple[tuple[FiniteFloat, FiniteFloat], ...]
    sentences: tuple[str, ...]


_UCA = TypeAdapter(dict[str, _UcaVideo])


def load_captions(name: CollectionName, videos: Path, annotations: Path, split: Split) -> list[CaptionedVideo]:
    """Return the captioned videos of a collection.

    Args:
        name: "own": `annotations` is a CSV table with the columns video and caption, and optionally start and end in
            seconds and anomalous (1 or 0); it has no splits. "ucfcrime-ar": the folder of the caption workbooks, of
            which the English captions are used. "xdviolence-ar": the folder of the lists. "uca": the folder of
            UCF-Crime Annotation.
        videos: a folder with the videos, in any subfolders.
        annotations: see `name`.
        split: "train" or "test".

    Raises:
        MediaNotFoundError: annotations or videos are missing. The message gives their number and the first ones.
        InvalidInputError: the annotations have another format.
    """
    folder = _VideoFolder(videos)
    if name == "own":
        return _read_table(annotations, folder)
    if name == "uca":
        return _read_uca(annotations, folder, split)
    if name == "ucfcrime-ar":
        rows = read_captions(annotations, split)
        files = folder.find(row.name for row in rows)
        return [CaptionedVideo(files[row.name], row.english, anomalous=row.anomalous) for row in rows]
    names = read_names(annotations, split)
    files = folder.find(names)
    return [CaptionedVideo(files[name], None, anomalous=NORMAL_MARK not in name) for name in names]


class _VideoFolder:
    """The videos of a folder by stem, file name, and relative path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Path] = {}
        root = folder if folder.is_dir() else folder.parent
        for video in find_videos(folder):
            for name in (video.stem, video.name, video.relative_to(root).as_posix()):
                self._files.setdefault(name, video)

    def find(self, names: Iterable[str]) -> Mapping[str, Path]:
        """Return the file of every name."""
        unique = dict.fromkeys(names)
        missing = [name for name in unique if name not in self._files]
        if missing:
            more = f" and {len(missing) - MAX_LISTED} more" if len(missing) > MAX_LISTED else ""
            raise MediaNotFoundError(
                f"{len(missing)} of {len(unique)} videos are missing in {self._folder}: "
                f"{', '.join(missing[:MAX_LISTED])}{more}",
                fix="add the missing videos; results on a part of the collection cannot be compared",
            )
        return {name: self._files[name] for name in unique}


def _read_table(path: Path, folder: _VideoFolder) -> list[CaptionedVideo]:
    columns, rows = read_csv(path, missing="pass a CSV table with the columns video and caption")
    if not {"video", "caption"} <= set(columns) <= set(_COLUMNS):
        raise InvalidInputError(
            f"{path} does not have the right columns",
            why=f"it has {', '.join(columns)}; video and caption are required, {', '.join(_COLUMNS[2:])} are optional",
            fix="rename the columns in the first line",
        )
    if not rows:
        raise InvalidInputError(f"{path} has no rows below the header", fix="add a row per caption")
    files = folder.find(row["video"] for row in rows)
    return [_from_row(row, files, f"{path}, row {number}") for number, row in enumerate(rows, start=2)]


def _from_row(row: dict[str, str], files: Mapping[str, Path], location: str) -> CaptionedVideo:
    values = {name: (row.get(name) or "").strip() for name in _COLUMNS}
    label = values["anomalous"].lower()
    if label not in _LABELS:
        raise InvalidInputError(
            f"{location}: anomalous is '{values['anomalous']}'", fix="write 1 or 0, or leave it empty"
        )
    if not values["caption"]:
        raise InvalidInputError(f"{location}: the caption is empty", fix="write a caption, or remove the row")
    span = _span(values["start"], values["end"], location)
    return CaptionedVideo(files[row["video"]], values["caption"], span, _LABELS[label])


def _span(start: str, end: str, location: str) -> tuple[float, float] | None:
    if start == end == "":
        return None
    try:
        span = float(start), float(end)
    except ValueError as error:
        raise InvalidInputError(
            f"{location}: '{start}' and '{end}' are not times",
            fix="write seconds, such as 12.5, or leave both empty",
        ) from error
    if not 0 <= span[0] < span[1] < math.inf:
        raise InvalidInputError(
            f"{location}: {start} to {end} s is not a valid span", fix="write a start from 0 and an end after it"
        )
    return span


def _read_uca(annotations: Path, folder: _VideoFolder, split: Split) -> list[CaptionedVideo]:
    path = annotations / UCA_FILES[split]
    if not path.is_file():
        raise MediaNotFoundError(
            f"{path} does not exist",
            why="it holds the sentences and their times",
            fix="download UCF-Crime Annotation (CVPR 2024)",
        )
    try:
        content = _UCA.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        why = os_error_message(error) if isinstance(error, OSError) else str(field_errors(error)[0])
        raise InvalidInputError(f"cannot read {path}", why=why, fix="download the file again") from error
    for name, video in content.items():
        if len(video.timestamps) != len(video.sentences):
            raise InvalidInputError(
                f"{path}: '{name}' has {len(video.sentences)} sentences and {len(video.timestamps)} times",
                fix="download the file again",
            )
    files = folder.find(content)
    return [
        CaptionedVideo(files[name], " ".join(sentence.split()), span)
        for name, video in content.items()
        for span, sentence in zip(video.timestamps, video.sentences, strict=True)
    ]
