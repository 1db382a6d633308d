"""Rates that key frames are enough for: only they are decoded, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.films import Film, textured
from var_plugin.errors import TruncatedMediaError
from var_plugin.media import frames
from var_plugin.media import frames as sparse
from var_plugin.media.frames import FrameReader, find_sufficient_keyframes
from var_plugin.media.limits import DEFAULT_LIMITS


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Times of all frames that are decoded."""
    times: list[float] = []
    decode_stream = frames.decode_stream

    def counting(*arguments: Any, **options: Any) -> Iterator[Any]:
        for frame in decode_stream(*arguments, **options):
            times.append(frame.time)
            yield frame

    monkeypatch.setattr(frames, "decoded", counting)
    return times


def slowly(time: float) -> NDArray[np.uint8]:
    """An image that changes a little with time: none begins a new scene, which would make it a key frame."""
    image = textured(1)
    image[:16] = round(time * 30) % 256
    return image


def numbered(film: Film, name: str = "film.mp4", seconds: float = 6.0, codec: str = "libx264") -> Path:
    """A film with a key frame each second."""
    return film(name, seconds=seconds, fps=10, paint=slowly, codec=codec)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.webm", "libvpx-vp9"), ("a.flv", "libx264")],
)
@pytest.mark.parametrize("rate", [1.0, 0.5, 1 / 3])
def test_the_same_frames_are_found_in_fewer(
    film: Film, counted: list[float], monkeypatch: pytest.MonkeyPatch, name: str, codec: str, rate: float
) -> None:
    path = numbered(film, name, codec=codec)
    by_keys = FrameReader(path, rate=rate)
    found = list(by_keys)
    looked_at = len(counted)
    monkeypatch.setattr(frames, "enough_key_frames", lambda *_: None)
    dense = FrameReader(path, rate=rate)
    wanted = list(dense)
    assert [frame.time for frame in found] == [frame.time for frame in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours.image, theirs.image)
    assert by_keys.end == pytest.approx(dense.end, abs=0.11), "a container may not tell how long its last packet lasts"
    assert (looked_at, len(counted) - looked_at) == (6, 60)


@pytest.mark.parametrize("options", [{"rate": 2.0}, {"rate": 1.0, "motion": 16}, {"rate": 1.0, "end": 5.0}, {}])
def test_else_all_frames_are_decoded(film: Film, counted: list[float], options: dict[str, Any]) -> None:
    list(FrameReader(numbered(film), **options))
    assert len(counted) >= 50


def test_a_large_file_is_not_read_in_silence(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    path = numbered(film)
    monkeypatch.setattr(sparse, "_MAX_SCAN_BYTES", path.stat().st_size)
    found = find_sufficient_keyframes(path, 1.0, DEFAULT_LIMITS)
    assert found and found.end == pytest.approx(6.0)
    monkeypatch.setattr(sparse, "_MAX_SCAN_BYTES", path.stat().st_size - 1)
    assert find_sufficient_keyframes(path, 1.0, DEFAULT_LIMITS) is None


def test_a_gap_anywhere_asks_for_all_frames(film: Film) -> None:
    """Images that come after a pause, with no key frame of their own time."""
    whole = film("whole.mp4", seconds=6, fps=10)
    found = find_sufficient_keyframes(whole, 1.0, DEFAULT_LIMITS)
    assert found and found.end == pytest.approx(6.0)
    late = film("late.mp4", fps=10, times=[*np.arange(10) / 10, *(2.5 + np.arange(9) / 10)])
    assert find_sufficient_keyframes(late, 1.0, DEFAULT_LIMITS) is None


def test_key_frames_that_come_a_little_late_count_for_their_time(film: Film, counted: list[float]) -> None:
    """An AVI has no times of its own; images come out a frame later than they were put in."""
    found = list(FrameReader(numbered(film, "a.avi"), rate=1.0))
    assert [frame.time for frame in found] == pytest.approx([0.1, 1.1, 2.1, 3.1, 4.1, 5.1])
    assert len(counted) == 6


def test_key_frames_on_which_others_before_them_depend(film: Film, counted: list[float], tmp_path: Path) -> None:
    """Open groups of images: the decoder has not seen what lies between their key frames."""
    path = tmp_path / "open.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, width=64, height=48)
        stream.codec_context.gop_size = 10
        stream.options = {"x264-params": "open-gop=1:bframes=3:b-adapt=0"}
        for number in range(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(slowly(number / 10), format="rgb24")))
        container.mux(stream.encode(None))
    found = list(FrameReader(path, rate=0.5))
    assert len(found) == 3 and len(counted) <= 8
    for frame in found:
        assert abs(int(frame.image[4, 4, 0]) - int(slowly(frame.time)[4, 4, 0])) < 12


def waves(time: float) -> NDArray[np.uint8]:
    """An image that moves everywhere."""
    rows, columns = np.mgrid[:96, :320]
    light = 128 + 60 * np.sin((columns + 30 * time) / 17) + 40 * np.sin((rows - 10 * time) / 11)
    return np.repeat(light[..., None], 3, axis=2).astype(np.uint8)


def test_images_that_are_renewed_strip_by_strip_are_decoded_whole(film: Film, tmp_path: Path) -> None:
    """What is marked as a key frame there shows the first strip alone."""
    path = tmp_path / "strips.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, width=320, height=96)
        stream.options = {"x264-params": "intra-refresh=1:keyint=30"}
        for number in range(120):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(waves(number / 10), format="rgb24")))
        container.mux(stream.encode(None))
    assert find_sufficient_keyframes(path, 0.25, DEFAULT_LIMITS) is not None, "it looks as if key frames were enough"
    every = {frame.time: frame.image for frame in FrameReader(path)}
    found = list(FrameReader(path, rate=0.25))
    assert [frame.time for frame in found] == [0.0, 4.0, 8.0]
    for frame in found:
        np.testing.assert_array_equal(frame.image, every[frame.time])


def test_what_is_missing_at_the_end_is_told(film: Film, tmp_path: Path) -> None:
    path = numbered(film, "film.mkv", seconds=20)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TruncatedMediaError):
        list(FrameReader(cut, rate=0.5))


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9", "mpeg4"])
def test_a_download_that_stopped_half_way_is_told(tmp_path: Path, codec: str) -> None:
    """Packets of nothing stand where images should: the header, at the front, knows them all."""
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


def test_a_film_that_stands_on_one_key_frame_is_decoded_whole(film: Film, counted: list[float], tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, width=64, height=48)
        stream.codec_context.gop_size = 1_000
        for number in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(slowly(number / 10), format="rgb24")))
        container.mux(stream.encode(None))
    assert [frame.time for frame in FrameReader(path, rate=1.0)] == [0.0, 1.0, 2.0, 3.0]
    assert len(counted) == 40
