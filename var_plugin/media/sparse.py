"""Whether the key frames of a file are enough for a wanted rate: then the pictures between them need no decoding."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av

from var_plugin.media.container import OUT_OF_MEMORY, main_video_stream, open_media, start_time
from var_plugin.media.limits import Limits

_MOST_BYTES = 1 << 30
"""A larger file might be read for longer than a decoder may keep silent (`Limits.silence`)."""


def end_by_key_frames(path: Path, rate: float, limits: Limits) -> float | None:
    """Return where the pictures end if each 1/rate seconds with pictures has a key frame; None: decode all of them.

    Packets are read, not decoded, and only up to the first gap; none of a file of over a gigabyte.

    Args:
        path: a local file.
        rate: frames per second wanted.
        limits: what the file may ask for.

    Raises:
        As `open_media` and `main_video_stream`.
    """
    with open_media(path, limits) as container:
        stream = main_video_stream(container, path, limits)
        if path.stat().st_size > _MOST_BYTES:
            return None
        zero = start_time(container)
        end, covered, waiting = 0.0, -1, -1
        try:
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue  # the mark behind the last one
                if packet.pts is None or packet.is_corrupt:
                    return None
                time = float(packet.pts * packet.time_base) - zero
                end = max(end, time + float((packet.duration or 0) * (packet.time_base or Fraction(0))))
                slot = math.floor(max(0.0, time) * rate + 1e-6)
                if packet.is_keyframe:
                    if slot > covered + 1:
                        return None
                    covered = max(covered, slot)
                else:
                    waiting = max(waiting, slot)
                if waiting > covered + 1:
                    return None
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, ValueError):
            return None  # decoding says what is wrong
    return end if waiting <= covered and end > 0 else None
