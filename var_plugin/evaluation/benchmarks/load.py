"""Files of a benchmark, for training, evaluation and the command line."""

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
    """Locations of the files of a benchmark.

    Attributes:
        benchmark: ``ucfcrime-ar`` or ``xdviolence-ar``.
        annotations: Folder with the caption workbooks or the lists.
        rgb: Folder with I3D-RGB features of all videos.
        flow: Folder with I3D-Flow features. None: RGB alone.
        audio: Folder with VGGish features. Required for XDViolence-AR.
    """

    benchmark: BenchmarkName
    annotations: Path
    rgb: Path
    flow: Path | None = None
    audio: Path | None = None


def load_pairs(files: BenchmarkFiles, split: Split) -> list[Pair]:
    """Return the pairs of one split.

    Raises:
        InvalidInputError: XDViolence-AR has no folder of audio features.
        MediaNotFoundError: Files are missing. The message gives their number and the first ones.
    """
    if files.benchmark == "ucfcrime-ar":
        return ucfcrime_ar(files.annotations, rgb=files.rgb, flow=files.flow, split=split)
    if files.audio is None:
        raise InvalidInputError(
            "XDViolence-AR needs the VGGish features",
            why="the audio track of a video is its query",
            fix="pass --audio with the folder of VGGish features",
        )
    return xdviolence_ar(files.annotations, rgb=files.rgb, flow=files.flow, audio=files.audio, split=split)
