"""Clips that a browser plays: copied where it knows the codecs, else encoded anew."""

from __future__ import annotations

from pathlib import Path

from var_plugin.media.container import main_video_stream, open_media
from var_plugin.media.encode import SMALL, encode_clip
from var_plugin.media.export import Clip, export_clip

_PICTURES = frozenset({"h264", "vp9", "av1"})
_PIXELS = frozenset({"yuv420p", "yuvj420p"})
_SOUND = frozenset({"aac", "mp3", "opus"})


def plays_in_browsers(video: Path) -> bool:
    """Tell whether every current browser plays the streams of a file once they lie in an MP4.

    Raises:
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoVideoStreamError: as `probe`.
    """
    with open_media(video) as container:
        pictures = main_video_stream(container, video).codec_context
        sound = container.streams.best("audio")
        return (
            pictures.name in _PICTURES
            and pictures.pix_fmt in _PIXELS
            and (sound is None or sound.codec_context.name in _SOUND)
        )


def playable_clip(video: Path, start: float, end: float, target: Path) -> Clip:
    """Write the part from `start` to `end` seconds as an MP4 that browsers play; the target ends in .mp4.

    A copied clip begins at the key frame before `start`; one made anew begins with the first frame from there
    on, is at most 1280 pixels wide, has at most 30 frames a second and mono sound of 16 kHz.

    Raises:
        InvalidInputError, UnreadableMediaError: as `export_clip` and `encode_clip`; besides what opening
            and decoding raise.
    """
    if plays_in_browsers(video):
        return export_clip(video, start, end, target)
    return encode_clip(video, start, end, target, SMALL)
