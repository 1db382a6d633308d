"""Tests of the frame shown at a time: in every container, between distant frames, and without timestamps."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.films import TIME_BASE, Film, textured
from tests.media.test_frames import write_display_matrix
from var_plugin.errors import TruncatedMediaError, UnreadableMediaError
from var_plugin.media.decoded import Frame
from var_plugin.media.frames import FrameReader, frame_at
from var_plugin.media.sandbox import client as sandbox
from var_plugin.media.thumbnails import write_thumbnail

FORMATS = [
    ("a.mp4", "libx264", {}),
    ("a.mov", "mjpeg", {}),
    ("a.mkv", "libx264", {}),
    ("a.webm", "libvpx", {}),
    ("a.ts", "libx264", {}),
    ("a.m2ts", "libx264", {}),
    ("open.ts", "libx264", {"x264-params": "open-gop=1:bframes=3:b-adapt=0"}),
    ("mpeg2.ts", "mpeg2video", {"bf": "2"}),
    ("a.vob", "libx264", {}),
    ("mpeg2.vob", "mpeg2video", {"bf": "2"}),
    ("a.mpg", "libx264", {}),
    ("a.avi", "libx264", {}),
    ("xvid.avi", "mpeg4", {"bf": "2"}),
    ("a.flv", "libx264", {}),
    ("a.wmv", "wmv2", {}),
    ("a.h264", "libx264", {}),
    ("a.265", "libx265", {"x265-params": "log-level=none"}),
    ("a.mjpeg", "mjpeg", {}),
    ("a.m4v", "mpeg4", {}),
]
RAW = {"a.h264": "h264", "a.265": "hevc", "a.mjpeg": "mjpeg", "a.m4v": "m4v", "mpeg2.vob": "vob", "a.vob": "vob"}


def slowly(number: int) -> np.ndarray:
    """Return an image that differs from its neighbours after encoding and never causes a scene change."""
    image = textured(1, 64, 96)
    image[:32] = textured(2 + number // 8, 32, 96) // 8
    image[:32, 12 * (number % 8) : 12 * (number % 8) + 12] = 230
    return image


def coded(
    path: Path, codec: str, options: dict[str, str], *, times: Sequence[float] = (), gop: int = 40, fps: int = 25
) -> Path:
    """Encode 90 frames, or one for each of `times`, with few keyframes. Frame n is `slowly(n)`."""
    with av.open(str(path), "w", format=RAW.get(path.name)) as container:
        stream = container.add_stream(codec, rate=fps, width=96, height=64, options=options)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        base = TIME_BASE if times else Fraction(1, fps)
        stream.codec_context.time_base = base
        for number, time in enumerate(times or np.arange(90) / fps):
            frame = av.VideoFrame.from_ndarray(slowly(number), format="rgb24")
            frame.pts, frame.time_base = round(float(time) / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def number_of(frame: Frame, count: int) -> int:
    """Return the number of a frame among the first `count` frames."""
    return min(range(count), key=lambda number: np.abs(slowly(number).astype(int) - frame.image).mean())


@pytest.mark.parametrize(("name", "codec", "options"), FORMATS)
def test_frame_is_shown_from_its_time_until_the_next(
    name: str, codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = coded(tmp_path / name, codec, options)
    frames = list(FrameReader(path))
    assert [number_of(frame, 90) for frame in frames[::5]] == list(range(0, 90, 5)), "all frames in order"
    assert np.diff([frame.time for frame in frames]) == pytest.approx(1 / 25, abs=0.0011)
    for number in (0, 1, 13, 39, 41, 62, 88, 89):
        for time in (frames[number].time, frames[number].time + 0.025):
            frame = frame_at(path, time)
            assert frame.time == pytest.approx(frames[number].time, abs=1e-3)
            assert np.array_equal(frame.image, frames[number].image), (number, time)
    part = list(FrameReader(path, start=frames[50].time, end=frames[60].time))
    assert [frame.time for frame in part] == pytest.approx([frame.time for frame in frames[50:60]], abs=0.0021)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_distant_frames_are_shown_until_the_next(name: str, tmp_path: Path) -> None:
    """Such frames occur in time lapses, screen recordings and cameras that send changes only."""
    times = [0.0, 1.0, 12.0, 12.1, 40.0, 40.1]
    path = coded(tmp_path / name, "libx264", {"bf": "0"}, times=times, gop=3)
    for time, number in ((0.9, 0), (5.0, 1), (11.99, 1), (12.05, 2), (30.0, 3), (40.05, 4)):
        frame = sandbox.frame_at(path, time)
        assert (number_of(frame, 6), frame.time) == (number, pytest.approx(times[number], abs=0.002))
    reader = FrameReader(path, start=5.0, end=8.0)
    assert [(frame.time, number_of(frame, 6)) for frame in reader] == [(5.0, 1)]
    assert reader.end == 8.0
    assert [frame.time for frame in FrameReader(path, rate=1, start=11.5, end=30.0)] == pytest.approx([11.5, 12.0])
    sandbox._kill_idle()


def test_first_frame_is_shown_before_its_time(film: Film) -> None:
    path = film("late.mkv", times=[2 + i / 10 for i in range(20)], tone=440, seconds=4)
    frame = frame_at(path, 0.5)
    assert frame.time == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_last_frame_is_shown_until_the_audio_ends(name: str, film: Film) -> None:
    """A file whose frames end before its audio is not truncated. Matroska declares one duration for all streams."""
    path = film(name, times=[i / 10 for i in range(20)], tone=440, seconds=9)
    reader = FrameReader(path)
    assert len(list(reader)) == 20
    assert reader.end == pytest.approx(2.0, abs=0.05)
    assert frame_at(path, 6.0).time == pytest.approx(1.9, abs=0.05)
    part = FrameReader(path, start=5.0, end=7.0)
    assert [frame.time for frame in part] == [5.0]
    assert part.end == 7.0
    with pytest.raises(UnreadableMediaError, match="no frame at 30"):
        frame_at(path, 30.0)


def test_last_frame_of_a_truncated_file_is_not_shown_after_the_cut(film: Film) -> None:
    path = film("cut.mp4", seconds=20, paint=lambda time: textured(round(time * 10)), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TruncatedMediaError):
        frame_at(path, 18.0)


def test_times_continue_after_the_clock_of_mpeg_ts_wraps(film: Film) -> None:
    """The clock has 33 bits and wraps after 26.5 hours."""
    wrap = 2**33 / 90_000
    path = film("wrapped.ts", times=[wrap - 2.5 + i / 10 for i in range(60)], paint=lambda t: textured(round(t * 10)))
    frames = list(FrameReader(path))
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(60)], abs=0.002)
    for number in (3, 22, 27, 45, 58):
        frame = frame_at(path, number / 10 + 0.03)
        assert frame.time == pytest.approx(number / 10, abs=0.002)
        assert np.array_equal(frame.image, frames[number].image)


def with_pixels(path: Path, width: int, height: int, tall: int, wide: int) -> Path:
    """Write a video with pixels of `wide` to `tall` that displays a white square on black."""
    aspect = wide / tall
    image = np.zeros((height, width, 3), np.uint8)
    side = height // 2
    image[:side, : round(side / aspect)] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=10, width=width, height=height, options={"x264-params": f"sar={wide}\\:{tall}"}
        )
        stream.pix_fmt = "yuv420p"
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("width", "height", "tall", "wide", "display_size"),
    [(352, 144, 11, 5, (144, 160)), (144, 108, 3, 4, (108, 192)), (96, 64, 1, 1, (64, 96)), (96, 64, 1, 200, (64, 96))],
    ids=["analogue field", "HDV", "square", "invalid"],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_frames_have_the_display_aspect_ratio(
    name: str, width: int, height: int, tall: int, wide: int, display_size: tuple[int, int], tmp_path: Path
) -> None:
    path = with_pixels(tmp_path / name, width, height, tall, wide)
    image = next(iter(FrameReader(path))).image
    assert image.shape[:2] == display_size
    if tall != wide and wide < 200:
        white = image[..., 0] > 128
        assert white[2].sum() == pytest.approx(white[:, 2].sum(), abs=3), "the square is displayed as a square"
    assert sandbox.image_at(path, 1.0, width=80).shape == (round(80 * display_size[0] / display_size[1]), 80, 3)
    sandbox._kill_idle()


def test_pixel_aspect_ratio_is_rotated_with_the_frame(tmp_path: Path) -> None:
    from PIL import Image

    path = with_pixels(tmp_path / "a.mp4", 352, 144, 11, 5)
    write_display_matrix(path, (0, 1, -1, 0))
    assert next(iter(FrameReader(path))).image.shape == (160, 144, 3)
    with Image.open(write_thumbnail(path, 0.5, tmp_path / "a.jpg")) as image:
        assert image.width / image.height == pytest.approx(144 / 160, abs=0.01)
    sandbox._kill_idle()
