"""The results that the sandbox may send for each job.

Any other result means that the file has compromised the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from var_plugin.media.decoded import SAMPLE_RATE, MediaInfo
from var_plugin.types import Value

_Time = Annotated[float, Field(allow_inf_nan=False)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class DecodedFrame(Value):
    """The time of a frame of the `frames` job. Its image is attached."""

    time: _Seconds


class MotionImage(Value):
    """The motion image of the frame before is attached."""

    motion: Literal[True]


class VideoEnd(Value):
    """The time at which the frames of the video end."""

    end: _Seconds


class FrameImage(Value):
    """The time of the frame of the `image_at` job. Its image is attached."""

    time: _Seconds


class DecodedImage(Value):
    """The image of an image file is attached."""


class DecodedAudio(Value):
    """The number of samples decoded in total. The latest ones are attached."""

    samples: Annotated[int, Field(ge=0)]


class ClipData(Value):
    """The byte offset of a part of the clip file, and how far the clip is finished. The bytes are attached."""

    offset: Annotated[int, Field(ge=0)]
    time: _Seconds


class ClipProgress(Value):
    """How far the clip is finished. Sent if no data was sent for a while."""

    progress: _Seconds


class ClipSpan(Value):
    """The part of the video that the finished clip shows."""

    start: _Time
    end: _Time
    notes: tuple[str, ...] = ()


class FileHeader(Value):
    """What the header of the file declares."""

    info: MediaInfo


Message = (
    DecodedFrame
    | MotionImage
    | VideoEnd
    | FrameImage
    | DecodedImage
    | DecodedAudio
    | FileHeader
    | ClipData
    | ClipProgress
    | ClipSpan
)

_BY_JOB: dict[str, TypeAdapter[Any]] = {
    "frames": TypeAdapter(DecodedFrame | MotionImage | VideoEnd),
    "image_at": TypeAdapter(FrameImage),
    "image": TypeAdapter(DecodedImage),
    "audio": TypeAdapter(DecodedAudio),
    "probe": TypeAdapter(FileHeader),
    "copy": TypeAdapter(ClipData | ClipProgress | ClipSpan),
    "encode": TypeAdapter(ClipData | ClipProgress | ClipSpan),
}


def validate_message(job: str, options: Mapping[str, Any], values: object, array: NDArray[Any]) -> Message:
    """Return the message of a result.

    Args:
        job: name of the job.
        options: options of the job, as the worker takes them.
        values: the decoded JSON.
        array: the attached array. Empty without attachment.

    Raises:
        ValueError: the job has no such result.
    """
    message: Message = _BY_JOB[job].validate_python(values)
    if not _fits(message, array, options):
        raise ValueError("the attached array does not fit the message")
    return message


def decoded_seconds(message: Message) -> float:
    """Return how many seconds of footage are decoded according to a message, or 0 if it does not say."""
    match message:
        case DecodedFrame(time=time) | ClipData(time=time) | ClipProgress(progress=time):
            return time
        case DecodedAudio(samples=samples):
            return samples / SAMPLE_RATE
        case _:
            return 0.0


def _fits(message: Message, array: NDArray[Any], options: Mapping[str, Any]) -> bool:
    """Return whether the dtype and the shape of an array are right for its message."""
    match message:
        case DecodedFrame() | DecodedImage():
            size = options.get("size")
            return _is_image(array) and (size is None or array.shape[:2] == tuple(size))
        case MotionImage():
            side = options.get("motion")
            return _is_image(array) and array.shape[:2] == (side, side)
        case FrameImage():
            return _is_image(array)
        case ClipData():
            return array.dtype == np.uint8 and array.ndim == 1 and array.size > 0
        case DecodedAudio():
            return array.dtype == np.float32 and array.ndim == 1 and bool(np.isfinite(array).all())
        case _:
            return array.size == 0


def _is_image(array: NDArray[Any]) -> bool:
    return array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.size > 0
