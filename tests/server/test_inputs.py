"""Malicious and damaged files, sent to a real server. Each gets a specific error, and the server keeps running."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.colors import DESCRIPTION, build, color_suite
from tests.films import Film, plain
from tests.server.conftest import MODEL, data_uri
from var_plugin.encoders.suite import Suite
from var_plugin.media.limits import Limits
from var_plugin.server.fetch import Fetcher
from var_plugin.server.inputs import MAX_MEDIA, Content, InputReader


@pytest.fixture
def embed(serving: Callable[..., str]) -> Callable[..., httpx.Response]:
    address = serving(limits=Limits(duration=5.0))

    def send(*inputs: str, modality: str | None = None) -> httpx.Response:
        body = {"model": MODEL, "input": list(inputs), "modality": modality}
        return httpx.post(f"{address}/v1/embeddings", json=body, timeout=60)

    return send


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *more: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", header), *more, chunk(b"IDAT", pixels), chunk(b"IEND", b"")])


@pytest.mark.parametrize("side", [7000, 12_000, 60_000])
def test_image_with_too_many_pixels_is_refused_by_its_header(embed: Callable[..., httpx.Response], side: int) -> None:
    response = embed(data_uri("image/png", png_of(side, side)))
    assert refusal(response) == (413, "too_many_pixels_error")


def test_image_with_a_decompression_bomb_in_its_text_is_refused(embed: Callable[..., httpx.Response]) -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000)))
    response = embed(data_uri("image/png", png_of(8, 8, bomb)))
    assert refusal(response) == (400, "unreadable_media_error")


def test_postscript_image_is_refused(embed: Callable[..., httpx.Response]) -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    assert refusal(embed(data_uri("image/x-eps", postscript))) == (400, "unreadable_media_error")


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("data", [b"\0" * 100, b"PK\x03\x04" + b"\0" * 100, b"<svg onload='x'/>"])
def test_data_that_are_not_media_are_refused(embed: Callable[..., httpx.Response], kind: str, data: bytes) -> None:
    assert refusal(embed(data_uri(f"{kind}/any", data))) == (400, "unreadable_media_error")


def test_empty_file_is_refused(embed: Callable[..., httpx.Response]) -> None:
    assert refusal(embed(data_uri("image/png", b""))) == (400, "empty_media_error")


@pytest.mark.parametrize("text", ["data:image/png;base64,%%%", "data:image/png,raw", "data:,"])
def test_data_that_are_not_base64_are_refused(embed: Callable[..., httpx.Response], text: str) -> None:
    response = embed(text, modality="image")
    assert response.status_code == 400


@pytest.mark.parametrize("path", ["/etc/passwd", "../../etc/passwd", "file:///etc/passwd", "C:\\boot.ini"])
@pytest.mark.parametrize("modality", ["image", "video"])
def test_file_paths_are_not_opened(embed: Callable[..., httpx.Response], path: str, modality: str) -> None:
    assert refusal(embed(path, modality=modality)) == (400, "invalid_input_error")


def test_a_playlist_does_not_open_other_files(embed: Callable[..., httpx.Response], blue_film: Path) -> None:
    for playlist in (f"ffconcat version 1.0\nfile '{blue_film}'\n", f"#EXTM3U\n#EXTINF:1,\n{blue_film}\n"):
        status, _ = refusal(embed(data_uri("video/mp4", playlist.encode())))
        assert status == 400


def test_a_video_longer_than_the_limit_is_refused(embed: Callable[..., httpx.Response], film: Film) -> None:
    long = film("long.mp4", seconds=8, fps=2, paint=lambda _: plain(255, 0, 0)).read_bytes()
    assert refusal(embed(data_uri("video/mp4", long))) == (413, "too_long_media_error")


def test_errors_do_not_reveal_paths(embed: Callable[..., httpx.Response]) -> None:
    message = embed(data_uri("video/mp4", b"nonsense")).json()["error"]["message"]
    assert "input-0" in message
    assert tempfile.gettempdir() not in message


def test_number_of_media_per_request_is_limited(embed: Callable[..., httpx.Response], green_png: bytes) -> None:
    image = data_uri("image/png", green_png)
    assert embed(*[image] * MAX_MEDIA).status_code == 200
    assert embed(*[image] * (MAX_MEDIA + 1)).status_code == 413


async def test_image_is_rotated_by_its_exif_orientation_and_scaled(tmp_path: Path) -> None:
    halves = np.concatenate([plain(255, 0, 0, width=16, height=16), plain(0, 0, 255, width=16, height=16)])
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees: the top row is the right side
    file = io.BytesIO()
    Image.fromarray(halves).save(file, "PNG", exif=exif)
    reader = InputReader(Fetcher([], 1), Limits(), tmp_path)
    async with reader.decode([Content("image", file.getvalue())], color_suite(), "scene") as items:
        assert items[0].shape == (8, 8, 3)
        assert items[0][0, 0].tolist() == [0, 0, 255]
        assert items[0][7, 7].tolist() == [255, 0, 0]


async def test_audio_is_decoded_to_samples(tmp_path: Path, film: Film) -> None:
    scene = build()["scene"]
    audio_encoders = replace(scene, space=replace(scene.space, modalities=frozenset({"text", "audio"})))
    suite = Suite(DESCRIPTION, {"scene": audio_encoders})
    reader = InputReader(Fetcher([], 1), Limits(), tmp_path)
    tone = film("tone.mp4", seconds=1, tone=440.0, images=False).read_bytes()
    async with reader.decode([Content("audio", tone)], suite, "scene") as items:
        samples, rate = items[0]
        assert rate == 16_000
        assert len(samples) == pytest.approx(16_000, rel=0.1)
    assert not list(tmp_path.glob("tmp*")), "temporary files are removed"
