"""Image files as upright RGB images.

The format is recognised by the first bytes of the file, not by its name, and only the formats listed here are read.
Each is opened by its own class of Pillow: `Image.open` would load every format that Pillow knows, and some of them
start other programs.

`decode_image` decodes in the process that calls it; `media.sandbox.client` does the same in the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from var_plugin.errors import TooManyPixelsError, UnreadableMediaError, VarPluginError, os_error_message
from var_plugin.media.files import check_file
from var_plugin.media.limits import DEFAULT_LIMITS, Limits

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF")

_HEADER_BYTES = 16
_ORIENTATION_TAG = 0x0112
# EXIF 2.3, tag 274: what has to be done to show the image upright.
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(
    path: Path, *, size: tuple[int, int] | None = None, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Return the image of a file, or the first one of several, as (height, width, 3) uint8 RGB.

    Args:
        path: a local file.
        size: (height, width) to scale it to. None: as large as in the file.
        limits: what the file may ask for.

    Raises:
        MediaNotFoundError, EmptyMediaError: as `check_file`.
        TooManyPixelsError: the image is larger than `limits` admits.
        UnreadableMediaError: the format is not listed, or the file is damaged.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            open_format = _opener(file.read(_HEADER_BYTES))
    except OSError as error:
        raise _unreadable(path, os_error_message(error)) from error
    if open_format is None:
        raise _unreadable(path, f"it is none of {', '.join(FORMATS)}")
    try:
        with open_format(path) as image:
            _check_pixels(image, path, limits)
            image.load()
            _check_pixels(image, path, limits)  # the first frame of a GIF may be larger than the header declares
            return as_array(image, size)
    except (MemoryError, VarPluginError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, str(error)) from error
    except Exception as error:  # a damaged file can raise anything in a decoder
        raise _unreadable(path, os_error_message(error) or type(error).__name__) from error


def as_array(image: Image.Image, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Return an image of any mode upright, on white where it is transparent, as (height, width, 3) uint8 RGB.

    Args:
        image: its pixels are loaded if they are not yet.
        size: (height, width) to scale it to. None: as it is.
    """
    upright = _upright(image)
    if image.mode.startswith("I;16"):
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        upright = Image.fromarray(_stretched(np.asarray(upright)))
    elif image.has_transparency_data:
        transparent = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", transparent.size, "white"), transparent)
    rgb = upright.convert("RGB")
    return np.asarray(resized(rgb, size) if size else rgb)


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale an image to (height, width), as the decoder of videos scales frames."""
    height, width = size
    # BOX averages areas, as for frames. To enlarge, it would only repeat pixels.
    shrinks = image.width >= width and image.height >= height
    return image.resize((width, height), Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC)


def _opener(header: bytes) -> Callable[[Path], ImageFile.ImageFile] | None:
    """Return the class of Pillow for the format that a file begins like; None for any other."""
    if header.startswith(b"\xff\xd8\xff"):
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile
    if header.startswith(b"\x89PNG\r\n\x1a\n"):
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        from PIL.WebPImagePlugin import WebPImageFile

        return WebPImageFile
    if header.startswith((b"GIF87a", b"GIF89a")):
        from PIL.GifImagePlugin import GifImageFile

        return GifImageFile
    if header.startswith(b"BM"):
        from PIL.BmpImagePlugin import BmpImageFile

        return BmpImageFile
    if header.startswith((b"II*\0", b"MM\0*")):
        from PIL.TiffImagePlugin import TiffImageFile

        return TiffImageFile
    if header[4:12] in (b"ftypavif", b"ftypavis"):
        from PIL.AvifImagePlugin import AvifImageFile

        return AvifImageFile
    return None


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _ORIENTATIONS.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF: viewers show the image as it is stored
        return image
    return image.transpose(turn) if turn is not None else image


def _stretched(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Map the range of values without a fixed scale, 32-bit integers or floats, to 0…255."""
    finite = np.nan_to_num(values).astype(np.float64)
    lowest = finite.min()
    return np.asarray((finite - lowest) * (255.0 / max(finite.max() - lowest, np.finfo(np.float64).tiny)), np.uint8)


def _unreadable(path: Path, why: str) -> UnreadableMediaError:
    return UnreadableMediaError(f"cannot read {path} as an image", why=why, fix="convert it to JPEG or PNG")


def _check_pixels(image: Image.Image, path: Path, limits: Limits) -> None:
    if image.width * image.height > limits.pixels:
        raise _too_large(path, f"it has {image.width} x {image.height} pixels, the limit is {limits.pixels} in all")


def _too_large(path: Path, why: str) -> TooManyPixelsError:
    return TooManyPixelsError(f"the image {path} is too large", why=why, fix="scale it down")
