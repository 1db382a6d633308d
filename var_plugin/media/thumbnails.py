"""Small JPEG pictures of moments."""

from __future__ import annotations

from pathlib import Path

from var_plugin.media.files import written_whole
from var_plugin.media.guard import picture_at

WIDTH = 320


def save_thumbnail(video: Path, time: float, target: Path) -> Path:
    """Write the frame at `time` seconds of the video as a JPEG 320 pixels wide, unless the target exists already.

    Raises:
        MediaNotFoundError, UnreadableMediaError: the video is gone, or has no frame there.
    """
    return target if target.exists() else write_thumbnail(video, time, target)


def write_thumbnail(video: Path, time: float, target: Path) -> Path:
    """Write the frame at `time` seconds of the video as a JPEG 320 pixels wide, over what may be there.

    Raises:
        MediaNotFoundError, UnreadableMediaError: the video is gone, or has no frame there.
        InvalidInputError: the target cannot be written.
    """
    from PIL import Image

    picture = picture_at(video, time, width=WIDTH)
    with written_whole(target) as unfinished:
        Image.fromarray(picture).save(unfinished, "JPEG", quality=85)
    return target
