"""Clips encoded as H.264 and AAC, which begin and end at the times asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from numpy.typing import NDArray

from var_plugin.media.aac import audio_part, mux_audio
from var_plugin.media.audio import BROKEN_AUDIO, SAMPLE_RATE
from var_plugin.media.container import OUT_OF_MEMORY, probe
from var_plugin.media.export import Clip, check_cut, no_picture
from var_plugin.media.frames import Frame, FrameReader, picture_at
from var_plugin.media.guard import write_clip
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.output import OutputFile, Steps

_TIME_BASE = Fraction(1, 90_000)
_USUAL_RATE = 30.0
_RATES = (1, 240)
_LEAST_RATE = 10.0
_LONG_FRAME_SECONDS = 0.5


@dataclass(frozen=True)
class Finish:
    """How true to its video a clip is made."""

    widest: int | None
    """Pixels; wider pictures are scaled down. None: as wide as in the video."""
    fastest: float | None
    """Frames a second at most. None: every frame of the video."""
    rate_factor: int
    """x264's: lower is truer and takes more room."""


FULL = Finish(widest=None, fastest=None, rate_factor=18)
ENCODING_LIMITS = replace(DEFAULT_LIMITS, memory=2 * DEFAULT_LIMITS.memory)
"""The encoder holds some tens of frames besides the decoder's."""
SMALL = Finish(widest=1280, fastest=_USUAL_RATE, rate_factor=26)


def encode_clip(
    video: Path, start: float, end: float, target: Path, finish: Finish = FULL, limits: Limits = ENCODING_LIMITS
) -> Clip:
    """Encode the frames and the audio from `start` to `end` seconds into a file of their own, in the sandbox.

    It holds the frames that are shown in the part, in the shape and turned as they are shown, and mono audio of 16 kHz.
    It begins at `start`, or with the first frame after it where that follows within half a frame. Audio that cannot be
    decoded is left out, and `Clip.notes` says so.

    Args:
        video: a local file.
        start: where the clip begins, in seconds from the video's start.
        end: where it ends; the video may end before.
        target: the file to write, replaced if it exists; its ending chooses the container.
        finish: size, frames and quality.
        limits: what the video may ask for, and how large the clip may be.

    Raises:
        InvalidInputError: the part is empty, or the target is the video itself, cannot be written, is too large, or is
            of a kind that does not take H.264 and AAC.
        UnreadableMediaError: no frame lies in the part; besides what opening and decoding raise.
    """
    check_cut(video, start, end, target)
    return Clip(target, *write_clip("encode", video, target, limits, start=start, end=end, finish=asdict(finish)))


def encode_part(
    video: Path, limits: Limits, output: OutputFile, start: float, end: float, finish: Mapping[str, Any]
) -> Steps:
    """Encode a part in this process; arguments and errors as `encode_clip`."""
    try:
        with output.open() as container:
            return (yield from _encode(video, start, end, container, Finish(**finish), limits))
    except OUT_OF_MEMORY:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise output.refused(video, error) from error


def _encode(video: Path, start: float, end: float, output: OutputContainer, finish: Finish, limits: Limits) -> Steps:
    declared = probe(video, limits)
    usual = declared.frame_rate or _USUAL_RATE
    height, width = _size(picture_at(video, start, limits=limits), finish.widest)
    pictures = output.add_stream(
        "libx264",
        rate=round(min(max(usual, _RATES[0]), _RATES[1])),
        options={"preset": "veryfast", "crf": str(finish.rate_factor)},
    )
    pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
    pictures.codec_context.time_base = _TIME_BASE
    samples, notes = np.zeros(0, np.float32), list[str]()
    if declared.has_audio:
        try:
            samples = yield from audio_part(video, start, end, limits)
        except BROKEN_AUDIO as error:
            notes.append(f"its audio is left out: {error}")
    sound = output.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if len(samples) else None
    frames = FrameReader(video, rate=finish.fastest, size=(height, width), start=start, end=end, limits=limits)
    first = frame = None
    for frame in _without_remnant(frames, 0.5 / max(usual, _LEAST_RATE)):
        first = frame.time if first is None else first
        output.mux(pictures.encode(_image(frame.picture, frame.time - first)))
        yield frame.time
    if first is None or frame is None:
        raise no_picture(video, start, end)
    last = min(end, frames.end)
    if last - frame.time > _LONG_FRAME_SECONDS:  # containers do not keep how long the last frame is shown
        output.mux(pictures.encode(_image(frame.picture, last - first - 1 / _USUAL_RATE)))
    output.mux(pictures.encode(None))
    if sound is not None:
        mux_audio(output, sound, samples[round((first - start) * SAMPLE_RATE) :])
    return first, last, tuple(notes)


def _without_remnant(frames: Iterable[Frame], shortest: float) -> Iterator[Frame]:
    """Leave out a first frame that is shown for less than `shortest` seconds in the part: players stumble over it."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return
    second = next(frames, None)
    if second is None or second.time - first.time >= shortest:
        yield first
    if second is not None:
        yield second
    yield from frames


def _image(image: NDArray[np.uint8], time: float) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame.pts, frame.time_base = round(time / _TIME_BASE), _TIME_BASE
    return frame


def _size(picture: NDArray[np.uint8], widest: int | None) -> tuple[int, int]:
    """Return (height, width) of the clip: that of the picture as it is shown, even and not too wide."""
    height, width, _ = picture.shape
    share = min(1.0, widest / width) if widest else 1.0
    return max(2, round(height * share) // 2 * 2), max(2, round(width * share) // 2 * 2)
