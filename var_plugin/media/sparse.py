"""Whether the key frames of a file are enough for a wanted rate: then the pictures between them need no decoding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from var_plugin.media.container import OUT_OF_MEMORY, main_video_stream, open_media, start_time
from var_plugin.media.limits import Limits

_MOST_BYTES, _MOST_PACKETS = 256 << 20, 1_000_000
"""A larger file might be read for longer than a decoder may keep silent (`Limits.silence`)."""


@dataclass(frozen=True)
class KeyFrames:
    """The key frames of a file, which are enough."""

    count: int
    end: float
    """Seconds to the end of the last picture, if all of them can be decoded."""


def enough_key_frames(path: Path, rate: float, limits: Limits) -> KeyFrames | None:
    """Return the key frames if each 1/rate seconds with pictures has one; None: decode all pictures.

    Packets are read, not decoded, and only up to the first gap; none of a file of over 256 MB. Where nothing but key
    frames is there, or some are not to be shown, nothing would be gained.

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
        end, covered, waiting, count = 0.0, -1, -1, 0
        try:
            for number, packet in enumerate(container.demux(stream)):
                if packet.size == 0:
                    continue  # the mark behind the last one
                if packet.pts is None or packet.is_corrupt or packet.is_discard or number >= _MOST_PACKETS:
                    return None
                time = float(packet.pts * packet.time_base) - zero
                end = max(end, time + float((packet.duration or 0) * (packet.time_base or Fraction(0))))
                slot = math.floor(max(0.0, time) * rate + 1e-6)
                if packet.is_keyframe:
                    if slot > covered + 1:
                        return None
                    covered, count = max(covered, slot), count + 1
                else:
                    waiting = max(waiting, slot)
                if waiting > covered + 1:
                    return None
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, ValueError):
            return None  # decoding says what is wrong
    return KeyFrames(count, end) if 0 <= waiting <= covered and end > 0 else None
