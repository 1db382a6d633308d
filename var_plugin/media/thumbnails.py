"""Thumbnails: a frame of a video as a JPEG file. The frame is decoded in the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from var_plugin.media.cache import MediaCache
from var_plugin.media.files import atomic_write
from var_plugin.media.sandbox.client import frame_at

THUMBNAIL_WIDTH = 320
"""Pixels."""


def cached_thumbnail(find_video: Callable[[], Path], time: float, video_id: str, cache: MediaCache) -> Path:
    """Return a JPEG thumbnail of the frame shown at `time` seconds. Write it to the cache if it is missing there.

    Each frame has one file, named after the time of the frame. All times at which the frame is shown share it.

    Args:
        find_video: returns the file of the video. Called only if the cache has no thumbnail for this time.
        time: seconds from the start of the video.
        video_id: id of the video, which names its folder in the cache.
        cache: the cache.

    Raises:
        MediaNotFoundError: the video does not exist.
        UnreadableMediaError: the video has no frame at this time.
        InvalidInputError: the cache cannot be written.
        VarPluginError: the errors of `find_video`.
    """
    target = _thumbnail_path(cache, video_id, time)
    if cache.use(target):
        return target
    frame = frame_at(find_video(), time, width=THUMBNAIL_WIDTH)
    target = _thumbnail_path(cache, video_id, frame.time)
    if not cache.use(target):
        _write_jpeg(frame.image, target, private=True)
        cache.add(target)
    return target


def write_thumbnail(video: Path, time: float, target: Path) -> Path:
    """Write the frame shown at `time` seconds as a JPEG thumbnail. Replace an existing file.

    Raises:
        MediaNotFoundError: the video does not exist.
        UnreadableMediaError: the video has no frame at this time.
        InvalidInputError: the target cannot be written.
    """
    return _write_jpeg(frame_at(video, time, width=THUMBNAIL_WIDTH).image, target)


def _thumbnail_path(cache: MediaCache, video_id: str, time: float) -> Path:
    return cache.video_folder(video_id) / f"{round(time * 1000)}.jpg"


def _write_jpeg(image: NDArray[np.uint8], target: Path, *, private: bool = False) -> Path:
    from PIL import Image

    with atomic_write(target, private=private) as temporary:
        Image.fromarray(image).save(temporary, "JPEG", quality=85)
    return target
