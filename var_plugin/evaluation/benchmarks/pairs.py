"""A video and its query, and how their clip features are found and read.

Features come as one ``.npy`` file per video, stream and crop; `find_features` knows the names, `read_streams` the
shapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from var_plugin.errors import InvalidInputError, MediaNotFoundError, UnreadableMediaError

Split = Literal["train", "test"]

Clips = NDArray[np.float32]
"""(time, dim) features, one row per clip."""

LISTED = 5
"""How many missing files an error names."""


@dataclass(frozen=True)
class Pair:
    """One video with the one query that belongs to it: its caption, or its own sound.

    Features are arrays, or files that are read when the pair is used.
    """

    video_id: str
    anomalous: bool
    object_clips: Path | Clips
    motion_clips: Path | Clips | None = None
    audio_clips: Path | Clips | None = None
    caption: str | None = None


@dataclass(frozen=True)
class Streams:
    """The features of one pair, all of the same length: ``(time, dim)`` float32 each."""

    object_clips: Clips
    motion_clips: Clips | None
    audio_clips: Clips | None


def find_features(folder: Path, names: Iterable[str], *, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Find the feature file of every video anywhere below a folder.

    Args:
        folder: Holds ``<name><suffix>.npy``, flat or in subfolders (one per class, or train and test).
        names: Video names without ending.
        suffixes: Tried in this order, such as ``("__0", "")``.

    Returns:
        Name to file, in the order of the names.

    Raises:
        MediaNotFoundError: If the folder is missing, or the file of any name; it counts them and lists the first.
    """
    if not folder.is_dir():
        raise MediaNotFoundError(f"the feature folder {folder} does not exist", fix="download or extract the features")
    files = {path.stem: path for path in folder.rglob("*.npy")}
    found = {
        name: next((files[name + suffix] for suffix in suffixes if name + suffix in files), None) for name in names
    }
    missing = [name for name, path in found.items() if path is None]
    if missing:
        shown = ", ".join(f"{name}{suffixes[0]}.npy" for name in missing[:LISTED])
        more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
        raise MediaNotFoundError(
            f"{len(missing)} of {len(found)} feature files are missing in {folder}: {shown}{more}",
            why=f"the folder holds {len(files)} .npy files",
            fix="complete the folder; results on a part of the benchmark cannot be compared",
        )
    return {name: path for name, path in found.items() if path is not None}


def read_streams(pair: Pair) -> Streams:
    """Read the features of a pair and cut them to the shortest stream.

    Flow needs two frames, so its sequence is often one clip shorter; RGB and sound lose their last clip then, as in
    the code the XD-Violence features come from (alan.md section 3 and row 28 of section 10).

    Raises:
        UnreadableMediaError: If a file holds no ``(time, dim)`` array of finite numbers.
        InvalidInputError: If two streams differ by more than one clip in ten: they do not belong together.
    """
    object_clips = _read(pair.object_clips)
    motion_clips = None if pair.motion_clips is None else _read(pair.motion_clips)
    audio_clips = None if pair.audio_clips is None else _read(pair.audio_clips)
    lengths = [len(clips) for clips in (object_clips, motion_clips, audio_clips) if clips is not None]
    shortest, longest = min(lengths), max(lengths)
    if longest - shortest > max(1, longest // 10):
        raise InvalidInputError(
            f"the streams of {pair.video_id} have {' and '.join(map(str, lengths))} clips",
            why="streams of one video describe the same clips",
            fix="extract them with the same frame rate and clip length",
        )
    return Streams(
        object_clips[:shortest],
        None if motion_clips is None else motion_clips[:shortest],
        None if audio_clips is None else audio_clips[:shortest],
    )


def _read(source: Path | Clips) -> Clips:
    if not isinstance(source, Path):
        return source
    try:
        clips = np.load(source, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableMediaError(f"{source} cannot be read as features", why=str(error)) from error
    if clips.ndim != 2 or len(clips) == 0 or not np.isfinite(clips).all():
        raise UnreadableMediaError(
            f"{source} holds an array of shape {clips.shape}",
            why="a finite (time, dim) array with at least one clip is expected",
            fix="use one file per crop, as in the published feature sets",
        )
    result: Clips = clips.astype(np.float32, copy=False)
    return result
