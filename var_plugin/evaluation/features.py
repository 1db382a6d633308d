"""Clip features of one's own videos, as files that the benchmarks read: one `.npy` per video, named after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from var_plugin.encoders.suite import Suite
from var_plugin.encoders.video import embed_clips
from var_plugin.errors import UnsupportedModalityError, VarPluginError
from var_plugin.media.files import find_videos


def extract_features(videos: Path, out: Path, suite: Suite, *, rate: float, report: Callable[[Path, str], None]) -> int:
    """Write the clip features of every video below a folder; what is there already is left as it is.

    Args:
        videos: a folder of videos, or one.
        out: receives `<name of the video>.npy`, each (time, dim) float32, with the subfolders of `videos`.
        suite: its first space that takes video embeds the clips.
        rate: clips per second.
        report: told each video, and what went wrong with it or an empty text.

    Returns:
        How many videos failed.

    Raises:
        MediaNotFoundError, NoVideosFoundError: nothing to extract from.
        UnsupportedModalityError: the suite takes no video.
    """
    encoder = suite.encoders_for("video").frames
    if encoder is None:
        raise UnsupportedModalityError(f"suite '{suite.name}' has no encoder for frames", fix="choose another suite")
    failed = 0
    for video in find_videos(videos):
        target = out / video.relative_to(videos if videos.is_dir() else videos.parent).with_suffix(".npy")
        problem = ""
        if not target.exists():
            try:
                _write(target, embed_clips(video, encoder.reader, rate=rate).vectors)
            except VarPluginError as error:
                failed, problem = failed + 1, str(error)
        report(video, problem)
    return failed


def _write(target: Path, vectors: np.ndarray) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: an interrupted run goes on with the files that are missing.
    unfinished = target.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.save(file, vectors)
    unfinished.replace(target)
