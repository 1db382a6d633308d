"""One way to name a benchmark and its files, for training, evaluation and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from var_plugin.errors import InvalidInputError
from var_plugin.evaluation.benchmarks.pairs import Pair, Split
from var_plugin.evaluation.benchmarks.ucfcrime_ar import ucfcrime_ar
from var_plugin.evaluation.benchmarks.xdviolence_ar import xdviolence_ar
from var_plugin.evaluation.paper_results import BenchmarkName


@dataclass(frozen=True)
class BenchmarkFiles:
    """Where a benchmark lies.

    Attributes:
        benchmark: ``ucfcrime-ar`` or ``xdviolence-ar``.
        annotations: Folder with the caption workbooks, or with the lists.
        rgb: Folder with I3D-RGB features of all videos.
        flow: The same for I3D-Flow; None for RGB alone.
        audio: Folder with VGGish features; XDViolence-AR needs it.
    """

    benchmark: BenchmarkName
    annotations: Path
    rgb: Path
    flow: Path | None = None
    audio: Path | None = None


def load_pairs(files: BenchmarkFiles, split: Split) -> list[Pair]:
    """The pairs of one split.

    Raises:
        InvalidInputError: If XDViolence-AR comes without a folder of sound features.
        MediaNotFoundError: If anything is missing; the message counts and lists it.
    """
    if files.benchmark == "ucfcrime-ar":
        return ucfcrime_ar(files.annotations, rgb=files.rgb, flow=files.flow, split=split)
    if files.audio is None:
        raise InvalidInputError(
            "XDViolence-AR needs the VGGish features",
            why="the sound of a video is its query",
            fix="pass the folder with audio features",
        )
    return xdviolence_ar(files.annotations, rgb=files.rgb, flow=files.flow, audio=files.audio, split=split)
