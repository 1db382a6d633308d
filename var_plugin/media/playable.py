"""Clips that a browser plays: copied where it knows the codecs, else encoded anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from var_plugin.media.encode import ENCODING_LIMITS, SMALL, encode_clip
from var_plugin.media.export import Clip, export_clip
from var_plugin.media.guard import probe
from var_plugin.media.limits import DEFAULT_LIMITS

MAX_BYTES = 1 << 30
"""Size of a clip."""

_PICTURES = frozenset({"h264", "vp9", "av1"})
_PIXELS = frozenset({"yuv420p", "yuvj420p"})
_SOUND = frozenset({"aac", "mp3", "opus"})


def plays_in_browsers(video: Path) -> bool:
    """Tell whether every current browser plays the streams of a file once they lie in an MP4.

    Raises:
        VarPluginError: as `guard.probe`.
    """
    info = probe(video)
    if info.audio_tracks > 1:  # the first may be silent
        return False
    return info.video_codec in _PICTURES and info.pixel_format in _PIXELS and info.audio_codec in {None, *_SOUND}


def playable_clip(video: Path, start: float, end: float, target: Path) -> Clip:
    """Write the part from `start` to `end` seconds as an MP4 that browsers play; the target ends in .mp4.

    A copied clip begins at the key frame before `start`; one made anew begins with the first frame from there
    on, is at most 1280 pixels wide, has at most 30 frames a second and mono sound of 16 kHz.

    Raises:
        InvalidInputError, UnreadableMediaError: as `export_clip` and `encode_clip`; besides what opening
            and decoding raise.
    """
    if plays_in_browsers(video):
        return export_clip(video, start, end, target, replace(DEFAULT_LIMITS, output=MAX_BYTES))
    return encode_clip(video, start, end, target, SMALL, replace(ENCODING_LIMITS, output=MAX_BYTES))
