"""Pairs of a video and its query, and their clip features.

Features are stored in one ``.npy`` file per video, stream and crop. `find_features` finds the files by name,
`read_streams` reads them.
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

MAX_LISTED = 5
"""Maximum number of missing files that an error names."""


@dataclass(frozen=True)
class Pair:
    """One video and its query: its caption, or its audio track.

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
    """Find the feature file of every video below a folder.

    Args:
        folder: Holds ``<name><suffix>.npy``, in any subfolders.
        names: Video names without extension.
        suffixes: Tried in this order, such as ``("__0", "")``.

    Returns:
        File by name, in the order of the names.

    Raises:
        MediaNotFoundError: The folder or files are missing. The message gives their number and the first ones.
    """
    if not folder.is_dir():
        raise MediaNotFoundError(f"the feature folder {folder} does not exist", fix="download or extract the features")
    files = {path.stem: path for path in folder.rglob("*.npy")}
    paths = {
        name: next((files[name + suffix] for suffix in suffixes if name + suffix in files), None) for name in names
    }
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        first = ", ".join(f"{name}{suffixes[0]}.npy" for name in missing[:MAX_LISTED])
        more = f" and {len(missing) - MAX_LISTED} more" if len(missing) > MAX_LISTED else ""
        raise MediaNotFoundError(
            f"{len(missing)} of {len(paths)} feature files are missing in {folder}: {first}{more}",
            why=f"the folder holds {len(files)} .npy files",
            fix="add the missing files; results on a part of the benchmark cannot be compared",
        )
    return {name: path for name, path in paths.items() if path is not None}


def read_streams(pair: Pair) -> Streams:
    """Read the features of a pair and cut them to the shortest stream.

    Flow needs two frames, so its sequence is often one clip shorter. The last clip of RGB and audio is then dropped, as
    in the code that published the XD-Violence features (row 28 of the decisions in docs/alan.md).

    Raises:
        UnreadableMediaError: A file holds no finite ``(time, dim)`` array.
        InvalidInputError: The lengths of two streams differ by more than 10 % and more than one clip.
    """
    object_clips = _read(pair.object_clips)
    motion_clips = None if pair.motion_clips is None else _read(pair.motion_clips)
    audio_clips = None if pair.audio_clips is None else _read(pair.audio_clips)
    lengths = [len(clips) for clips in (object_clips, motion_clips, audio_clips) if clips is not None]
    shortest, longest = min(lengths), max(lengths)
    if longest - shortest > max(1, longest // 10):
        raise InvalidInputError(
            f"the streams of {pair.video_id} have {' and '.join(map(str, lengths))} clips",
            why="the streams of one video must have the same clips",
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
            fix="use one file per crop, as in the published features",
        )
    result: Clips = clips.astype(np.float32, copy=False)
    return result
