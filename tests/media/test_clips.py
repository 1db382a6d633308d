from __future__ import annotations

import struct
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
from tests.hostile_media.corpus import overwrite
from tests.media.test_frame_times import coded, number_of, with_pixels
from var_plugin.errors import InvalidInputError, MediaNotFoundError, UnreadableMediaError, VarPluginError
from var_plugin.media.audio import read_audio
from var_plugin.media.clips import (
    BROWSER_QUALITY,
    FULL_QUALITY,
    MAX_BROWSER_CLIP_BYTES,
    Clip,
    clip_suffix,
    encode_clip,
    export_clip,
    playable_clip,
    plays_in_browsers,
)
from var_plugin.media.container import probe
from var_plugin.media.frames import FrameReader
from var_plugin.media.limits import DEFAULT_LIMITS


def brightness_is_time(time: float) -> np.ndarray:
    return plain(*[round(20 + 20 * time)] * 3)


def shown_times(path: Path) -> list[float]:
    """Return the times in the original video of the frames of a clip, from their brightness."""
    return [(frame.image.mean() - 20) / 20 for frame in FrameReader(path)]


def test_copied_clip_begins_at_the_keyframe(film: Film, tmp_path: Path) -> None:
    video = film(seconds=8, fps=10, paint=brightness_is_time)  # a keyframe each second
    clip = export_clip(video, 3.4, 5.0, tmp_path / "new" / "clip.mp4")
    assert clip.start == pytest.approx(3.0, abs=1e-3)
    assert 5.0 <= clip.end <= 5.4
    frames = list(FrameReader(clip.path))
    assert frames[0].time == pytest.approx(0.0, abs=1e-3), "the timestamps of a clip begin at zero"
    for frame in frames:
        assert (frame.image.mean() - 20) / 20 == pytest.approx(clip.start + frame.time, abs=0.15)
    assert [file.name for file in clip.path.parent.iterdir()] == ["clip.mp4"], "no temporary file remains"


def test_copied_audio_stays_in_sync(film: Film, tmp_path: Path) -> None:
    video = film(seconds=8, paint=brightness_is_time, tone=440.0, tone_starts=4.0)
    clip = export_clip(video, 3.0, 6.0, tmp_path / "clip.mp4")
    audio = np.abs(read_audio(clip.path))
    loud = np.flatnonzero(audio > 0.05) / 16_000
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
def test_suffix_and_container_fit_the_streams(film: Film, tmp_path: Path, name: str, codec: str, suffix: str) -> None:
    video = film(name, seconds=4, codec=codec, paint=brightness_is_time)
    assert clip_suffix(video) == suffix
    clip = export_clip(video, 1.5, 2.5, tmp_path / f"clip{suffix}")
    times = shown_times(clip.path)
    assert times[0] == pytest.approx(clip.start, abs=0.15)
    assert times[-1] == pytest.approx(clip.end, abs=0.35)
    assert 0.9 <= clip.start <= 1.5
    assert probe(clip.path).duration == pytest.approx(clip.end - clip.start, abs=0.2)


def test_clip_of_the_whole_video(film: Film, tmp_path: Path) -> None:
    video = film(seconds=3, paint=brightness_is_time)
    clip = export_clip(video, 0.0, 99.0, tmp_path / "clip.mp4")
    assert (clip.start, clip.end) == (0.0, pytest.approx(3.0, abs=0.02))
    assert len(list(FrameReader(clip.path))) == 30


