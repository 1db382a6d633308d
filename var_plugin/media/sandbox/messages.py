"""What the decoding process may answer to each job. One that says anything else was taken over by its file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from var_plugin.media.audio import SAMPLE_RATE
from var_plugin.media.container import MediaInfo
from var_plugin.types import Value

_Time = Annotated[float, Field(allow_inf_nan=False)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


OWN_FAULT = "run var-plugin doctor; if it finds nothing wrong, report this error: it is no fault of the file"
"""What to do about an exception that decoding does not raise on purpose."""


class Shown(Value):
    """A frame; its image comes with it."""

    time: _Seconds


class Moved(Value):
    """The motion image of the frame before comes with it."""

    motion: Literal[True]


class Ended(Value):
    """Where the images ended."""

    end: _Seconds


class FrameImage(Value):
    """One image comes with it, and the time of its frame."""

    time: _Seconds


class ImageDecoded(Value):
    """The image of a file comes with it."""


class Heard(Value):
    """A piece of sound comes with it; so many samples were decoded in all."""

    samples: Annotated[int, Field(ge=0)]


class Written(Value):
    """A part of a file to write comes with it: where it belongs, and how far the clip is done."""

    offset: Annotated[int, Field(ge=0)]
    time: _Seconds


class Reached(Value):
    """How far a clip is done, where nothing was written for a while."""

    reached: _Seconds


class Cut(Value):
    """The part of the video that a clip holds; the clip is written."""

    start: _Time
    end: _Time
    notes: tuple[str, ...] = ()


class Declared(Value):
    """What the header declares."""

    info: MediaInfo


Answer = Shown | Moved | Ended | FrameImage | ImageDecoded | Heard | Declared | Written | Reached | Cut

_BY_JOB: dict[str, TypeAdapter[Any]] = {
    "frames": TypeAdapter(Shown | Moved | Ended),
    "image_at": TypeAdapter(FrameImage),
    "image": TypeAdapter(ImageDecoded),
    "audio": TypeAdapter(Heard),
    "probe": TypeAdapter(Declared),
    "copy": TypeAdapter(Written | Reached | Cut),
    "encode": TypeAdapter(Written | Reached | Cut),
}


def checked(job: str, options: Mapping[str, Any], values: object, array: NDArray[Any]) -> Answer:
    """Return what a result says.

    Args:
        job: what was to be done.
        options: how, as the worker's jobs take them.
        values: what came as JSON.
        array: what came with it, empty where nothing did.

    Raises:
        ValueError: the job has no such result.
    """
    answer: Answer = _BY_JOB[job].validate_python(values)
    if not _fits(answer, array, options):
        raise ValueError("an array that was not asked for")
    return answer


def reached(answer: Answer) -> float:
    """Return how far the footage was decoded, in seconds, as far as a result tells."""
    match answer:
        case Shown(time=time) | Written(time=time) | Reached(reached=time):
            return time
        case Heard(samples=samples):
            return samples / SAMPLE_RATE
        case _:
            return 0.0


def _fits(answer: Answer, array: NDArray[Any], options: Mapping[str, Any]) -> bool:
    match answer:
        case Shown() | ImageDecoded():
            size = options.get("size")
            return _is_image(array) and (size is None or array.shape[:2] == tuple(size))
        case Moved():
            side = options.get("motion")
            return _is_image(array) and array.shape[:2] == (side, side)
        case FrameImage():
            return _is_image(array)
        case Written():
            return array.dtype == np.uint8 and array.ndim == 1 and array.size > 0
        case Heard():
            return array.dtype == np.float32 and array.ndim == 1 and bool(np.isfinite(array).all())
        case _:
            return array.size == 0


def _is_image(array: NDArray[Any]) -> bool:
    return array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.size > 0
