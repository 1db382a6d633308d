from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.films import Film, plain, textured
from var_plugin.errors import (
    EmptyMediaError,
    MediaNotFoundError,
    NoVideoStreamError,
    TruncatedMediaError,
    UnreadableMediaError,
)
from var_plugin.media import frames
from var_plugin.media.container import probe
from var_plugin.media.frames import FrameReader, find_sufficient_keyframes, image_at
from var_plugin.media.limits import DEFAULT_LIMITS


def brightness_is_time(time: float) -> np.ndarray:
    return plain(*[round(20 + 20 * time)] * 3)


def test_every_frame_has_its_true_time(film: Film) -> None:
    path = film(seconds=3, fps=10, paint=brightness_is_time)
    frames = list(FrameReader(path))
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(30)], abs=1e-3)
    assert [frame.image.mean() for frame in frames] == pytest.approx([20 + 2 * i for i in range(30)], abs=3)


def test_end_is_the_end_of_the_last_frame(film: Film) -> None:
    reader = FrameReader(film(seconds=2.5, fps=10))
    list(reader)
    assert reader.end == pytest.approx(2.5, abs=0.02)


@pytest.mark.parametrize("fps", [10, 24, 25, 30])
def test_lower_rate_does_not_drift(film: Film, fps: int) -> None:
    times = [frame.time for frame in FrameReader(film(seconds=10, fps=fps), rate=2)]
    assert len(times) == 20
    assert all(slot / 2 <= time < slot / 2 + 1 / fps for slot, time in enumerate(times))


def test_variable_frame_rate_keeps_presentation_times(film: Film) -> None:
    times = [0.0, 0.1, 0.9, 1.0, 1.05, 2.7, 3.9]
    path = film("vfr.mkv", times=times, paint=brightness_is_time)
    frames = list(FrameReader(path))
    assert [frame.time for frame in frames] == pytest.approx(times, abs=0.002)
    assert [frame.image.mean() for frame in frames] == pytest.approx([20 + 20 * time for time in times], abs=4)
    assert [frame.time for frame in FrameReader(path, rate=1)] == pytest.approx([0.0, 1.0, 2.7, 3.9], abs=0.002)


def test_frames_have_the_requested_size(film: Film) -> None:
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


def test_times_of_mpeg_ts_begin_at_zero(film: Film) -> None:
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
    """The upper half is bright. The matrix is written into the header, so the expectation does not depend on PyAV."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24] = 255
    path = film(paint=lambda time: image)
    write_display_matrix(path, matrix)
    displayed = next(iter(FrameReader(path))).image
    assert displayed.shape[:2] == ((48, 64) if bright == "bottom" else (64, 48))
    half = {"right": displayed[:, 28:], "left": displayed[:, :20], "bottom": displayed[28:]}[bright]
    assert half.mean() > 240
    assert displayed.mean() == pytest.approx(127, abs=8)


def write_display_matrix(path: Path, matrix: tuple[int, ...]) -> None:
    """Overwrite a, b, c, d of the first track header: (x, y) is shown at (a x + c y, b x + d y)."""
    content = bytearray(path.read_bytes())
    version = content[content.index(b"tkhd") + 4]
    start = content.index(b"tkhd") + 4 + (52 if version else 40)
    a, b, c, d = (value << 16 for value in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def test_largest_video_stream_is_used(tmp_path: Path) -> None:
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


def test_frames_are_decoded_lazily(film: Film) -> None:
    """The tenth frame is available before the video is decoded to its end."""
    reader = FrameReader(film(seconds=20, fps=10))
    frames = iter(reader)
    for _ in range(10):
        next(frames)
    assert reader.end < 2.0


def test_damaged_packets_are_skipped(film: Film) -> None:
    path = film("damaged.ts", seconds=8, fps=10, paint=lambda time: textured(round(time * 10)))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2_000] = bytes(2_000)
    path.write_bytes(content)
    times = [frame.time for frame in FrameReader(path)]
    assert 60 < len(times) <= 80
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[-1] > 7.5


def test_image_at_keeps_the_aspect_ratio(film: Film) -> None:
    path = film(seconds=4, fps=10, paint=brightness_is_time)
    image = image_at(path, 2.0, width=32)
    assert image.shape == (24, 32, 3)
    assert image.mean() == pytest.approx(60, abs=3)
    with pytest.raises(UnreadableMediaError, match="no frame at 9"):
        image_at(path, 9.0, width=32)


def test_each_kind_of_bad_file_has_its_own_error(film: Film, tmp_path: Path) -> None:
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


def test_truncation_is_reported_at_the_end(film: Film) -> None:
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


def test_part_that_ends_between_distant_frames_is_complete(film: Film) -> None:
    path = film(times=[0.0, 1.0, 12.0])
    reader = FrameReader(path, end=8.0)
    assert [frame.time for frame in reader] == pytest.approx([0.0, 1.0])
    assert reader.end == 8.0


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list that receives the times of all decoded frames."""
    times: list[float] = []
    decode_stream = frames.decode_stream

    def counting(*arguments: Any, **options: Any) -> Iterator[Any]:
        for frame in decode_stream(*arguments, **options):
            times.append(frame.time)
            yield frame

    monkeypatch.setattr(frames, "decode_stream", counting)
    return times


