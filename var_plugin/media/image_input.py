"""Load images from files, PIL images or arrays, at the input size of an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.errors import InvalidInputError, os_error_message
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.sandbox.client import decode_image


def load_image(item: Any, size: tuple[int, int], limits: Limits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Return an image as (height, width, 3) uint8 RGB, scaled to `size` like a decoded frame.

    Files are decoded in the sandbox. A PIL image belongs to the caller and is decoded in this process.

    Args:
        item: a path, a PIL image, or an (h, w, 3) uint8 RGB array.
        size: (height, width).
        limits: limits for decoding a file.

    Raises:
        InvalidInputError: the type, shape or dtype is not supported, or a PIL image cannot be decoded.
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError, TooManyPixelsError: as `media.images.decode_image`.
        DecodingTimeoutError, DecodingMemoryError, DecoderCrashedError: as `media.sandbox.client`.
    """
    if isinstance(item, str | Path):
        return decode_image(Path(item), size=size, limits=limits)
    from PIL import Image

    from var_plugin.media.images import to_rgb_array

    if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.ndim == 3 and item.shape[2] == 3 and item.size:
        item = Image.fromarray(item)
    if not isinstance(item, Image.Image):
        shape = f" {item.shape} {item.dtype}" if isinstance(item, np.ndarray) else ""
        raise InvalidInputError(
            f"not an image: {type(item).__name__}{shape}", fix="pass a path, a PIL image or an (h, w, 3) uint8 array"
        )
    try:
        return to_rgb_array(item, size)
    except Exception as error:  # Pillow decodes lazily, and its decoders can raise any exception
        raise InvalidInputError(
            "cannot read a PIL image",
            why=os_error_message(error) or type(error).__name__,
            fix="pass the path of its file",
        ) from error
