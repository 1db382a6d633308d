"""UCFCrime-AR: 1,900 surveillance videos with one caption each (video-text), from the released caption files.

The two workbooks contain the official UCF-Crime split. Most, but not all, video names end with a line break, normal
videos are numbered with an underscore only in the test split, and the sheet names differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from var_plugin.config import require
from var_plugin.errors import InvalidInputError, MediaNotFoundError
from var_plugin.evaluation.benchmarks.pairs import Pair, Split, find_features

COLUMNS = ("Video Name", "Chinese Text", "English Text")

CROP_SUFFIXES = ("__0", "")
"""The centre crop of the ten (row 26), or features without crops."""


class Caption(NamedTuple):
    """One row of a workbook: the video as ``<class>/<name>``, and its captions."""

    category: str
    name: str
    chinese: str
    english: str

    @property
    def anomalous(self) -> bool:
        """Whether the video belongs to one of the 13 anomaly classes."""
        return "Normal" not in self.category


def read_captions(folder: Path, split: Split) -> list[Caption]:
    """Read ``ucf_crime_<split>.xlsx``.

    Raises:
        MediaNotFoundError: The workbook does not exist.
        InvalidInputError: Its columns differ from the release.
        MissingDependencyError: openpyxl is not installed.
    """
    require("train", "openpyxl")
    from openpyxl import load_workbook

    path = folder / f"ucf_crime_{split}.xlsx"
    if not path.is_file():
        raise MediaNotFoundError(
            f"{path} does not exist",
            why="the captions of UCFCrime-AR are read from it",
            fix="download it from github.com/Roc-Ng/VAR",
        )
    workbook = load_workbook(path, read_only=True)
    header, *rows = workbook.worksheets[0].iter_rows(max_col=len(COLUMNS), values_only=True)
    workbook.close()
    if header != COLUMNS:
        raise InvalidInputError(
            f"{path} does not have the columns of the release",
            why=f"it has {header} instead of {COLUMNS}",
            fix="download it from github.com/Roc-Ng/VAR",
        )
    return [_caption(*(str(cell).strip() for cell in row)) for row in rows]


def _caption(video: str, chinese: str, english: str) -> Caption:
    category, name = video.removesuffix(".mp4").split("/")
    return Caption(category, name, chinese, " ".join(english.split()))


def ucfcrime_ar(captions: Path, *, rgb: Path, flow: Path | None, split: Split) -> list[Pair]:
    """Return the pairs of one split. The English caption is the query, as in the paper.

    Args:
        captions: Folder with the two workbooks.
        rgb: Folder with I3D-RGB features, ``<name>__0.npy`` (the centre of ten crops) or ``<name>.npy``, each
            ``(time, dim)``, in any subfolders.
        flow: Folder with I3D-Flow features. None: RGB alone, because no Flow features of UCF-Crime are public (row 27).
        split: ``train`` (1,610 videos) or ``test`` (290).

    Raises:
        MediaNotFoundError: A workbook or features are missing.
    """
    rows = read_captions(captions, split)
    names = [row.name for row in rows]
    objects = find_features(rgb, names, suffixes=CROP_SUFFIXES)
    motions = None if flow is None else find_features(flow, names, suffixes=CROP_SUFFIXES)
    return [
        Pair(
            video_id=row.name,
            anomalous=row.anomalous,
            object_clips=objects[row.name],
            motion_clips=None if motions is None else motions[row.name],
            caption=row.english,
        )
        for row in rows
    ]
