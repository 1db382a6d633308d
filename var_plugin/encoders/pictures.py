"""Pictures from files, PIL images or arrays, at the size an encoder wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from var_plugin.encoders.base import Picture
from var_plugin.errors import InvalidInputError, UnreadableMediaError
from var_plugin.media.files import check_file


def load_picture(item: Any, size: tuple[int, int]) -> Picture:
    """Return the picture as (height, width, 3) uint8 RGB, scaled to `size` like a decoded frame.

    Args:
        item: a path, a PIL image, or an (h, w, 3) uint8 RGB array.
        size: (height, width).

    Raises:
        InvalidInputError: another type, shape or dtype, or a file of too many pixels.
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError: the file is missing, empty or no picture.
    """
    from PIL import Image, ImageOps

    if isinstance(item, str | Path):
        path = Path(item)
        check_file(path)
        try:
            with Image.open(path) as opened:
                image = ImageOps.exif_transpose(opened).convert("RGB")
        except Image.DecompressionBombError as error:  # told by the header, before decoding
            raise InvalidInputError(f"{path} has too many pixels", why=str(error), fix="scale it down") from error
        except OSError as error:
            raise UnreadableMediaError(
                f"cannot read {path} as a picture", why=str(error), fix="convert it to JPEG or PNG"
            ) from error
    elif isinstance(item, Image.Image):
        image = item.convert("RGB")
    elif isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.ndim == 3 and item.shape[2] == 3:
        image = Image.fromarray(item)
    else:
        shape = f" {item.shape} {item.dtype}" if isinstance(item, np.ndarray) else ""
        raise InvalidInputError(
            f"not a picture: {type(item).__name__}{shape}", fix="pass a path, a PIL image or an (h, w, 3) uint8 array"
        )
    height, width = size
    # BOX averages like the decoder's area scaling; on enlarging it would only repeat pixels.
    shrinks = image.width >= width and image.height >= height
    return np.asarray(image.resize((width, height), Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC))