def slowly(time: float) -> NDArray[np.uint8]:
    """Return an image that changes slightly with time. A scene change would create a keyframe."""
    image = textured(1)
    image[:16] = round(time * 30) % 256
    return image


def numbered(film: Film, name: str = "film.mp4", seconds: float = 6.0, codec: str = "libx264") -> Path:
    """Return a video with a keyframe each second."""
    return film(name, seconds=seconds, fps=10, paint=slowly, codec=codec)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.webm", "libvpx-vp9"), ("a.flv", "libx264")],
)
@pytest.mark.parametrize("rate", [1.0, 0.5, 1 / 3])
def test_keyframes_give_the_same_frames_with_less_decoding(
    film: Film, counted: list[float], monkeypatch: pytest.MonkeyPatch, name: str, codec: str, rate: float
) -> None:
    path = numbered(film, name, codec=codec)
    sparse = FrameReader(path, rate=rate)
    keyframes = list(sparse)
    keyframe_count = len(counted)
    monkeypatch.setattr(frames, "find_sufficient_keyframes", lambda *_: None)
    dense = FrameReader(path, rate=rate)
    expected = list(dense)
    assert [frame.time for frame in keyframes] == [frame.time for frame in expected]
    for frame, other in zip(keyframes, expected, strict=True):
        np.testing.assert_array_equal(frame.image, other.image)
    assert sparse.end == pytest.approx(dense.end, abs=0.11), "a container may not store the duration of its last packet"
    assert (keyframe_count, len(counted) - keyframe_count) == (6, 60)


@pytest.mark.parametrize("options", [{"rate": 2.0}, {"rate": 1.0, "motion": 16}, {"rate": 1.0, "end": 5.0}, {}])
def test_all_frames_are_decoded_where_keyframes_do_not_suffice(
    film: Film, counted: list[float], options: dict[str, Any]
) -> None:
    list(FrameReader(numbered(film), **options))
    assert len(counted) >= 50


