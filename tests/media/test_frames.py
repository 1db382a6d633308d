from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.films import Film, plain, textured
from var_plugin.errors import (
    EmptyMediaError,
    MediaNotFoundError,
    NoVideoStreamError,
    TruncatedMediaError,
    UnreadableMediaError,
)
from var_plugin.media.container import probe
from var_plugin.media.frames import FrameReader, image_at


def brightness_is_time(time: float) -> np.ndarray:
    return plain(*[round(20 + 20 * time)] * 3)


def test_every_frame_has_its_true_time(film: Film) -> None:
    path = film(seconds=3, fps=10, paint=brightness_is_time)
    frames = list(FrameReader(path))
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(30)], abs=1e-3)
    assert [frame.image.mean() for frame in frames] == pytest.approx([20 + 2 * i for i in range(30)], abs=3)


def test_the_end_is_that_of_the_last_frame(film: Film) -> None:
    reader = FrameReader(film(seconds=2.5, fps=10))
    list(reader)
    assert reader.end == pytest.approx(2.5, abs=0.02)


@pytest.mark.parametrize("fps", [10, 24, 25, 30])
def test_a_lower_rate_does_not_drift(film: Film, fps: int) -> None:
    times = [frame.time for frame in FrameReader(film(seconds=10, fps=fps), rate=2)]
    assert len(times) == 20
    assert all(slot / 2 <= time < slot / 2 + 1 / fps for slot, time in enumerate(times))


def test_variable_frame_rate_keeps_presentation_times(film: Film) -> None:
    stamps = [0.0, 0.1, 0.9, 1.0, 1.05, 2.7, 3.9]
    path = film("vfr.mkv", times=stamps, paint=brightness_is_time)
    frames = list(FrameReader(path))
    assert [frame.time for frame in frames] == pytest.approx(stamps, abs=0.002)
    assert [frame.image.mean() for frame in frames] == pytest.approx([20 + 20 * s for s in stamps], abs=4)
    assert [frame.time for frame in FrameReader(path, rate=1)] == pytest.approx([0.0, 1.0, 2.7, 3.9], abs=0.002)


def test_images_come_at_the_size_asked_for(film: Film) -> None:
    half = np.zeros((90, 160, 3), np.uint8)
    half[:, 80:] = 255
    path = film(paint=lambda time: half)
    image = next(iter(FrameReader(path, size=(32, 32)))).image
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    assert image[:, :14].mean() < 10 < 240 < image[:, 18:].mean()


def test_odd_sizes_are_decoded(film: Film) -> None:
    path = film("odd.avi", codec="mjpeg", paint=lambda time: textured(3, 56, 72)[:51, :67])
    assert next(iter(FrameReader(path))).image.shape == (51, 67, 3)


def test_mpeg_ts_begins_at_zero(film: Film) -> None:
    path = film("stream.ts", seconds=2, tone=440)
    assert next(iter(FrameReader(path))).time == pytest.approx(0.0, abs=0.05)


def test_part_of_the_frames_is_read(film: Film) -> None:
    path = film(seconds=6, fps=10, paint=brightness_is_time)
    frames = list(FrameReader(path, rate=5, start=2.0, end=3.0))
    assert [frame.time for frame in frames] == pytest.approx([2.0, 2.2, 2.4, 2.6, 2.8], abs=1e-3)
    assert frames[0].image.mean() == pytest.approx(60, abs=3)


