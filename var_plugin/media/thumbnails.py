"""Small JPEG pictures of moments."""

from __future__ import annotations

import os
from pathlib import Path

from var_plugin.media.guard import picture_at

WIDTH = 320


def save_thumbnail(video: Path, time: float, target: Path) -> Path:
    """Write the frame at `time` seconds of the video as a JPEG 320 pixels wide, unless the target exists already.

    Raises:
        MediaNotFoundError, UnreadableMediaError: the video is gone, or has no frame there.
    """
    if target.exists():
        return target
    from PIL import Image

    picture = picture_at(video, time, width=WIDTH)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all, also when two processes write the same one.
    unfinished = target.with_suffix(f".{os.getpid()}.part")
    Image.fromarray(picture).save(unfinished, "JPEG", quality=85)
    unfinished.replace(target)
    return target
