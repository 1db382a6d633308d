"""Small JPEG images of moments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from var_plugin.media.cache import MediaCache
from var_plugin.media.files import written_whole
from var_plugin.media.guard import frame_at

WIDTH = 320


def cached_thumbnail(find_video: Callable[[], Path], time: float, video_id: str, cache: MediaCache) -> Path:
    """Return a JPEG, 320 pixels wide, of the frame shown at `time` seconds, made now unless it is in the cache.

    There is one file per frame, named after the time of the frame, however many times between two frames are asked for.

    Args:
        find_video: returns the file of the video; called only where the cache lacks the thumbnail.
        time: seconds from the start of the video.
        video_id: names the folder of the cache.
        cache: where it is kept.

    Raises:
        MediaNotFoundError, UnreadableMediaError: the video is gone, or has no frame there.
        VarPluginError: what `find_video` raises.
        InvalidInputError: the cache cannot be written.
    """
    target = _target(cache, video_id, time)
    if cache.use(target):
        return target
    frame = frame_at(find_video(), time, width=WIDTH)
    target = _target(cache, video_id, frame.time)
    if not cache.use(target):
        _write(frame.picture, target, private=True)
        cache.add(target)
    return target


def write_thumbnail(video: Path, time: float, target: Path) -> Path:
    """Write the frame at `time` seconds of the video as a JPEG 320 pixels wide, over what may be there.

    Raises:
        MediaNotFoundError, UnreadableMediaError: the video is gone, or has no frame there.
        InvalidInputError: the target cannot be written.
    """
    return _write(frame_at(video, time, width=WIDTH).picture, target)


def _target(cache: MediaCache, video_id: str, time: float) -> Path:
    return cache.video_folder(video_id) / f"{round(time * 1000)}.jpg"


def _write(picture: NDArray[np.uint8], target: Path, *, private: bool = False) -> Path:
    from PIL import Image

    with written_whole(target, private=private) as unfinished:
        Image.fromarray(picture).save(unfinished, "JPEG", quality=85)
    return target
