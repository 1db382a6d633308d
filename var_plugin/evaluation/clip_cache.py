"""The clips of videos as vectors, kept: whatever is trained or measured on them looks at a video once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from var_plugin.config import settings
from var_plugin.encoders.base import ClipFeatureExtractor, VideoEncoder
from var_plugin.encoders.clip_features import ClipFeatures, embed_clips
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError, UnsupportedModalityError


class ClipCache:
    """Embeds videos, or reads what was embedded before.

    Args:
        reader: what makes clips of them.
        fingerprint: of what the clips' features depend on; another one, other features.
        folder: keeps them, about 7 MB for an hour of two clips a second and 256 dimensions; default: in the package's
            cache.
    """

    def __init__(self, extractor: ClipFeatureExtractor, fingerprint: str, folder: Path | None = None) -> None:
        self._extractor = extractor
        self._folder = (folder or settings().cache / "clips") / fingerprint

    def __call__(self, video: Path) -> ClipFeatures:
        """Return the clips of a video.

        Raises:
            InvalidInputError: the video has no frame; besides the errors of decoding.
        """
        file = self._folder / f"{self._key(video)}.npz"
        if not file.is_file():
            clips = embed_clips(video, self._extractor, fps=settings().fps)
            if not len(clips.times):
                raise InvalidInputError(f"{video} has no frame", fix="leave it out")
            _write(_vectors_of(file), lambda target: np.save(target, clips.vectors))
            _write(file, lambda target: np.savez(target, times=clips.times, usable=clips.usable, end=clips.end))
        # Mapped, not read: of many hours of clips as much is in memory as there is room for.
        vectors = np.asarray(np.load(_vectors_of(file), mmap_mode="c"))
        with np.load(file) as kept:
            return ClipFeatures(times=kept["times"], vectors=vectors, usable=kept["usable"], end=float(kept["end"]))

    def read(
        self, videos: Iterable[Path], report: Callable[[Path], None] = lambda video: None
    ) -> dict[Path, ClipFeatures]:
        """Return the clips of several videos; `report` is told each one that is done."""
        found: dict[Path, ClipFeatures] = {}
        for video in dict.fromkeys(videos):
            found[video] = self(video)
            report(video)
        return found

    def _key(self, video: Path) -> str:
        state = video.stat()
        seen = f"{video.absolute()}|{state.st_size}|{state.st_mtime_ns}|{settings().fps}"
        return hashlib.sha256(seen.encode()).hexdigest()[:24]


def clip_cache(suite: Suite, folder: Path | None = None) -> ClipCache:
    """Return the cache of a suite's clips; one made from another suite shares that one's where it sees the same.

    Raises:
        UnsupportedModalityError: the suite takes no video.
    """
    encoders, frames = suite.encoders_for("video"), video_encoder(suite)
    if suite.base and video_encoder(suite.base).extractor == frames.extractor:
        encoders = suite.base.encoders_for("video")
    return ClipCache(frames.extractor, encoders.space.fingerprint, folder)


def video_encoder(suite: Suite) -> VideoEncoder:
    """Return what sees videos in a suite.

    Raises:
        UnsupportedModalityError: nothing does.
    """
    frames = suite.encoders_for("video").video_encoder
    if frames is None:
        raise UnsupportedModalityError(f"suite '{suite.name}' has no encoder for frames", fix="choose another suite")
    return frames


def evenly(clips: ClipFeatures, count: int) -> ClipFeatures:
    """Return `count` clips at even distances, or all where there are fewer."""
    if len(clips.times) <= count:
        return clips
    rows = np.floor((np.arange(count) + 0.5) * len(clips.times) / count).astype(int)
    chosen = {name.name: getattr(clips, name.name)[rows] for name in fields(clips) if name.name != "end"}
    return replace(clips, **chosen)


def _vectors_of(file: Path) -> Path:
    return file.with_suffix(".npy")


def _write(file: Path, save: Callable[[BinaryIO], None]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f"{file.suffix}.part")
    with unfinished.open("wb") as target:
        save(target)
    unfinished.replace(file)
