from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.films import Film, plain
from tests.media.test_frame_times import coded, number_of, with_pixels
from var_plugin.errors import InvalidInputError, MediaNotFoundError, UnreadableMediaError, VarPluginError
from var_plugin.media.audio import read_audio
from var_plugin.media.clips import Clip, clip_suffix, encode_clip, export_clip
from var_plugin.media.container import probe
from var_plugin.media.frames import FrameReader
from var_plugin.media.limits import DEFAULT_LIMITS


def brightness_is_time(time: float) -> np.ndarray:
    return plain(*[round(20 + 20 * time)] * 3)


def shown_times(path: Path) -> list[float]:
    """The times of the original that the frames of a clip show, by their brightness."""
    return [(frame.image.mean() - 20) / 20 for frame in FrameReader(path)]


def test_a_clip_says_where_it_really_begins(film: Film, tmp_path: Path) -> None:
    video = film(seconds=8, fps=10, paint=brightness_is_time)  # a key frame each second
    clip = export_clip(video, 3.4, 5.0, tmp_path / "made" / "clip.mp4")
    assert clip.start == pytest.approx(3.0, abs=1e-3)
    assert 5.0 <= clip.end <= 5.4
    frames = list(FrameReader(clip.path))
    assert frames[0].time == pytest.approx(0.0, abs=1e-3), "a clip has a clock of its own"
    for frame in frames:
        assert (frame.image.mean() - 20) / 20 == pytest.approx(clip.start + frame.time, abs=0.15)
    assert [file.name for file in clip.path.parent.iterdir()] == ["clip.mp4"], "nothing unfinished is left"


def test_sound_comes_along_and_stays_in_time(film: Film, tmp_path: Path) -> None:
    video = film(seconds=8, paint=brightness_is_time, tone=440.0, tone_starts=4.0)
    clip = export_clip(video, 3.0, 6.0, tmp_path / "clip.mp4")
    sound = np.abs(read_audio(clip.path))
    loud = np.flatnonzero(sound > 0.05) / 16_000
    assert loud[0] == pytest.approx(4.0 - clip.start, abs=0.1)
    assert loud[-1] == pytest.approx(clip.end - clip.start, abs=0.3)


@pytest.mark.parametrize(
    ("name", "codec", "suffix"),
    [
        ("a.mp4", "libx264", ".mp4"),
        ("a.ts", "libx264", ".mp4"),
        ("a.mkv", "libx264", ".mp4"),
        ("a.avi", "mjpeg", ".mkv"),
    ],
)
def test_the_container_fits_the_streams(film: Film, tmp_path: Path, name: str, codec: str, suffix: str) -> None:
    video = film(name, seconds=4, codec=codec, paint=brightness_is_time)
    assert clip_suffix(video) == suffix
    clip = export_clip(video, 1.5, 2.5, tmp_path / f"clip{suffix}")
    shown = shown_times(clip.path)
    assert shown[0] == pytest.approx(clip.start, abs=0.15)
    assert shown[-1] == pytest.approx(clip.end, abs=0.35)
    assert 0.9 <= clip.start <= 1.5
    assert probe(clip.path).duration == pytest.approx(clip.end - clip.start, abs=0.2)


def test_the_whole_video_can_be_a_clip(film: Film, tmp_path: Path) -> None:
    video = film(seconds=3, paint=brightness_is_time)
    clip = export_clip(video, 0.0, 99.0, tmp_path / "clip.mp4")
    assert (clip.start, clip.end) == (0.0, pytest.approx(3.0, abs=0.02))
    assert len(list(FrameReader(clip.path))) == 30


