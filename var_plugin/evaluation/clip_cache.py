"""Cache of clip features on disk: training and evaluation embed a video once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from var_plugin.encoders.base import ClipFeatureExtractor, VideoEncoder
from var_plugin.encoders.clip_features import ClipFeatures, embed_clips
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError, UnsupportedModalityError
from var_plugin.media.files import atomic_write


class ClipCache:
    """Embed videos, or read the cached clip features.

    Args:
        extractor: embeds the clips.
        fingerprint: identifies everything the features depend on.
        folder: of the cache files, about 7 MB per hour of video at two clips per second and 256 dimensions.
        fps: frames per second, used if the extractor sets none.
    """

    def __init__(self, extractor: ClipFeatureExtractor, fingerprint: str, folder: Path, fps: float) -> None:
        self._extractor, self._fps = extractor, fps
        self._folder = folder / fingerprint

    def __call__(self, video: Path) -> ClipFeatures:
        """Return the clips of a video.

        Raises:
            InvalidInputError: the video has no frame.
            VarPluginError: the video cannot be decoded.
        """
        file = self._folder / f"{self._key(video)}.npz"
        try:
            return _read(file)
        except (OSError, ValueError, LookupError, EOFError, BadZipFile):  # missing, incomplete or damaged
            pass
        clips = embed_clips(video, self._extractor, fps=self._fps)
        if not len(clips.times):
            raise InvalidInputError(f"{video} has no frame", fix="remove the video from the captions")
        with atomic_write(_vectors_file(file)) as temporary, temporary.open("wb") as target:
            np.save(target, clips.vectors)
        with atomic_write(file) as temporary, temporary.open("wb") as target:
            np.savez(target, times=clips.times, usable=clips.usable, end=clips.end)
        return _read(file)

    def read(
        self, videos: Iterable[Path], report: Callable[[Path], None] = lambda video: None
    ) -> dict[Path, ClipFeatures]:
        """Return the clips of several videos. `report` is called after each video."""
        clips: dict[Path, ClipFeatures] = {}
        for video in dict.fromkeys(videos):
            clips[video] = self(video)
            report(video)
        return clips

    def _key(self, video: Path) -> str:
        state = video.stat()
        identity = f"{video.absolute()}|{state.st_size}|{state.st_mtime_ns}|{self._fps}"
        return hashlib.sha256(os.fsencode(identity)).hexdigest()[:24]  # a name need not be UTF-8


def clip_cache(suite: Suite, folder: Path) -> ClipCache:
    """Return the clip cache of a suite. A fine-tuned suite with the clip features of its base shares its base's cache.

    Raises:
        UnsupportedModalityError: the suite takes no video.
    """
    encoders, encoder = suite.encoders_for("video"), video_encoder(suite)
    if suite.base and video_encoder(suite.base).extractor == encoder.extractor:
        encoders = suite.base.encoders_for("video")
    identity = f"{encoders.space.fingerprint}-{suite.description.revision}"
    return ClipCache(encoder.extractor, identity.replace(" ", "-"), folder, suite.fps)


def video_encoder(suite: Suite) -> VideoEncoder:
    """Return the video encoder of a suite.

    Raises:
        UnsupportedModalityError: the suite has none.
    """
    encoder = suite.encoders_for("video").video_encoder
    if encoder is None:
        raise UnsupportedModalityError(
            f"suite '{suite.name}' cannot encode video frames",
            fix="choose a suite for images or video (list them: var-plugin suites)",
        )
    return encoder


def sample_evenly(clips: ClipFeatures, count: int) -> ClipFeatures:
    """Return `count` evenly spaced clips, or all if there are fewer."""
    if len(clips.times) <= count:
        return clips
    rows = np.floor((np.arange(count) + 0.5) * len(clips.times) / count).astype(int)
    sampled = {field.name: getattr(clips, field.name)[rows] for field in fields(clips) if field.name != "end"}
    return replace(clips, **sampled)


def _vectors_file(file: Path) -> Path:
    return file.with_suffix(".npy")


def _read(file: Path) -> ClipFeatures:
    # Memory-mapped, because the clips of many hours may not fit into memory.
    vectors = np.asarray(np.load(_vectors_file(file), mmap_mode="c"))
    with np.load(file) as cached:
        clips = ClipFeatures(times=cached["times"], vectors=vectors, usable=cached["usable"], end=float(cached["end"]))
    if len(clips.times) != len(vectors):
        raise ValueError("the files belong to different videos")
    return clips
