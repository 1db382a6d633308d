"""Videos with what is to be found in them: one's own, as a table, and the public benchmarks, as they were released."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from var_plugin.errors import InvalidInputError, MediaNotFoundError, os_error_message
from var_plugin.evaluation.benchmarks.pairs import LISTED, Split
from var_plugin.evaluation.benchmarks.ucfcrime_ar import read_captions
from var_plugin.evaluation.benchmarks.xdviolence_ar import NORMAL_MARK, read_names
from var_plugin.media.files import find_videos

CollectionName = Literal["own", "ucfcrime-ar", "xdviolence-ar", "uca"]

UCA_FILES: dict[Split, str] = {"train": "UCFCrime_Train.json", "test": "UCFCrime_Test.json"}

_COLUMNS = ("video", "caption", "start", "end", "anomalous")
_TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": None}


@dataclass(frozen=True)
class Captioned:
    """A video, or a span of it, and the query that it answers."""

    video: Path
    caption: str | None
    """None: the video's own sound is the query."""
    span: tuple[float, float] | None = None
    """Seconds; None: the whole video."""
    anomalous: bool | None = None
    """Whether what is shown is abnormal; None: nobody said."""


def captioned(name: CollectionName, videos: Path, annotations: Path, split: Split) -> list[Captioned]:
    """Return what is to be found in the videos of a collection.

    Args:
        name: "own": `annotations` is a table in CSV with the columns video and caption, and, if known, start and end in
            seconds and anomalous (1 or 0); it knows no splits. "ucfcrime-ar": the folder of the caption workbooks;
            English captions. "xdviolence-ar": the folder of the lists. "uca": the folder of UCF-Crime Annotation.
        videos: a folder that holds the videos, in any subfolders.
        annotations: see `name`.
        split: "train" or "test".

    Raises:
        MediaNotFoundError: annotations or videos are missing; it counts them and lists the first.
        InvalidInputError: the annotations are not what they should be.
    """
    found = _Found(videos)
    if name == "own":
        return _read_table(annotations, found)
    if name == "uca":
        return _read_uca(annotations, found, split)
    if name == "ucfcrime-ar":
        rows = read_captions(annotations, split)
        files = found.named(row.name for row in rows)
        return [Captioned(files[row.name], row.english, anomalous=row.anomalous) for row in rows]
    names = read_names(annotations, split)
    files = found.named(names)
    return [Captioned(files[one], None, anomalous=NORMAL_MARK not in one) for one in names]


class _Found:
    """The videos of a folder by name without ending, by name, and by path inside the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Path] = {}
        root = folder if folder.is_dir() else folder.parent
        for video in find_videos(folder):
            for name in (video.stem, video.name, video.relative_to(root).as_posix()):
                self._files.setdefault(name, video)

    def named(self, names: Iterable[str]) -> Mapping[str, Path]:
        """Return the file of every name."""
        wanted = dict.fromkeys(names)
        missing = [name for name in wanted if name not in self._files]
        if missing:
            more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
            raise MediaNotFoundError(
                f"{len(missing)} of {len(wanted)} videos are missing in {self._folder}: "
                f"{', '.join(missing[:LISTED])}{more}",
                fix="complete the folder; results on a part cannot be compared",
            )
        return {name: self._files[name] for name in wanted}


def _read_table(path: Path, found: _Found) -> list[Captioned]:
    if not path.is_file():
        raise MediaNotFoundError(f"{path} does not exist", fix="pass a table in CSV with the columns video and caption")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns, rows = table.fieldnames or [], list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(
            f"cannot read {path} as CSV", why=os_error_message(error), fix="save it as CSV in UTF-8"
        ) from error
    if not {"video", "caption"} <= set(columns) <= set(_COLUMNS):
        raise InvalidInputError(
            f"{path} has the columns {', '.join(columns)}",
            why=f"video and caption are needed, and {', '.join(_COLUMNS[2:])} are known",
            fix="name the columns like that in the first line",
        )
    if not rows:
        raise InvalidInputError(f"{path} has no row below its names")
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise InvalidInputError(
                f"{path}, row {number}: it has more cells than there are columns",
                fix="put a caption with commas in quotes",
            )
    files = found.named(row["video"] for row in rows)
    return [_from_row(row, files, f"{path}, row {number}") for number, row in enumerate(rows, start=2)]


def _from_row(row: dict[str, str], files: Mapping[str, Path], place: str) -> Captioned:
    values = {name: (row.get(name) or "").strip() for name in _COLUMNS}
    truth = values["anomalous"].lower()
    if truth not in _TRUTHS:
        raise InvalidInputError(f"{place}: anomalous is '{values['anomalous']}'", fix="write 1, 0 or nothing")
    if not values["caption"]:
        raise InvalidInputError(f"{place}: there is no caption", fix="write one, or leave the row out")
    return Captioned(
        files[row["video"]], values["caption"], _span(values["start"], values["end"], place), _TRUTHS[truth]
    )


def _span(start: str, end: str, place: str) -> tuple[float, float] | None:
    if start == end == "":
        return None
    try:
        span = float(start), float(end)
    except ValueError as error:
        raise InvalidInputError(
            f"{place}: '{start}' to '{end}' are no times", fix="write seconds, such as 12.5, or neither"
        ) from error
    if not 0 <= span[0] < span[1] < math.inf:
        raise InvalidInputError(f"{place}: {start} to {end} s is no span", fix="let it end after it starts")
    return span


def _read_uca(folder: Path, found: _Found, split: Split) -> list[Captioned]:
    path = folder / UCA_FILES[split]
    if not path.is_file():
        raise MediaNotFoundError(
            f"{path} does not exist", why="it holds sentences and times", fix="get UCF-Crime Annotation (CVPR 2024)"
        )
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"cannot read {path} as JSON", why=os_error_message(error), fix="get the file again"
        ) from error
    files = found.named(listed)
    return [
        Captioned(files[name], " ".join(sentence.split()), (start, end))
        for name, video in listed.items()
        for (start, end), sentence in zip(video["timestamps"], video["sentences"], strict=True)
    ]