@pytest.mark.parametrize(
    ("matrix", "bright"),
    [((0, 1, -1, 0), "right"), ((0, -1, 1, 0), "left"), ((-1, 0, 0, -1), "bottom")],
    ids=["turned clockwise", "turned counterclockwise", "upside down"],
)
def test_rotation_is_applied(film: Film, matrix: tuple[int, ...], bright: str) -> None:
    """The upper half is bright; the matrix is the header's own, so the expectation does not come from PyAV."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24] = 255
    path = film(paint=lambda time: image)
    write_display_matrix(path, matrix)
    shown = next(iter(FrameReader(path))).image
    assert shown.shape[:2] == ((48, 64) if bright == "bottom" else (64, 48))
    half = {"right": shown[:, 28:], "left": shown[:, :20], "bottom": shown[28:]}[bright]
    assert half.mean() > 240
    assert shown.mean() == pytest.approx(127, abs=8)


def write_display_matrix(path: Path, matrix: tuple[int, ...]) -> None:
    """Overwrite a, b, c, d of the first track header: (x, y) is shown at (a x + c y, b x + d y)."""
    content = bytearray(path.read_bytes())
    version = content[content.index(b"tkhd") + 4]
    start = content.index(b"tkhd") + 4 + (52 if version else 40)
    a, b, c, d = (value << 16 for value in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def test_the_largest_stream_is_the_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=10, width=w, height=h) for w, h in ((32, 32), (96, 64))]
        for stream in streams:
            stream.pix_fmt = "yuv420p"
        for i in range(10):
            for stream in streams:
                image = textured(i, stream.height, stream.width)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts = i
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    assert probe(path).width == 96
    assert next(iter(FrameReader(path))).image.shape == (64, 96, 3)


def test_probe_reads_the_header(film: Film) -> None:
    info = probe(film(seconds=3, fps=10, tone=440))
    assert (info.width, info.height, info.frame_rate, info.has_audio) == (64, 48, 10.0, True)
    assert info.duration == pytest.approx(3.0, abs=0.1)
    assert not probe(film("silent.mp4")).has_audio


def test_only_one_frame_is_held_at_a_time(film: Film) -> None:
    """A generator: the tenth frame is there before the film has been read to its end."""
    reader = FrameReader(film(seconds=20, fps=10))
    frames = iter(reader)
    for _ in range(10):
        next(frames)
    assert reader.end < 2.0


def test_damaged_packets_are_passed_over(film: Film) -> None:
    path = film("damaged.ts", seconds=8, fps=10, paint=lambda time: textured(round(time * 10)))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2_000] = bytes(2_000)
    path.write_bytes(content)
    times = [frame.time for frame in FrameReader(path)]
    assert 60 < len(times) <= 80
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[-1] > 7.5


def test_image_at_keeps_the_shape(film: Film) -> None:
    path = film(seconds=4, fps=10, paint=brightness_is_time)
    image = image_at(path, 2.0, width=32)
    assert image.shape == (24, 32, 3)
    assert image.mean() == pytest.approx(60, abs=3)
    with pytest.raises(UnreadableMediaError, match="no frame at 9"):
        image_at(path, 9.0, width=32)


def test_each_bad_file_has_its_own_error(film: Film, tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    text = tmp_path / "text.mp4"
    text.write_text("this is no film\n" * 200)
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).bytes(20_000))
    headless = film("headless.mp4", seconds=2)
    headless.write_bytes(headless.read_bytes()[: headless.stat().st_size // 2])
    cases = [
        (tmp_path / "missing.mp4", MediaNotFoundError),
        (tmp_path, MediaNotFoundError),
        (empty, EmptyMediaError),
        (text, UnreadableMediaError),
        (noise, UnreadableMediaError),
        (headless, UnreadableMediaError),
        (film("sound.mp4", tone=440, images=False), NoVideoStreamError),
    ]
    for path, expected in cases:
        with pytest.raises(expected) as caught:
            list(FrameReader(path))
        assert str(path) in str(caught.value)
        assert caught.value.fix


def test_truncation_is_found_at_the_end(film: Film) -> None:
    path = film(
        "cut.mp4", seconds=20, fps=10, paint=lambda time: textured(round(time * 10)), options={"movflags": "faststart"}
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = []
    with pytest.raises(TruncatedMediaError, match=r"declares 20\.0 s .* stops at"):
        frames.extend(FrameReader(path))
    assert list(FrameReader(path, end=3.0)), "a part before the cut can still be read"
    with pytest.raises(TruncatedMediaError, match="stops at"):
        list(FrameReader(path, end=19.0))
    with pytest.raises(TruncatedMediaError, match="stops at"):
        list(FrameReader(path, start=1.0, end=3600.0))


def test_a_part_that_ends_between_two_distant_frames_is_complete(film: Film) -> None:
    path = film(times=[0.0, 1.0, 12.0])
    reader = FrameReader(path, end=8.0)
    assert [frame.time for frame in reader] == pytest.approx([0.0, 1.0])
    assert reader.end == 8.0
