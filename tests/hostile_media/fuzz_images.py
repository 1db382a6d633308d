"""Fuzzing: randomly damaged images of every supported format are decoded in the sandbox, and outcomes are counted.

    python -m tests.hostile_media.fuzz_images --inputs 10000 [--seed 1] [--keep FOLDER]

Half of the damaged PNG images get correct checksums. Otherwise a decoder would check the checksums only.
"""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections import Counter
from pathlib import Path

from hypothesis import given, seed
from hypothesis import strategies as st
from PIL import Image, features

from tests.films import textured
from tests.hostile_media.fuzz import LIMITS, MAX_SECONDS, SIDE, Edit, Original, edits, generating, run
from var_plugin.errors import DecoderCrashedError, VarPluginError
from var_plugin.media.sandbox import client as sandbox

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def make_images() -> dict[str, bytes]:
    """Return undamaged images by name."""
    image = Image.fromarray(textured(1, 96, 128))
    grey16 = Image.frombytes("I;16", (64, 48), bytes(range(256)) * 24)
    moving = {"save_all": True, "append_images": [Image.fromarray(textured(2, 96, 128))]}
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    palette = image.convert("P", palette=Image.Palette.ADAPTIVE)
    images = {
        "base.jpg": _saved(image, "JPEG", exif=exif),
        "progressive.jpg": _saved(image, "JPEG", progressive=True, icc_profile=bytes(300)),
        "ink.jpg": _saved(image.convert("CMYK"), "JPEG"),
        "rgb.png": _saved(image, "PNG", exif=exif),
        "palette.png": _saved(palette, "PNG", transparency=3),
        "alpha.png": _saved(image.convert("RGBA"), "PNG"),
        "grey16.png": _saved(grey16, "PNG"),
        "moving.png": _saved(image, "PNG", **moving),
        "lossy.webp": _saved(image, "WEBP", exif=exif),
        "lossless.webp": _saved(image.convert("RGBA"), "WEBP", lossless=True),
        "moving.webp": _saved(image, "WEBP", **moving),
        "still.gif": _saved(palette, "GIF", transparency=3),
        "moving.gif": _saved(image, "GIF", **moving),
        "rgb.bmp": _saved(image, "BMP"),
        "palette.bmp": _saved(palette, "BMP"),
        "float.tif": _saved(image.convert("F"), "TIFF"),
    }
    for compression in (None, "tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
        images[f"{compression}.tif"] = _saved(image, "TIFF", compression=compression)
    images["group4.tif"] = _saved(image.convert("1"), "TIFF", compression="group4")
    if features.check("avif"):
        images["still.avif"] = _saved(image, "AVIF", exif=exif)
        images["moving.avif"] = _saved(image, "AVIF", **moving)
    return images


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_checksums(content: bytes) -> bytes:
    """Return a PNG with correct checksums in all complete chunks."""
    parts, position = [content[:8]], 8
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 8 + length
        if end + 4 > len(content):
            break
        body = content[position + 4 : end]
        parts.append(content[position : position + 4] + body + struct.pack(">I", zlib.crc32(body)))
        position = end + 4
    return b"".join(parts) + content[position:]


def outcome(path: Path) -> str:
    """Decode an image in the sandbox. Return the outcome.

    Raises:
        AssertionError: decoding took too long. Errors that are no VarPluginError propagate.
    """
    started = time.monotonic()
    try:
        sandbox.decode_image(path, size=(SIDE, SIDE), limits=LIMITS)
        result = "decoded"
    except VarPluginError as error:
        assert len(str(error).splitlines()) == 1, error
        result = type(error).__name__
    assert time.monotonic() - started < MAX_SECONDS, path
    return result


def fuzz(inputs: int, folder: Path, keep: Path | None = None, start: int = 1) -> Counter[str]:
    """Decode damaged images. Return how often each outcome occurred. Arguments as `fuzz.fuzz`."""
    images = make_images()
    counted: Counter[str] = Counter()

    @seed(start)
    @generating(inputs)
    @given(st.sampled_from(sorted(images)), edits(), st.booleans())
    def decode_damaged(name: str, damage: list[Edit], repair: bool) -> None:
        original = Original(images[name], list(range(len(images[name]))))
        content = original.content
        for edit in damage:
            content = edit.apply(content, original)
        if repair and content.startswith(_PNG_SIGNATURE):
            content = with_checksums(content)
        path = folder / f"damaged_{name}"
        path.write_bytes(content)
        result = outcome(path)
        counted[result] += 1
        if keep and result == DecoderCrashedError.__name__:
            path.replace(keep / f"{counted[result]}_{name}")

    decode_damaged()
    return counted


if __name__ == "__main__":
    run(fuzz, __doc__)
