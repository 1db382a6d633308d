"""Decode image files to upright RGB images.

The format is recognised by the first bytes of the file, not by its name. Only the formats listed here are read. Each is
opened by its own Pillow class, because `Image.open` would load every format that Pillow knows, and some of them start
other programs.

`decode_image` decodes in the calling process. `media.sandbox.client.decode_image` does the same in the sandbox.
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
_MAX_PNG_METADATA_BYTES = 16 << 20
_ORIENTATION_TAG = 0x0112
# EXIF 2.3, tag 274: the transformation that turns the image upright.
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
    """Return the first image of a file as (height, width, 3) uint8 RGB.

    Args:
        path: a local file.
        size: (height, width) of the result. None: the size in the file.
        limits: limits for decoding the file.

    Raises:
        MediaNotFoundError, EmptyMediaError: as `check_file`.
        TooManyPixelsError: the image is larger than `limits` allows.
        UnreadableMediaError: the format is not supported, or the file is damaged.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            image_class = _image_class(file.read(_HEADER_BYTES))
    except OSError as error:
        raise _unreadable(path, os_error_message(error)) from error
    if image_class is None:
        raise _unreadable(path, f"its format is not one of {', '.join(FORMATS)}")
    try:
        with image_class(path) as image:
            _check_pixels(image, path, limits)
            image.load()
            _check_pixels(image, path, limits)  # the first frame of a GIF may be larger than its header declares
            return to_rgb_array(image, size)
    except (MemoryError, VarPluginError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, str(error)) from error
    except Exception as error:  # a decoder of a damaged file can raise any exception
        raise _unreadable(path, os_error_message(error) or type(error).__name__) from error


def to_rgb_array(image: Image.Image, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Convert an image of any mode to an upright (height, width, 3) uint8 RGB array on a white background.

    Args:
        image: a PIL image, loaded or not.
        size: (height, width) of the result. None: the size of the image.
    """
    upright = _upright(image)
    if image.mode.startswith("I;16"):
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        upright = Image.fromarray(_stretch(np.asarray(upright)))
    elif image.has_transparency_data:
        transparent = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", transparent.size, "white"), transparent)
    rgb = upright.convert("RGB")
    return np.asarray(resize(rgb, size) if size else rgb)


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale an image to (height, width) in the same way as the video decoder scales frames."""
    height, width = size
    # BOX averages areas, as for frames. Enlarged with BOX, an image would only repeat pixels.
    is_smaller = image.width >= width and image.height >= height
    return image.resize((width, height), Image.Resampling.BOX if is_smaller else Image.Resampling.BICUBIC)


def _image_class(header: bytes) -> Callable[[Path], ImageFile.ImageFile] | None:
    """Return the Pillow class for the format of a file with these first bytes, or None if it is not supported."""
    if header.startswith(b"\xff\xd8\xff"):
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile
    if header.startswith(b"\x89PNG\r\n\x1a\n"):
        from PIL import PngImagePlugin

        # Pillow refuses colour profiles and texts above 1 MiB. Profiles of printers are larger.
        PngImagePlugin.MAX_TEXT_CHUNK = _MAX_PNG_METADATA_BYTES
        return PngImagePlugin.PngImageFile
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
        orientation = _ORIENTATIONS.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF: show the image as it is stored, as viewers do
        return image
    return image.transpose(orientation) if orientation is not None else image


def _stretch(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Map the value range of a 32-bit integer or float image, which has no fixed scale, to 0…255."""
    finite = np.nan_to_num(values).astype(np.float64)
    lowest = finite.min()
    return np.asarray((finite - lowest) * (255.0 / max(finite.max() - lowest, np.finfo(np.float64).tiny)), np.uint8)


def _unreadable(path: Path, why: str) -> UnreadableMediaError:
    return UnreadableMediaError(f"cannot read {path} as an image", why=why, fix="convert it to JPEG or PNG")


def _check_pixels(image: Image.Image, path: Path, limits: Limits) -> None:
    if image.width * image.height > limits.pixels:
        raise _too_large(path, f"it has {image.width} x {image.height} pixels, the limit is {limits.pixels} in total")


def _too_large(path: Path, why: str) -> TooManyPixelsError:
    return TooManyPixelsError(f"the image {path} is too large", why=why, fix="scale it down")