def test_invalid_arguments_of_a_copied_clip_are_refused(film: Film, tmp_path: Path) -> None:
    video = film(seconds=2)
    target = tmp_path / "cut" / "clip.mp4"
    with pytest.raises(InvalidInputError, match="cannot cut a clip from"):
        export_clip(video, 2.0, 1.0, target)
    with pytest.raises(MediaNotFoundError):
        export_clip(tmp_path / "gone.mp4", 0.0, 1.0, target)
    with pytest.raises(InvalidInputError, match=r"ends in \.mkv"):
        export_clip(video, 0.0, 1.0, target.with_suffix(".gif"))
    with pytest.raises(UnreadableMediaError, match="no frame from 50"):
        export_clip(video, 50.0, 51.0, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("cut", [export_clip, encode_clip])
def test_clip_larger_than_the_limit_is_refused(film: Film, tmp_path: Path, cut: Callable[..., Clip]) -> None:
    target = tmp_path / "cut" / "clip.mp4"
    video = film(seconds=4, paint=brightness_is_time)
    with pytest.raises(InvalidInputError, match=r"too large: the limit is 1000 bytes"):
        cut(video, 0.0, 4.0, target, limits=replace(DEFAULT_LIMITS, output=1000))
    assert list(target.parent.iterdir()) == []
    assert cut(video, 0.0, 4.0, target).path.stat().st_size > 1000


@pytest.mark.parametrize("suffix", [".m3u8", ".mpd", ".jpg", ".ffconcat", ""])
def test_formats_of_several_files_are_refused(film: Film, tmp_path: Path, suffix: str) -> None:
    """Muxers of playlists write further files."""
    target = tmp_path / "cut" / f"clip{suffix}"
    with pytest.raises(InvalidInputError, match="cannot write a clip"):
        export_clip(film(seconds=4, paint=brightness_is_time), 0.0, 4.0, target)
    assert list(target.parent.iterdir()) == []


def test_full_disk_is_reported_and_no_file_remains(film: Film, tmp_path: Path) -> None:
    """A limit on the file size of the process simulates the full disk."""
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
    command = [sys.executable, "-c", code, str(video), str(target)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.startswith(f"cannot write {target}: File too large")
    assert list(target.parent.iterdir()) == []


def audio_of(path: Path, codec: str, rate: int) -> Path:
    """Write a video with a keyframe each second and a 440 Hz tone from second 2 in a given codec."""
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
def test_audio_of_any_codec_is_copied_or_encoded(name: str, codec: str, rate: int, suffix: str, tmp_path: Path) -> None:
    """Audio is copied if the container supports the codec. Otherwise it is encoded and the clip has a note."""
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
def test_copied_clip_holds_every_frame_in_order(name: str, codec: str, options: dict[str, str], tmp_path: Path) -> None:
    """Frames without timestamps cannot be copied, so they are encoded."""
    video = coded(tmp_path / name, codec, options, gop=20)
    clip = export_clip(video, 1.0, 2.6, tmp_path / f"clip{clip_suffix(video)}")
    whole, copied = list(FrameReader(video)), list(FrameReader(clip.path))
    assert len(copied) == pytest.approx((clip.end - clip.start) * 25, abs=1.5)
    numbers = [number_of(frame, 90) for frame in copied]
    assert numbers == list(range(numbers[0], numbers[0] + len(copied)))
    assert whole[numbers[0]].time == pytest.approx(clip.start, abs=0.05)


def test_last_frame_of_a_clip_keeps_its_duration(tmp_path: Path) -> None:
    video = coded(tmp_path / "a.mkv", "libx264", {"bf": "0"}, times=[0.0, 1.0, 12.0, 12.1, 40.0], gop=1)
    for export, first in ((export_clip, 12.1), (encode_clip, 20.0)):
        clip = export(video, 20.0, 30.0, tmp_path / "clip.mp4")
        assert (clip.start, clip.end) == pytest.approx((first, 30.0), abs=0.01)
        assert probe(clip.path).duration == pytest.approx(30.0 - first, abs=0.1)
        assert number_of(next(iter(FrameReader(clip.path))), 5) == 3


def test_all_audio_tracks_are_copied(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    source = audio_of(tmp_path / "one.mov", "pcm_s16le", 16_000)
    with av.open(str(source)) as original, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(original.streams.video[0])
        tracks = [container.add_stream_from_template(original.streams.audio[0]) for _ in range(2)]
        for packet in original.demux():
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
def test_copied_clip_keeps_the_display_aspect_ratio(source: str, suffix: str, tmp_path: Path) -> None:
    video = with_pixels(tmp_path / source, 352, 144, 11, 5)
    clip = export_clip(video, 0.0, 1.0, tmp_path / f"clip{suffix}")
    assert next(iter(FrameReader(clip.path))).image.shape == (144, 160, 3)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("is_truncated", [False, True])
def test_damaged_avi_gives_clip_or_error(place: float, is_truncated: bool, film: Film, tmp_path: Path) -> None:
    video = film("film.avi", seconds=6, fps=10, paint=brightness_is_time, codec="mjpeg")
    content = bytearray(video.read_bytes())
    first = round(place * len(content))
    content[first : None if is_truncated else first + 500] = b"" if is_truncated else b"\xff" * 500
    video.write_bytes(content)
    for start in (0.0, 2.4, 5.0):
        try:
            clip = export_clip(video, start, start + 0.8, tmp_path / "clip.mkv")
        except VarPluginError as error:
            assert "doctor" not in str(error)
        else:
            assert next(iter(FrameReader(clip.path))).time == pytest.approx(0.0, abs=0.1)


def test_file_that_is_not_seekable_is_encoded(film: Film, tmp_path: Path) -> None:
    video = film("film.avi", seconds=3, fps=10, codec="mjpeg")
    content = bytearray(video.read_bytes())
    index = content.rfind(b"idx1")
    video.write_bytes(content[:index])
    clip = export_clip(video, 1.2, 2.0, tmp_path / "clip.mkv")
    assert clip.start <= 1.3
    assert list(FrameReader(clip.path))


def clip_and_video_times(path: Path) -> list[tuple[float, float]]:
    """Return the time of each frame in a clip and in the original video, from its brightness."""
    return [(frame.time, (frame.image.mean() - 20) / 20) for frame in FrameReader(path)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_encoded_clip_has_the_exact_start_and_end(film: Film, tmp_path: Path, suffix: str) -> None:
    video = film(seconds=8, fps=10, paint=brightness_is_time, tone=440.0, tone_starts=4.0)  # a keyframe each second
    assert export_clip(video, 3.4, 5.2, tmp_path / "copied.mp4").start == pytest.approx(3.0), (
        "a copied clip begins earlier"
    )
    clip = encode_clip(video, 3.4, 5.2, tmp_path / "new" / f"clip{suffix}")
    assert (clip.start, clip.end) == (3.4, 5.2)
    times = clip_and_video_times(clip.path)
    assert len(times) == 18, "every frame from 3.4 to 5.1 s"
    assert [time for time, _ in times] == pytest.approx([i / 10 for i in range(18)], abs=2e-3)
    assert np.mean([original - time for time, original in times]) == pytest.approx(3.4, abs=0.06)
    audio = np.abs(read_audio(clip.path))
    assert np.flatnonzero(audio > 0.05)[0] / 16_000 == pytest.approx(4.0 - 3.4, abs=0.07)
    assert len(audio) / 16_000 == pytest.approx(1.8, abs=0.07)
    with av.open(clip.path) as container:
        (stream,) = container.streams.audio
        assert (stream.rate, stream.channels) == (16_000, 1)
    assert [file.name for file in clip.path.parent.iterdir()] == [f"clip{suffix}"], "no temporary file remains"


def test_encoded_clip_ends_with_the_video(film: Film, tmp_path: Path) -> None:
    clip = encode_clip(film(seconds=2), 1.5, 99.0, tmp_path / "clip.mp4")
    assert (clip.start, clip.end) == (1.5, pytest.approx(2.0, abs=0.02))


def test_encoded_clip_has_the_display_size(film: Film, tmp_path: Path) -> None:
    """A rotated frame is not scaled to its unrotated width."""
    rotated = film("turned.mp4", seconds=1, fps=5, paint=lambda time: plain(9, 99, 9, height=96, width=130))
    overwrite(rotated, b"tkhd", 40, struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30))
    wide = film("wide.mkv", seconds=1, fps=5, paint=lambda time: plain(9, 99, 9, height=1080, width=1920))
    for video, encoding, size in (
        (rotated, FULL_QUALITY, (96, 130)),
        (wide, FULL_QUALITY, (1920, 1080)),
        (wide, BROWSER_QUALITY, (1280, 720)),
    ):
        with av.open(str(encode_clip(video, 0.0, 1.0, tmp_path / "clip.mp4", encoding).path)) as container:
            codec = container.streams.video[0].codec_context
            assert (codec.width, codec.height) == size


def test_distant_frames_of_an_encoded_clip_keep_their_times(film: Film, tmp_path: Path) -> None:
    times = [0.0, 2.0, 4.5, 4.6, 9.0]
    video = film("rare.mkv", times=times, paint=brightness_is_time)
    clip = encode_clip(video, 1.0, 10.0, tmp_path / "clip.mp4")
    assert clip.start == 1.0, "the frame of second 0 is still shown"
    assert [time + clip.start for time, _ in clip_and_video_times(clip.path)] == pytest.approx(
        [1.0, *times[1:]], abs=2e-3
    )


def test_invalid_arguments_of_an_encoded_clip_are_refused(film: Film, tmp_path: Path) -> None:
    video = film(seconds=2)
    before = video.read_bytes()
    target = tmp_path / "cut" / "clip.mp4"
    for path, start, kind, message in [
        (target, 1.0, InvalidInputError, "cannot cut a clip from"),
        (target, 50.0, UnreadableMediaError, "no frame at 50"),
        (target.with_suffix(".gif"), 0.0, InvalidInputError, r"as a \.gif file"),
        (target.with_suffix(".xyz"), 0.0, InvalidInputError, r"as a \.xyz file: Could not determine output format;"),
        (video, 0.0, InvalidInputError, "would replace"),
        (tmp_path, 0.0, InvalidInputError, "cannot write"),
        (video / "clip.mp4", 0.0, InvalidInputError, "cannot write"),
    ]:
        for cut in (encode_clip, export_clip):
            with pytest.raises(kind, match=message if cut is encode_clip else None):
                cut(video, start, start + (start != 1.0), path)
    assert list(target.parent.iterdir()) == []
    assert video.read_bytes() == before


UNPLAYABLE = [
    ("film.mov", "mjpeg", "yuvj420p"),
    ("film.asf", "wmv2", "yuv420p"),
    ("film.mkv", "libx265", "yuv420p"),
    ("film.mkv", "libx264", "yuv444p"),
]


@pytest.mark.parametrize(("name", "codec", "pixels"), UNPLAYABLE)
def test_streams_that_browsers_cannot_play_are_encoded(
    name: str, codec: str, pixels: str, film: Film, tmp_path: Path
) -> None:
    video = film(name, seconds=6, fps=10, paint=brightness_is_time, codec=codec, pixel_format=pixels, tone=440.0)
    assert not plays_in_browsers(video)
    clip = playable_clip(video, 2.0, 4.0, tmp_path / "new" / "clip.mp4")
    assert plays_in_browsers(clip.path)
    assert (clip.start, clip.end) == pytest.approx((2.0, 4.0), abs=0.11)
    times = clip_and_video_times(clip.path)
    assert len(times) == pytest.approx(20, abs=1)
    assert [original - time for time, original in times] == pytest.approx([2.0] * len(times), abs=0.2)
    assert np.abs(read_audio(clip.path)).max() > 0.1
    assert [file.name for file in clip.path.parent.iterdir()] == ["clip.mp4"], "no temporary file remains"


def test_streams_that_browsers_play_are_copied(film: Film, tmp_path: Path) -> None:
    video = film(seconds=6, fps=10, paint=brightness_is_time)
    clip = playable_clip(video, 2.5, 4.0, tmp_path / "clip.mp4")
    assert clip.start == pytest.approx(2.0, abs=1e-3), "the clip begins at a keyframe because it is not encoded"
    with av.open(str(clip.path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_wide_video_is_scaled_down_for_browsers(film: Film, tmp_path: Path) -> None:
    video = film(
        "wide.mov", seconds=1, fps=5, codec="mjpeg", paint=lambda time: plain(9, 99, 9, height=1080, width=1920)
    )
    with av.open(str(playable_clip(video, 0.0, 1.0, tmp_path / "clip.mp4").path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.width, codec.height) == (1280, 720)


def test_clips_for_browsers_have_a_smaller_limit(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_BROWSER_CLIP_BYTES == 1 << 30
    monkeypatch.setattr("var_plugin.media.clips.MAX_BROWSER_CLIP_BYTES", 100)
    for video in (film("a.mp4", seconds=4), film("b.avi", seconds=1, codec="mjpeg")):
        with pytest.raises(InvalidInputError, match="the limit is 100 bytes"):
            playable_clip(video, 0.0, 1.0, tmp_path / "clip.mp4")
    assert not (tmp_path / "clip.mp4").exists()


def test_invalid_arguments_of_a_playable_clip_are_refused(film: Film, tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        playable_clip(tmp_path / "none.mp4", 0, 1, tmp_path / "clip.mp4")
    with pytest.raises(InvalidInputError):
        playable_clip(film(), 1, 1, tmp_path / "clip.mp4")
