"""XDViolence-AR: 4,754 videos whose audio track is the query (video-audio), from the lists of XD-Violence.

The lists (``audio.list`` and ``audio_test.list`` of github.com/Roc-Ng/XDVioDet) give the path of one audio feature file
per video on the authors' machine. Only the file name is used.
"""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from var_plugin.errors import InvalidInputError, MediaNotFoundError, os_error_message
from var_plugin.evaluation.benchmarks.pairs import Pair, Split, find_features

LIST_FILES: dict[Split, str] = {"train": "audio.list", "test": "audio_test.list"}

CROP_SUFFIXES = ("__0",)
"""The centre crop of the five (row 26)."""

AUDIO_SUFFIX = "__vggish"
NORMAL_MARK = "_label_A"


def read_names(lists: Path, split: Split) -> list[str]:
    """Return the video names of a split, such as ``Bad.Boys.1995__#00-26-51_00-27-53_label_B2-0-0``.

    Raises:
        MediaNotFoundError: The list does not exist.
        InvalidInputError: A line does not name an audio feature file.
    """
    path = lists / LIST_FILES[split]
    if not path.is_file():
        raise MediaNotFoundError(
            f"{path} does not exist",
            why="the official split of XD-Violence is read from it",
            fix="download the folder list/ of github.com/Roc-Ng/XDVioDet",
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"cannot read {path}", why=os_error_message(error), fix="download the file again"
        ) from error
    # PureWindowsPath splits at both kinds of separators.
    stems = [PureWindowsPath(line.strip()).name.removesuffix(".npy") for line in lines if line.strip()]
    for stem in stems:
        if not stem.endswith(AUDIO_SUFFIX):
            raise InvalidInputError(
                f"{path} names '{stem}'", why=f"audio features end in {AUDIO_SUFFIX}.npy", fix="use the audio lists"
            )
    return [stem.removesuffix(AUDIO_SUFFIX) for stem in stems]


def xdviolence_ar(lists: Path, *, rgb: Path, flow: Path | None, audio: Path, split: Split) -> list[Pair]:
    """Return the pairs of one split.

    Args:
        lists: Folder with the official lists.
        rgb: Folder with I3D-RGB features, ``<name>__0.npy`` (the centre of five crops), in any subfolders.
        flow: Folder with I3D-Flow features. None: RGB alone.
        audio: Folder with VGGish features, ``<name>__vggish.npy``.
        split: ``train`` (3,954 videos) or ``test`` (800).

    Raises:
        MediaNotFoundError: A list or features are missing.
    """
    names = read_names(lists, split)
    objects = find_features(rgb, names, suffixes=CROP_SUFFIXES)
    motions = None if flow is None else find_features(flow, names, suffixes=CROP_SUFFIXES)
    audio_files = find_features(audio, names, suffixes=(AUDIO_SUFFIX,))
    return [
        Pair(
            video_id=name,
            anomalous=NORMAL_MARK not in name,
            object_clips=objects[name],
            motion_clips=None if motions is None else motions[name],
            audio_clips=audio_files[name],
        )
        for name in names
    ]
