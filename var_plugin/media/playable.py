"""Clips that a browser plays: copied where it knows the codecs, else made anew as H.264 and AAC.

What has to be decoded for that is decoded by `media.guard`, in a process of its own.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from numpy.typing import NDArray

from var_plugin.errors import InvalidInputError, UnreadableMediaError
from var_plugin.media.audio import SAMPLE_RATE
from var_plugin.media.container import main_video_stream, open_media
from var_plugin.media.export import Clip, export_clip
from var_plugin.media.guard import Frames, picture_at, probe, read_audio

_PICTURES = frozenset({"h264", "vp9", "av1"})
_PIXELS = frozenset({"yuv420p", "yuvj420p"})
_SOUND = frozenset({"aac", "mp3", "opus"})

_WIDEST = 1280
_FASTEST = 30.0
_TIME_BASE = Fraction(1, 90_000)
_ENCODER = {"preset": "veryfast", "crf": "26"}
_SOUND_FRAME = 1024


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
    """Write the part from `start` to `end` seconds as an MP4 that browsers play.

    A copied clip begins at the key frame before `start`; one made anew begins at `start` itself, is at most 1280 pixels
    wide, has at most 30 frames a second and mono sound of 16 kHz.

    Raises:
        InvalidInputError: the part is empty.
        UnreadableMediaError: no picture lies in the part; besides what opening and decoding raise.
    """
    if not 0 <= start < end:
        raise InvalidInputError(f"no clip from {start} to {end} s", fix="name a start and a later end")
    if plays_in_browsers(video):
        return export_clip(video, start, end, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all, also when two processes write the same one.
    unfinished = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        with av.open(str(unfinished), "w", format="mp4", options={"movflags": "faststart"}) as output:
            last = _encode(video, start, end, output)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return Clip(target, start, last)


def _encode(video: Path, start: float, end: float, output: OutputContainer) -> float:
    """Encode pictures and sound; return where the pictures end, in seconds from the video's start."""
    declared = probe(video)
    rate = min(declared.frame_rate or _FASTEST, _FASTEST)
    # As it is shown: turned, and with the sides that result.
    height, width, _ = picture_at(video, start, width=min(declared.width, _WIDEST)).shape
    width, height = max(2, width // 2 * 2), max(2, height // 2 * 2)
    pictures = output.add_stream("libx264", rate=round(rate), options=_ENCODER)
    pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
    pictures.codec_context.time_base = _TIME_BASE
    sound = output.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if declared.has_audio else None
    last = None
    for frame in Frames(video, rate=rate, size=(height, width), start=start, end=end):
        shown = av.VideoFrame.from_ndarray(frame.picture, format="rgb24")
        shown.pts, shown.time_base = round((frame.time - start) / _TIME_BASE), _TIME_BASE
        output.mux(pictures.encode(shown))
        last = frame.time
    if last is None:
        raise UnreadableMediaError(f"{video} has no picture from {start} to {end} s", fix="name a part inside it")
    output.mux(pictures.encode(None))
    if sound is not None:
        for piece in _pieces(read_audio(video, start=start, end=end)):
            output.mux(sound.encode(piece))
        output.mux(sound.encode(None))
    return min(end, last + 1 / rate)


def _pieces(samples: NDArray[np.float32]) -> list[av.AudioFrame]:
    pieces = []
    for first in range(0, len(samples), _SOUND_FRAME):
        piece = av.AudioFrame.from_ndarray(samples[None, first : first + _SOUND_FRAME], "fltp", "mono")
        piece.sample_rate, piece.time_base, piece.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), first
        pieces.append(piece)
    return pieces
