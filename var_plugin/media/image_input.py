"""Images from files, PIL images or arrays, at the size an encoder wants."""

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

    Files are decoded in the sandbox. A PIL image is the caller's own: it is decoded where it was opened.

    Args:
        item: a path, a PIL image, or an (h, w, 3) uint8 RGB array.
        size: (height, width).
        limits: what a file may ask for.

    Raises:
        InvalidInputError: another type, shape or dtype, or a PIL image that cannot be decoded.
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError, TooManyPixelsError: as `media.images.decode_image`.
        DecodingTimeoutError, DecodingMemoryError, DecoderCrashedError: as `media.sandbox.client`.
    """
    if isinstance(item, str | Path):
        return decode_image(Path(item), size=size, limits=limits)
    from PIL import Image

    from var_plugin.media.images import as_array

    if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.ndim == 3 and item.shape[2] == 3 and item.size:
        item = Image.fromarray(item)
    if not isinstance(item, Image.Image):
        shape = f" {item.shape} {item.dtype}" if isinstance(item, np.ndarray) else ""
        raise InvalidInputError(
            f"not an image: {type(item).__name__}{shape}", fix="pass a path, a PIL image or an (h, w, 3) uint8 array"
        )
    try:
        return as_array(item, size)
    except Exception as error:  # Pillow decodes it now if the caller did not, and a decoder can raise anything
        raise InvalidInputError(
            "cannot read a PIL image",
            why=os_error_message(error) or type(error).__name__,
            fix="pass the path of its file",
        ) from error