def test_what_cannot_be_cut(film: Film, tmp_path: Path) -> None:
    video = film(seconds=2)
    target = tmp_path / "cut" / "clip.mp4"
    with pytest.raises(InvalidInputError, match="no clip from"):
        export_clip(video, 2.0, 1.0, target)
    with pytest.raises(MediaNotFoundError):
        export_clip(tmp_path / "gone.mp4", 0.0, 1.0, target)
    with pytest.raises(InvalidInputError, match=r"ends in \.mkv"):
        export_clip(video, 0.0, 1.0, target.with_suffix(".gif"))
    with pytest.raises(UnreadableMediaError, match="no frame from 50"):
        export_clip(video, 50.0, 51.0, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("cut", [export_clip, encode_clip])
def test_a_clip_has_a_largest_size(film: Film, tmp_path: Path, cut: Callable[..., Clip]) -> None:
    target = tmp_path / "cut" / "clip.mp4"
    video = film(seconds=4, paint=brightness_is_time)
    with pytest.raises(InvalidInputError, match=r"too large: the limit is 1000 bytes"):
        cut(video, 0.0, 4.0, target, limits=replace(DEFAULT_LIMITS, output=1000))
    assert list(target.parent.iterdir()) == []
    assert cut(video, 0.0, 4.0, target).path.stat().st_size > 1000


@pytest.mark.parametrize("suffix", [".m3u8", ".mpd", ".jpg", ".ffconcat", ""])
def test_a_clip_is_one_file_of_one_container(film: Film, tmp_path: Path, suffix: str) -> None:
    """Muxers of playlists write further files beside."""
    target = tmp_path / "cut" / f"clip{suffix}"
    with pytest.raises(InvalidInputError, match="cannot write a clip"):
        export_clip(film(seconds=4, paint=brightness_is_time), 0.0, 4.0, target)
    assert list(target.parent.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(film: Film, tmp_path: Path) -> None:
    """Here the largest file that the process may write stands for the disk."""
    video = film(seconds=4, paint=brightness_is_time)
    code = """
import resource, sys
from pathlib import Path
from var_plugin.errors import InvalidInputError
from var_plugin.media.clips import export_clip
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    export_clip(Path(sys.argv[1]), 0.0, 4.0, Path(sys.argv[2]))
except InvalidInputError as error:
    print(error)
"""
    target = tmp_path / "cut" / "clip.mp4"
    words = [sys.executable, "-c", code, str(video), str(target)]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert printed.startswith(f"cannot write {target}: File too large")
    assert list(target.parent.iterdir()) == []


def audio_of(path: Path, codec: str, rate: int) -> Path:
    """Write a film with a key frame each second, and a tone of 440 Hz from second 2 on in some codec."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, width=64, height=48)
        video.pix_fmt = "yuv420p"
        video.codec_context.gop_size = 10
        audio = container.add_stream(codec, rate=rate, layout="mono")
        for number in range(60):
            container.mux(video.encode(av.VideoFrame.from_ndarray(brightness_is_time(number / 10), format="rgb24")))
        container.mux(video.encode(None))
        tone = (9_000 * np.sin(2 * np.pi * 440 * np.arange(6 * rate) / rate)).astype(np.int16)
        tone[: 2 * rate] = 0
        resampler = av.AudioResampler(
            format=audio.format, layout="mono", rate=rate, frame_size=audio.codec_context.frame_size or 800
        )
        frame = av.AudioFrame.from_ndarray(tone[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(audio.encode(part))
        container.mux(audio.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("alaw.mov", "pcm_alaw", 8_000),
        ("mulaw.avi", "pcm_mulaw", 8_000),
        ("adpcm.avi", "adpcm_ima_wav", 8_000),
        ("ms.avi", "adpcm_ms", 16_000),
        ("u8.avi", "pcm_u8", 16_000),
        ("yamaha.avi", "adpcm_yamaha", 16_000),
        ("swf.flv", "adpcm_swf", 11_025),
        ("s16.mov", "pcm_s16be", 16_000),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_audio_of_any_codec_comes_along(name: str, codec: str, rate: int, suffix: str, tmp_path: Path) -> None:
    """Copied where the container holds the codec, else encoded, and the clip says so."""
    video = audio_of(tmp_path / name, codec, rate)
    clip = export_clip(video, 1.2, 4.0, tmp_path / f"clip{suffix}")
    loud = np.flatnonzero(np.abs(read_audio(clip.path)) > 0.1) / 16_000
    assert loud[0] == pytest.approx(2.0 - clip.start, abs=0.1)
    with av.open(str(clip.path)) as container:
        copied = container.streams.audio[0].codec_context.name == codec
    assert bool(clip.notes) is not copied
    assert all("AAC" in note or "encoded" in note for note in clip.notes)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.vob", "libx264", {}),
        ("a.mpg", "libx264", {}),
        ("mpeg2.vob", "mpeg2video", {"bf": "2"}),
        ("a.avi", "libx264", {}),
        ("xvid.avi", "mpeg4", {"bf": "2"}),
        ("a.h264", "libx264", {}),
        ("open.ts", "libx264", {"x264-params": "open-gop=1:bframes=3:b-adapt=0"}),
        ("a.wmv", "wmv2", {}),
    ],
)
def test_a_clip_holds_every_frame_in_its_order(name: str, codec: str, options: dict[str, str], tmp_path: Path) -> None:
    """Frames without timestamps of their own cannot be copied: they are encoded."""
    video = coded(tmp_path / name, codec, options, gop=20)
    clip = export_clip(video, 1.0, 2.6, tmp_path / f"clip{clip_suffix(video)}")
    whole, copied = list(FrameReader(video)), list(FrameReader(clip.path))
    assert len(copied) == pytest.approx((clip.end - clip.start) * 25, abs=1.5)
    numbers = [number_of(frame, 90) for frame in copied]
    assert numbers == list(range(numbers[0], numbers[0] + len(copied)))
    assert whole[numbers[0]].time == pytest.approx(clip.start, abs=0.05)


def test_distant_frames_stay_in_a_clip_for_as_long_as_they_are_shown(tmp_path: Path) -> None:
    video = coded(tmp_path / "a.mkv", "libx264", {"bf": "0"}, times=[0.0, 1.0, 12.0, 12.1, 40.0], gop=1)
    for export, first in ((export_clip, 12.1), (encode_clip, 20.0)):
        clip = export(video, 20.0, 30.0, tmp_path / "clip.mp4")
        assert (clip.start, clip.end) == pytest.approx((first, 30.0), abs=0.01)
        assert probe(clip.path).duration == pytest.approx(30.0 - first, abs=0.1)
        assert number_of(next(iter(FrameReader(clip.path))), 5) == 3


def test_all_audio_tracks_come_along(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    source = audio_of(tmp_path / "one.mov", "pcm_s16le", 16_000)
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(given.streams.video[0])
        tracks = [container.add_stream_from_template(given.streams.audio[0]) for _ in range(2)]
        for packet in given.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio":
                content, pts, base = bytes(packet), packet.pts, packet.time_base
                for track, data in zip(tracks, (bytes(len(content)), content), strict=True):
                    copy = av.Packet(data)
                    copy.pts = copy.dts = pts
                    copy.time_base, copy.stream = base, track
                    container.mux(copy)
            else:
                packet.stream = video
                container.mux(packet)
    clip = export_clip(path, 1.0, 4.0, tmp_path / "clip.mkv")
    with av.open(str(clip.path)) as container:
        assert len(container.streams.audio) == 2
    assert np.abs(read_audio(clip.path)).max() > 0.1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("source", ["a.mp4", "a.mkv", "a.ts"])
def test_a_copied_clip_keeps_the_shape_that_is_shown(source: str, suffix: str, tmp_path: Path) -> None:
    video = with_pixels(tmp_path / source, 352, 144, 11, 5)
    clip = export_clip(video, 0.0, 1.0, tmp_path / f"clip{suffix}")
    assert next(iter(FrameReader(clip.path))).image.shape == (144, 160, 3)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_damaged_avi_gives_a_clip_or_an_error_of_its_own(
    place: float, is_cut: bool, film: Film, tmp_path: Path
) -> None:
    video = film("film.avi", seconds=6, fps=10, paint=brightness_is_time, codec="mjpeg")
    content = bytearray(video.read_bytes())
    first = round(place * len(content))
    content[first : None if is_cut else first + 500] = b"" if is_cut else b"\xff" * 500
    video.write_bytes(content)
    for start in (0.0, 2.4, 5.0):
        try:
            clip = export_clip(video, start, start + 0.8, tmp_path / "clip.mkv")
        except VarPluginError as error:
            assert "doctor" not in str(error)
        else:
            assert next(iter(FrameReader(clip.path))).time == pytest.approx(0.0, abs=0.1)


def test_a_file_that_cannot_be_searched_is_encoded(film: Film, tmp_path: Path) -> None:
    video = film("film.avi", seconds=3, fps=10, codec="mjpeg")
    content = bytearray(video.read_bytes())
    index = content.rfind(b"idx1")
    video.write_bytes(content[:index])
    clip = export_clip(video, 1.2, 2.0, tmp_path / "clip.mkv")
    assert clip.start <= 1.3
    assert list(FrameReader(clip.path))