def test_large_file_is_not_scanned_for_keyframes(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    path = numbered(film)
    monkeypatch.setattr(frames, "_MAX_SCAN_BYTES", path.stat().st_size)
    keyframes = find_sufficient_keyframes(path, 1.0, DEFAULT_LIMITS)
    assert keyframes and keyframes.end == pytest.approx(6.0)
    monkeypatch.setattr(frames, "_MAX_SCAN_BYTES", path.stat().st_size - 1)
    assert find_sufficient_keyframes(path, 1.0, DEFAULT_LIMITS) is None


def test_gap_between_keyframes_requires_all_frames(film: Film) -> None:
    """Frames follow a pause without a keyframe."""
    whole = film("whole.mp4", seconds=6, fps=10)
    keyframes = find_sufficient_keyframes(whole, 1.0, DEFAULT_LIMITS)
    assert keyframes and keyframes.end == pytest.approx(6.0)
    late = film("late.mp4", fps=10, times=[*np.arange(10) / 10, *(2.5 + np.arange(9) / 10)])
    assert find_sufficient_keyframes(late, 1.0, DEFAULT_LIMITS) is None


def test_slightly_late_keyframes_count_for_their_interval(film: Film, counted: list[float]) -> None:
    """AVI has no presentation times. Frames are decoded one frame later than they were encoded."""
    keyframes = list(FrameReader(numbered(film, "a.avi"), rate=1.0))
    assert [frame.time for frame in keyframes] == pytest.approx([0.1, 1.1, 2.1, 3.1, 4.1, 5.1])
    assert len(counted) == 6


def test_keyframes_of_open_gops_are_decoded_correctly(film: Film, counted: list[float], tmp_path: Path) -> None:
    """In open GOPs, frames before a keyframe depend on it. The decoder skips them."""
    path = tmp_path / "open.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, width=64, height=48)
        stream.codec_context.gop_size = 10
        stream.options = {"x264-params": "open-gop=1:bframes=3:b-adapt=0"}
        for number in range(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(slowly(number / 10), format="rgb24")))
        container.mux(stream.encode(None))
    keyframes = list(FrameReader(path, rate=0.5))
    assert len(keyframes) == 3 and len(counted) <= 8
    for frame in keyframes:
        assert abs(int(frame.image[4, 4, 0]) - int(slowly(frame.time)[4, 4, 0])) < 12


def waves(time: float) -> NDArray[np.uint8]:
    """Return an image in which every part moves."""
    rows, columns = np.mgrid[:96, :320]
    light = 128 + 60 * np.sin((columns + 30 * time) / 17) + 40 * np.sin((rows - 10 * time) / 11)
    return np.repeat(light[..., None], 3, axis=2).astype(np.uint8)


def test_video_with_intra_refresh_is_decoded_completely(film: Film, tmp_path: Path) -> None:
    """With intra refresh, a packet marked as a keyframe contains only a strip of the image."""
    path = tmp_path / "strips.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, width=320, height=96)
        stream.options = {"x264-params": "intra-refresh=1:keyint=30"}
        for number in range(120):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(waves(number / 10), format="rgb24")))
        container.mux(stream.encode(None))
    assert find_sufficient_keyframes(path, 0.25, DEFAULT_LIMITS) is not None, "the keyframes seem to suffice"
    every = {frame.time: frame.image for frame in FrameReader(path)}
    result = list(FrameReader(path, rate=0.25))
    assert [frame.time for frame in result] == [0.0, 4.0, 8.0]
    for frame in result:
        np.testing.assert_array_equal(frame.image, every[frame.time])


def test_truncation_is_reported_when_only_keyframes_are_decoded(film: Film, tmp_path: Path) -> None:
    path = numbered(film, "film.mkv", seconds=20)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TruncatedMediaError):
        list(FrameReader(cut, rate=0.5))


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9", "mpeg4"])
def test_incomplete_download_is_reported(tmp_path: Path, codec: str) -> None:
    """The header at the front lists all packets, but the second half of them is zero bytes."""
    path = tmp_path / "half.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, rate=10, width=320, height=96)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 10
        for number in range(300):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(waves(number / 10), format="rgb24")))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    with pytest.raises(TruncatedMediaError):
        list(FrameReader(path, rate=0.5))


def test_video_with_a_single_keyframe_is_decoded_completely(film: Film, counted: list[float], tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, width=64, height=48)
        stream.codec_context.gop_size = 1_000
        for number in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(slowly(number / 10), format="rgb24")))
        container.mux(stream.encode(None))
    assert [frame.time for frame in FrameReader(path, rate=1.0)] == [0.0, 1.0, 2.0, 3.0]
    assert len(counted) == 40
