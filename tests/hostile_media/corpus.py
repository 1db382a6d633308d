"""A generated corpus of files from faulty cameras, bad disks or attackers, each with its expected outcome."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from tests.films import Film, textured
from var_plugin.errors import (
    BrokenTimestampsError,
    DecodingMemoryError,
    EmptyMediaError,
    NoVideoStreamError,
    PlaylistError,
    TooLongMediaError,
    TooManyPixelsError,
    TooManyStreamsError,
    TruncatedMediaError,
    UnreadableMediaError,
    VarPluginError,
)
from var_plugin.media.files import VIDEO_SUFFIXES

SECRET = "root:x:0:0:the content of another file"  # noqa: S105  (no decoder may ever read this)


@dataclass(frozen=True)
class Case:
    """A file and the allowed outcomes of reading it: a number of frames, an error, or either."""

    path: Path
    frames: range | None = None
    errors: tuple[type[VarPluginError], ...] = ()


def moving(time: float) -> np.ndarray:
    """Return an image that differs from frame to frame, so that the video has bytes to damage."""
    return textured(round(time * 10))


def build(folder: Path) -> list[Case]:
    """Write the whole corpus into a folder."""
    film = Film(folder)
    return [*_odd_but_readable(film), *_without_frames(film), *_invalid_headers(film), *_truncated(film),
            *_playlists(folder), *_too_large(film), *_noise(folder), *_flipped_bits(film)]  # fmt: skip


def _odd_but_readable(film: Film) -> Iterator[Case]:
    yield Case(film("one_frame.mp4", seconds=0.1), range(1, 2))
    yield Case(film("no_audio.mp4"), range(20, 21))
    yield Case(film("with_audio.mp4", tone=440), range(20, 21))
    stamps = [0.0, 0.02, 0.9, 1.0, 1.05, 7.5, 7.6]
    yield Case(film("variable_rate.mkv", times=stamps), range(7, 8))
    yield Case(
        film("negative_times.ts", times=[i / 10 - 1 for i in range(20)], options={"avoid_negative_ts": "disabled"}),
        range(20, 21),
    )
    wrap = 2**33 / 90_000  # the clock of MPEG-TS has 33 bits and wraps every 26.5 hours
    yield Case(
        film("wrapped_times.ts", times=[wrap - 2.5 + i / 10 for i in range(40)]),
        range(40, 41),
    )
    rotated = film("rotated.mp4", paint=moving)
    overwrite(rotated, b"tkhd", 40, struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30))
    yield Case(rotated, range(20, 21))
    yield Case(film("ten_bit.mp4", pixel_format="yuv420p10le"), range(20, 21))
    eight_k = np.zeros((4320, 7680, 3), np.uint8)
    yield Case(film("eight_k.mp4", seconds=0.2, paint=lambda time: eight_k), range(2, 3))


def _without_frames(film: Film) -> Iterator[Case]:
    empty = film.folder / "empty.mp4"
    empty.touch()
    yield Case(empty, errors=(EmptyMediaError,))
    yield Case(film("audio_only.mp4", tone=440, images=False), errors=(NoVideoStreamError,))
    for suffix in (".avi", ".mkv", ".mp4", ".ts"):
        path = film.folder / f"zero_frames{suffix}"
        with av.open(str(path), "w") as container:
            container.add_stream("mpeg4", rate=10, width=64, height=48)
            container.start_encoding()
        yield Case(path, errors=(EmptyMediaError, UnreadableMediaError))


def _invalid_headers(film: Film) -> Iterator[Case]:
    absurd = film("absurd_duration.mp4", paint=moving)
    for box, offset in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)):
        overwrite(absurd, box, offset, struct.pack(">I", 0x7FFFFFFF))
    yield Case(absurd, range(20, 21))  # the sample table counts, not the durations
    flv = film("absurd_duration.flv", paint=moving)
    overwrite(flv, b"duration\x00", 0, struct.pack(">d", 1e9))
    yield Case(flv, errors=(TruncatedMediaError,))
    jump = [0.0, 0.1, 0.2, 90_000.0, 90_000.1]
    yield Case(film("clock_set_forward.mkv", times=jump), errors=(BrokenTimestampsError,))
    hours = [i * 3000.0 for i in range(80)]
    yield Case(film("three_days.mkv", times=hours), errors=(TooLongMediaError,))
    for name, value in (("huge", 1e18), ("infinite", float("inf")), ("undefined", float("nan")), ("negative", -1e9)):
        path = film(f"{name}_duration.mkv", paint=moving)
        overwrite(path, b"\x44\x89\x88", 0, struct.pack(">d", value))
        yield Case(path, range(20, 21), (TruncatedMediaError, UnreadableMediaError))
    two = film("first.ts", seconds=5, paint=moving), film("second.ts", seconds=5, paint=moving)
    restarted = film.folder / "clock_set_back.ts"
    restarted.write_bytes(b"".join(part.read_bytes() for part in two))
    yield Case(restarted, errors=(BrokenTimestampsError,))


def _truncated(film: Film) -> Iterator[Case]:
    """A header at the front survives truncation, a header at the end does not, and streams need none."""
    front = film("front.mp4", seconds=20, paint=moving, options={"movflags": "faststart"}).read_bytes()
    back = film("back.mp4", paint=moving).read_bytes()
    stream = film("stream.ts", seconds=20, paint=moving).read_bytes()
    for percent in (1, 10, 25, 50, 75, 90):
        for name, content in (("front.mp4", front), ("back.mp4", back), ("stream.ts", stream)):
            path = film.folder / f"cut_at_{percent}_{name}"
            path.write_bytes(content[: len(content) * percent // 100])
            readable = range(1, 201) if name == "stream.ts" or percent == 90 else None
            yield Case(path, readable, (TruncatedMediaError, UnreadableMediaError))


def _playlists(folder: Path) -> Iterator[Case]:
    """Each playlist would make FFmpeg open another file, a secret or a video, if it were followed."""
    secret = folder / "secret" / "passwd"
    secret.parent.mkdir()
    secret.write_text(SECRET)
    bait = Film(secret.parent)("bait.ts")
    texts = {
        "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
        "hls_with_mark": "\ufeff#EXTM3U\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
        "hls_crypt": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n',
        "concat": "ffconcat version 1.0\nfile '{target}'\n",
        "dash": '<?xml version="1.0"?><MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>',
        "session": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
        "pls": "[playlist]\nFile1={target}\n",
    }
    for name, text in texts.items():
        for target in ("/etc/passwd", f"file://{secret}", str(bait), "concat:/etc/passwd|" + str(bait)):
            for suffix in (".mp4", ".ts"):
                path = folder / f"{name}_{len(list(folder.iterdir()))}{suffix}"
                path.write_text(text.format(target=target))
                yield Case(path, errors=(PlaylistError,))


def _too_large(film: Film) -> Iterator[Case]:
    """Small files that need much memory."""
    bomb = np.zeros((4_400, 7_700, 3), np.uint8)
    yield Case(film("bomb.mkv", seconds=0.1, paint=lambda time: bomb, codec="mjpeg"), errors=(TooManyPixelsError,))
    lying = film("lying_bomb.avi", seconds=0.1, codec="mjpeg")
    overwrite(lying, b"\xff\xc0", 3, struct.pack(">HH", 65_000, 65_000))
    yield Case(lying, errors=(TooManyPixelsError, UnreadableMediaError, DecodingMemoryError))
    many = film.folder / "many_streams.mkv"
    with av.open(str(many), "w") as container:
        tracks = [container.add_stream("pcm_s16le", rate=8_000, layout="mono") for _ in range(100)]
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        silence.sample_rate = 8_000
        container.mux(tracks[0].encode(silence))
    yield Case(many, errors=(TooManyStreamsError,))


def _noise(folder: Path) -> Iterator[Case]:
    chance = random.Random(5)
    for suffix in sorted(VIDEO_SUFFIXES | {".264", ".gif", ".h264", ".hevc", ".m3u8", ".mpd", ".sdp", ".wav"}):
        path = folder / f"noise{suffix}"
        path.write_bytes(chance.randbytes(30_000))
        yield Case(path, range(1, 1000), (UnreadableMediaError, NoVideoStreamError))


def _flipped_bits(film: Film) -> Iterator[Case]:
    chance = random.Random(7)
    for suffix in (".mp4", ".mkv", ".ts", ".avi", ".flv"):
        content = film(f"whole{suffix}", seconds=5, paint=moving, tone=440).read_bytes()
        for share in (1e-5, 1e-3, 1e-2):
            damaged = bytearray(content)
            for _ in range(max(1, round(len(content) * 8 * share))):
                damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            path = film.folder / f"flipped_{share:g}{suffix}"
            path.write_bytes(damaged)
            yield Case(path, range(1, 60), (VarPluginError,))


def overwrite(path: Path, mark: bytes, offset: int, value: bytes) -> None:
    """Overwrite bytes `offset` bytes after the first occurrence of `mark`."""
    content = bytearray(path.read_bytes())
    start = content.index(mark) + len(mark) + offset
    content[start : start + len(value)] = value
    path.write_bytes(content)
