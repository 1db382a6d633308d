"""Tests of decoding images: every format and mode, malicious files, and the limits of the sandbox."""

from __future__ import annotations

import io
import os
import stat
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from tests.films import plain, textured
from var_plugin.errors import (
    DecodingMemoryError,
    EmptyMediaError,
    InvalidInputError,
    MediaNotFoundError,
    TooManyPixelsError,
    UnreadableMediaError,
)
from var_plugin.media.image_input import load_image
from var_plugin.media.images import FORMATS, decode_image
from var_plugin.media.limits import DEFAULT_LIMITS
from var_plugin.media.sandbox import client as sandbox

HALVES = np.concatenate([plain(200, 30, 30, height=16), plain(30, 30, 200, height=32)])
"""Red above blue. Neither square nor symmetric, so every rotation is distinguishable."""
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


def png(width: int, height: int, *, depth: int = 8, color: int = 2, extra: bytes = b"", data: bytes = b"") -> bytes:
    """Return a PNG with any header. Without `data` its pixels are black."""
    row = b"\0" * (1 + (width * depth * {0: 1, 2: 3, 3: 1}[color] + 7) // 8)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    data = data or zlib.compress(row * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def mean_colors(image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean colours of the upper and the lower quarter."""
    quarter = len(image) // 4
    return image[:quarter].mean(axis=(0, 1)), image[-quarter:].mean(axis=(0, 1))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_recognised_by_its_content(tmp_path: Path, kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / "named.xyz"
    path.write_bytes(saved(Image.fromarray(HALVES), kind))
    image = sandbox.decode_image(path)
    assert image.shape == HALVES.shape
    above, below = mean_colors(image)
    np.testing.assert_allclose(above, (200, 30, 30), atol=12)
    np.testing.assert_allclose(below, (30, 30, 200), atol=12)
    np.testing.assert_array_equal(sandbox.decode_image(path, size=(8, 8)), decode_image(path, size=(8, 8)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "TIFF"])
@pytest.mark.parametrize("orientation", range(9))
def test_images_are_shown_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    """The EXIF orientation names the side of the stored image that is displayed at the top."""
    turns = {2: "fliplr", 3: "rot180", 4: "flipud", 5: "transpose", 6: "rot90", 7: "transverse", 8: "rot270"}
    stored = {
        None: HALVES, "fliplr": HALVES[:, ::-1], "rot180": HALVES[::-1, ::-1], "flipud": HALVES[::-1],
        "transpose": HALVES.swapaxes(0, 1), "rot90": np.rot90(HALVES, 1), "rot270": np.rot90(HALVES, 3),
        "transverse": np.rot90(HALVES.swapaxes(0, 1), 2),
    }[turns.get(orientation)]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image"
    path.write_bytes(saved(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif))
    image = decode_image(path)
    assert image.shape == HALVES.shape
    assert mean_colors(image)[0][0] > 180 > 60 > mean_colors(image)[1][0]


def test_damaged_exif_does_not_hide_the_image(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(saved(Image.fromarray(HALVES), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40))
    assert sandbox.decode_image(path).shape == HALVES.shape


def ramp() -> NDArray[np.uint16]:
    return np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)


MODES: dict[str, tuple[Image.Image, str, tuple[int, int, int]]] = {
    "16-bit grey": (Image.fromarray(np.full((48, 64), 40_000, np.uint16)), "PNG", (156, 156, 156)),
    "16-bit grey TIFF": (Image.fromarray(np.full((48, 64), 40_000, np.uint16)), "TIFF", (156, 156, 156)),
    "grey": (Image.new("L", (64, 48), 99), "PNG", (99, 99, 99)),
    "one bit": (Image.new("1", (64, 48), 1), "PNG", (255, 255, 255)),
    "palette": (Image.new("RGB", (64, 48), (200, 40, 60)).convert("P", palette=Image.Palette.ADAPTIVE), "GIF",
                (200, 40, 60)),
    "ink": (Image.new("RGB", (64, 48), (200, 40, 60)).convert("CMYK"), "JPEG", (200, 40, 60)),
    "ink TIFF": (Image.new("RGB", (64, 48), (200, 40, 60)).convert("CMYK"), "TIFF", (200, 40, 60)),
    "transparent": (Image.new("RGBA", (64, 48), (0, 0, 0, 0)), "PNG", (255, 255, 255)),
    "half transparent": (Image.new("RGBA", (64, 48), (0, 0, 0, 128)), "WebP", (127, 127, 127)),
    "grey and alpha": (Image.new("LA", (64, 48), (0, 0)), "PNG", (255, 255, 255)),
    "opaque": (Image.new("RGBA", (64, 48), (9, 99, 9, 255)), "PNG", (9, 99, 9)),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_converted_to_rgb(tmp_path: Path, mode: str) -> None:
    image, kind, color = MODES[mode]
    path = tmp_path / "image"
    path.write_bytes(saved(image, kind))
    np.testing.assert_allclose(sandbox.decode_image(path).mean(axis=(0, 1)), color, atol=4)
    np.testing.assert_allclose(load_image(image, (8, 8)).mean(axis=(0, 1)), color, atol=4)


def test_16_bits_keep_their_range(tmp_path: Path) -> None:
    for kind in ("PNG", "TIFF"):
        path = tmp_path / kind
        path.write_bytes(saved(Image.fromarray(ramp()), kind))
        np.testing.assert_array_equal(sandbox.decode_image(path)[..., 0], ramp() >> 8)


@pytest.mark.parametrize("values", [ramp().astype(np.float32) / 1e9, ramp().astype(np.int32) * 9000])
def test_values_without_a_fixed_scale_are_stretched(tmp_path: Path, values: NDArray[np.generic]) -> None:
    path = tmp_path / "image.tif"
    path.write_bytes(saved(Image.fromarray(values), "TIFF"))
    np.testing.assert_allclose(sandbox.decode_image(path)[..., 0], ramp() / 257, atol=1)
    assert sandbox.decode_image(path).min() == 0


def test_values_that_are_not_finite_are_accepted(tmp_path: Path) -> None:
    values = ramp().astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    path = tmp_path / "image.tif"
    path.write_bytes(saved(Image.fromarray(values), "TIFF"))
    assert sandbox.decode_image(path).shape == (48, 64, 3)


@pytest.mark.parametrize("kind", ["GIF", "WebP", "PNG", "TIFF"])
def test_first_image_of_an_animation_is_used(tmp_path: Path, kind: str) -> None:
    images = [Image.new("RGB", (64, 48), color) for color in ("red", "blue", "lime")]
    path = tmp_path / "moving"
    path.write_bytes(saved(images[0], kind, save_all=True, append_images=images[1:]))
    np.testing.assert_allclose(sandbox.decode_image(path).mean(axis=(0, 1)), (255, 0, 0), atol=4)


BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: png(13_300, 13_300, depth=1, color=0, data=b"x"),
    "PNG of the largest size": lambda: png(2**31 - 1, 2**31 - 1, depth=1, color=0, data=b"x"),
    "GIF": lambda: b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\0\0\0,\0\0\0\0"
    + struct.pack("<HH", 1, 1) + b"\0\2\2D\1\0;",
    "GIF with a larger frame": lambda: b"GIF89a" + struct.pack("<HH", 1, 1) + b"\x80\0\0" + b"\0" * 6
    + b",\0\0\0\0" + struct.pack("<HH", 60_000, 60_000) + b"\0\2\2D\1\0;",
    "BMP": lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "TIFF": lambda: saved(Image.new("1", (30_000, 30_000)), "TIFF", compression="group4"),
    "WebP": lambda: b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<IIII", 10, 0, 0xFFFFFF00 >> 8, 0xFF),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_an_image_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, bomb: str) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(BOMBS[bomb]())
    with pytest.raises((TooManyPixelsError, UnreadableMediaError)) as caught:
        sandbox.decode_image(path)
    assert isinstance(caught.value, TooManyPixelsError) or bomb == "WebP"
    assert "\n" not in str(caught.value)


def test_large_colour_profiles_and_texts_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "profile.png"
    packed = zlib.compress(bytes(3_000_000))
    path.write_bytes(png(8, 8, extra=chunk(b"iCCP", b"profile\0\0" + packed) + chunk(b"zTXt", b"Comment\0\0" + packed)))
    assert sandbox.decode_image(path).shape == (8, 8, 3)


@cache
def packed_zeros() -> bytes:
    return zlib.compress(bytes(100_000_000))


TEXT_BOMBS: dict[str, Callable[[], bytes]] = {
    "text": lambda: chunk(b"zTXt", b"Comment\0\0" + packed_zeros()),
    "international text": lambda: chunk(b"iTXt", b"Comment\0\1\0\0\0" + packed_zeros()),
    "colour profile": lambda: chunk(b"iCCP", b"profile\0\0" + packed_zeros()),
    "many texts": lambda: b"".join(
        chunk(b"zTXt", b"%d\0\0" % number + zlib.compress(bytes(1_000_000))) for number in range(100)
    ),
}


@pytest.mark.parametrize("place", ["before the pixels", "after the pixels"])
@pytest.mark.parametrize("bomb", TEXT_BOMBS)
def test_metadata_that_unpack_to_gigabytes_are_refused(tmp_path: Path, bomb: str, place: str) -> None:
    path = tmp_path / "bomb.png"
    image, end = png(8, 8)[:-12], png(8, 8)[-12:]
    before = place == "before the pixels"
    texts = TEXT_BOMBS[bomb]()
    path.write_bytes(png(8, 8, extra=texts) if before else image + texts + end)
    with pytest.raises(
        UnreadableMediaError, match=r"cannot read .*bomb\.png as an image: .*[Tt]oo (large|much memory)"
    ) as caught:
        sandbox.decode_image(path, limits=replace(DEFAULT_LIMITS, memory=1 << 30))
    assert "\n" not in str(caught.value)


def animation(kind: str) -> bytes:
    """Return a small file whose images take much memory if all of them are decoded."""
    if kind == "GIF":
        frame = saved(Image.new("P", (4000, 4000)), "GIF")
        start = frame.index(b",\0\0\0\0")
        return frame[:start] + frame[start:-1] * 300 + b";"
    side, count = {"TIFF": (2500, 60), "WebP": (1000, 40), "AVIF": (1000, 40)}[kind]
    images = [Image.new("1" if kind == "TIFF" else "RGB", (side, side), number % 2) for number in range(count)]
    options = {"TIFF": {"compression": "group4"}, "AVIF": {"speed": 10}}.get(kind, {})
    return saved(images[0], kind, save_all=True, append_images=images[1:], **options)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WebP", "AVIF"])
def test_only_one_of_many_large_images_is_decoded(tmp_path: Path, kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / "moving"
    path.write_bytes(animation(kind))
    assert sandbox.decode_image(path, size=(8, 8), limits=replace(DEFAULT_LIMITS, memory=1 << 30)).shape == (8, 8, 3)


def test_an_avif_image_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / "large.avif"
    path.write_bytes(saved(Image.new("RGB", (8192, 4096)), "AVIF", speed=10))
    with pytest.raises(TooManyPixelsError, match="it has 8192 x 4096 pixels"):
        sandbox.decode_image(path)


def test_memory_for_decoding_an_image_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(saved(Image.new("RGB", (5000, 5000)), "PNG"))
    sandbox._kill_idle()
    with pytest.raises(DecodingMemoryError, match="needs too much memory"):
        sandbox.decode_image(path, limits=replace(DEFAULT_LIMITS, memory=300 << 20))
    assert sandbox.decode_image(path, size=(8, 8)).shape == (8, 8, 3)


DAMAGED = {
    "PostScript": POSTSCRIPT,
    "PostScript behind a preview": struct.pack("<IIIIIIIH", 0xC6D3D0C5, 32, len(POSTSCRIPT), *[0] * 5) + POSTSCRIPT,
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "PDF": b"%PDF-1.4\n",
    "HEIC": b"\0\0\0\x18ftypheic" + bytes(40),
    "PNG chunk with an odd name": png(64, 64)[:33] + b"\0\0\0\x05ZZ\xff\xfe" + png(64, 64)[37:],
    "PNG cut off": saved(Image.fromarray(textured(1)), "PNG")[:-40],
    "PNG without an end": png(64, 64)[:45],
    "JPEG cut off": saved(Image.fromarray(textured(1)), "JPEG")[:-200],
    "JPEG header only": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    "GIF cut off": saved(Image.fromarray(textured(1)), "GIF")[:30],
    "WebP cut off": saved(Image.fromarray(textured(1)), "WebP")[:40],
    "BMP header only": b"BM" + bytes(12),
    "TIFF with odd tags": b"II*\0\x08\0\0\0\x01\0\x00\x01\x03\0\x01\0\0\0\x01\0\0\0\0\0\0\0",
    "TIFF that names itself as its next image": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "AVIF header only": b"\0\0\0\x1cftypavif" + bytes(16),
    "QOI": b"qoif" + struct.pack(">II", 64, 64) + b"\x03\x00\xfe",
    "DDS": b"DDS " + struct.pack("<I", 124) + bytes(120),
    "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 64, 64, 8, 3) + bytes(2),
    "FLI": bytes(4) + b"\x11\xaf\1\0\x40\0\x40\0" + bytes(116),
    "ICNS": b"icns" + struct.pack(">I", 16) + b"ic07" + struct.pack(">I", 8),
    "PPM": b"P6 1 1 255 abc",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_invalid_image_is_a_one_line_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "holiday.png"
    path.write_bytes(DAMAGED[damage])
    with pytest.raises(UnreadableMediaError, match=r"cannot read .*holiday\.png as an image: .+; convert it") as caught:
        sandbox.decode_image(path)
    assert len(str(caught.value).splitlines()) == 1


def test_decoding_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow passes PostScript to Ghostscript."""
    log = tmp_path / "log"
    for name in ("gs", "gswin64c", "djpeg", "cjpeg"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho $0 >> {log}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    sandbox._kill_idle()  # the next child gets this PATH
    path = tmp_path / "holiday.png"
    path.write_bytes(POSTSCRIPT)
    with pytest.raises(UnreadableMediaError):
        load_image(path, (8, 8))
    assert not log.exists()


def test_no_other_format_is_registered_in_the_sandbox(tmp_path: Path) -> None:
    """Decode a file of each format and an unsupported one, then list the formats registered in Pillow."""
    for kind in FORMATS[:-1]:
        (tmp_path / kind).write_bytes(saved(Image.fromarray(HALVES), kind))
    (tmp_path / "none").write_bytes(POSTSCRIPT)
    code = """
import sys
from pathlib import Path
from var_plugin.errors import UnreadableMediaError
from var_plugin.media.limits import DEFAULT_LIMITS
from var_plugin.media.sandbox import worker
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        list(worker.JOBS["image"](path, DEFAULT_LIMITS, size=[8, 8]))
    except UnreadableMediaError:
        pass
from PIL import Image
print(*Image.OPEN)
"""
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) <= {"JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF"}


def test_missing_and_special_files_have_typed_errors(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    for name, kind in {
        "empty.png": EmptyMediaError,
        "gone.png": MediaNotFoundError,
        "pipe.png": MediaNotFoundError,
        ".": MediaNotFoundError,
        "x" * 300: UnreadableMediaError,
        "a\0b": UnreadableMediaError,
        "\udcff.png": MediaNotFoundError,
    }.items():
        with pytest.raises(kind):
            load_image(tmp_path / name, (8, 8))
    with pytest.raises(UnreadableMediaError, match="File name too long"):
        load_image("data:image/png;base64," + "A" * 5000, (8, 8))


def test_pil_images_of_the_caller_are_decoded_in_this_process(tmp_path: Path) -> None:
    """A PIL image may have any mode and an EXIF orientation."""
    sandbox._kill_idle()
    exif = Image.Exif()
    exif[0x0112] = 3
    file = io.BytesIO(saved(Image.fromarray(HALVES[::-1, ::-1]), "PNG", exif=exif))
    assert mean_colors(load_image(Image.open(file), (48, 64)))[0][0] > 180
    assert load_image(HALVES, (8, 8)).shape == (8, 8, 3)
    assert not sandbox._idle, "no child was started"
    with pytest.raises(InvalidInputError, match="cannot read a PIL image"):
        load_image(Image.open(io.BytesIO(saved(Image.fromarray(textured(1)), "PNG")[:-40])), (8, 8))


@pytest.mark.parametrize("item", [b"bytes", 3, None, HALVES[..., 0], HALVES.astype(np.float32), HALVES[:0]])
def test_unsupported_inputs_are_refused(item: object) -> None:
    with pytest.raises(InvalidInputError, match="not an image"):
        load_image(item, (8, 8))
