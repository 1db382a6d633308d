from __future__ import annotations

import struct
import wave
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from av.audio.resampler import AudioResampler

from tests.films import Film
from tests.tones import sine
from var_plugin.errors import BrokenTimestampsError, NoAudioStreamError, TooLongMediaError, UnreadableMediaError
from var_plugin.media.audio import decode_audio, read_audio
from var_plugin.media.decoded import SAMPLE_RATE
from var_plugin.media.frames import FrameReader
from var_plugin.media.limits import DEFAULT_LIMITS
from var_plugin.media.sandbox import client as sandbox


def strongest_frequency(audio: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(spectrum.argmax() * SAMPLE_RATE / len(audio))


def test_audio_is_mono_float_at_16_khz(film: Film) -> None:
    audio = read_audio(film(seconds=3, tone=440))
    assert audio.dtype == np.float32
    assert audio.ndim == 1
    assert len(audio) == pytest.approx(3 * SAMPLE_RATE, rel=0.03)
    assert strongest_frequency(audio[SAMPLE_RATE : 2 * SAMPLE_RATE]) == pytest.approx(440, abs=2)


def test_stereo_is_averaged(film: Film) -> None:
    """The mean of silence and a sine of amplitude 0.5 has amplitude 0.25."""
    middle = read_audio(film(seconds=3, tone=440))[SAMPLE_RATE : 2 * SAMPLE_RATE]
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.25, rel=0.03)


def test_late_audio_is_preceded_by_silence(film: Film) -> None:
    """Sample i plays at i / 16000 s of the video, even if the track begins late."""
    audio = read_audio(film("late.mkv", seconds=4, tone=440, tone_starts=1.5))
    loud = np.abs(audio) > 0.05
    assert loud.argmax() / SAMPLE_RATE == pytest.approx(1.5, abs=0.05)


def test_part_of_the_audio_is_read(film: Film) -> None:
    path = film(seconds=4, tone=440)
    whole, part = read_audio(path), read_audio(path, start=1.0, end=2.5)
    assert np.array_equal(part, whole[SAMPLE_RATE : round(2.5 * SAMPLE_RATE)])


def test_audio_is_decoded_in_pieces(film: Film) -> None:
    pieces = list(decode_audio(film(seconds=5, tone=440)))
    assert len(pieces) > 10
    assert max(map(len, pieces)) < SAMPLE_RATE


def test_missing_audio_and_damaged_audio_have_different_errors(film: Film) -> None:
    with pytest.raises(NoAudioStreamError, match=r"silent\.mp4"):
        read_audio(film("silent.mp4"))
    text = film.folder / "text.wav"
    text.write_text("no audio " * 100)
    with pytest.raises(UnreadableMediaError):
        read_audio(text)


def test_audio_of_one_sample_at_a_lower_rate_is_empty(tmp_path: Path) -> None:
    """The resampler returns no frames for it."""
    path = tmp_path / "click.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        file.writeframes(b"\1\0")
    assert read_audio(path).shape == (0,)


def write_audio(path: Path, parts: list[tuple[float, np.ndarray]], codec: str, *, layout: str = "mono") -> Path:
    """Write an audio file: parts as (start in seconds, samples (channels, n) float at 16 kHz), in whole frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=SAMPLE_RATE, layout=layout)
        size = 1152 if codec == "mp2" else 1024
        for start, samples in parts:
            for first in range(0, samples.shape[1] - size + 1, size):
                piece = np.ascontiguousarray(samples[:, first : first + size], np.float32)
                frame = av.AudioFrame.from_ndarray(piece, "fltp", layout)
                frame.sample_rate, frame.time_base = SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
                frame.pts = round(start * SAMPLE_RATE) + first
                for part in AudioResampler(format=stream.format, layout=layout, rate=SAMPLE_RATE).resample(frame):
                    container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def join(folder: Path, *recordings: list[tuple[float, np.ndarray]]) -> Path:
    """Concatenate MPEG-TS files with their own timestamps, because no muxer writes timestamps that go back."""
    path = folder / "joined.ts"
    parts = [write_audio(folder / f"{number}.ts", parts, "mp2") for number, parts in enumerate(recordings)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def starts(audio: np.ndarray, hertz: float) -> float:
    """Return the time in seconds at which a tone of this frequency begins."""
    step = 160
    windows = np.lib.stride_tricks.sliding_window_view(audio, 2 * step)[::step] * np.hanning(2 * step)
    power = np.abs(windows @ np.exp(-2j * np.pi * hertz * np.arange(2 * step) / SAMPLE_RATE))
    return float((power > 0.5 * power.max()).argmax() * step / SAMPLE_RATE)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "pcm_s16le"), ("a.mp4", "aac"), ("a.ts", "mp2"), ("a.mka", "aac")]
)
@hypothesis.settings(max_examples=5, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(gaps=st.lists(st.floats(0.1, 20.0), min_size=1, max_size=4))
def test_tones_keep_their_times_after_pauses(name: str, codec: str, gaps: list[float], tmp_path: Path) -> None:
    """The tolerance is one frame of the encoder, which may extend over a pause."""
    frequencies = [400, 900, 1500, 2300, 3400]
    parts, start = [], 0.0
    for hertz, gap in zip(frequencies, [0.0, *gaps], strict=False):
        start += gap
        parts.append((start, sine(hertz, 0.576)[None]))
        start += 0.576
    audio = read_audio(write_audio(tmp_path / name, parts, codec))
    for hertz, (time, _) in zip(frequencies, parts, strict=False):
        assert starts(audio, hertz) == pytest.approx(time - parts[0][0], abs=0.09), hertz


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov", "a.ts"])
@pytest.mark.parametrize(("audio_starts", "video_starts"), [(1.5, 0.0), (0.0, 1.5), (2.0, 1.0)])
def test_audio_and_video_may_start_at_different_times(
    name: str, audio_starts: float, video_starts: float, film: Film
) -> None:
    """The earlier stream defines time 0 of the file. MP4 and MOV store the offset in edit lists."""
    path = film(
        name,
        seconds=5,
        times=[video_starts + i / 10 for i in range(30)],
        tone=440,
        tone_starts=audio_starts,
    )
    zero = min(audio_starts, video_starts)
    if name in ("a.mkv", "a.mp4", "a.mov"):
        zero = start_of(path)
    loud = np.abs(read_audio(path)) > 0.05
    assert loud.argmax() / SAMPLE_RATE == pytest.approx(audio_starts - zero, abs=0.05)
    assert next(iter(FrameReader(path))).time == pytest.approx(video_starts - zero, abs=0.05)


def start_of(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.start_time or 0) / av.time_base


def test_overlapping_audio_keeps_the_earlier_samples(tmp_path: Path) -> None:
    """A recorder sends the last second twice, with timestamps that go back."""
    audio = read_audio(join(tmp_path, [(0.0, sine(400, 3.0)[None])], [(2.0, sine(1500, 3.0)[None])]))
    assert len(audio) / SAMPLE_RATE == pytest.approx(5.0, abs=0.1)
    assert starts(audio, 1500) == pytest.approx(3.0, abs=0.07)


def test_audio_whose_timestamps_go_back_is_refused(tmp_path: Path) -> None:
    path = join(tmp_path, [(9.0, sine(400, 3.0)[None])], [(0.0, sine(1500, 3.0)[None])])
    with pytest.raises(BrokenTimestampsError, match="comes after"):
        read_audio(path)


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le", "pcm_u8", "flac"])
def test_channels_in_opposite_phase_do_not_cancel(codec: str, tmp_path: Path) -> None:
    tone = sine(900, 2.0)
    path = write_audio(tmp_path / "a.mkv", [(0.0, np.stack([tone, -tone]))], codec, layout="stereo")
    audio = read_audio(path)
    assert np.sqrt(2 * np.mean(audio**2)) == pytest.approx(0.5, rel=0.05)
    assert strongest_frequency(audio) == pytest.approx(900, abs=3)


def test_channel_that_changes_its_phase_keeps_its_length(tmp_path: Path) -> None:
    tone = sine(900, 1.024)
    parts = [np.stack([tone, sign * tone]) for sign in (1, -1, 1, -1)]
    path = write_audio(tmp_path / "a.mkv", [(0.0, np.concatenate(parts, axis=1))], "pcm_s16le", layout="stereo")
    audio = read_audio(path)
    assert len(audio) == 4 * 16_384
    assert np.abs(audio).reshape(-1, 256).max(axis=1).min() > 0.4


def test_first_track_that_is_not_silent_is_used(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono") for _ in range(3)]
        for first in range(0, 3 * SAMPLE_RATE, 1000):
            for stream, hertz in zip(streams, (None, 700, 1500), strict=True):
                samples = sine(hertz, 3.0)[first : first + 1000] if hertz else np.zeros(1000, np.float32)
                frame = av.AudioFrame.from_ndarray((samples[None] * 32767).astype(np.int16), "s16", "mono")
                frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, first, Fraction(1, SAMPLE_RATE)
                container.mux(stream.encode(frame))
    audio = read_audio(path)
    assert len(audio) == 3 * SAMPLE_RATE
    assert strongest_frequency(audio) == pytest.approx(700, abs=2)
    assert np.array_equal(sandbox.read_audio(path), audio)
    sandbox._kill_idle()


def test_audio_format_may_change_within_a_file(tmp_path: Path) -> None:
    """Broadcasts may switch from mono to stereo at another sample rate."""
    first = write_audio(tmp_path / "1.mp2", [(0.0, sine(400, 2.304)[None])], "mp2")
    second = write_audio(tmp_path / "2.mp2", [(0.0, np.stack([sine(1500, 2.304)] * 2))], "mp2", layout="stereo")
    path = tmp_path / "both.mp3"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    audio = read_audio(path)
    assert len(audio) / SAMPLE_RATE == pytest.approx(4.6, abs=0.15)
    assert starts(audio, 1500) == pytest.approx(2.3, abs=0.1)


def wav(rate: int, channels: int = 1, *, samples: int = 8000) -> bytes:
    """Return a WAV file of a constant level with any sample rate and channel count in its header."""
    content = b"\x00\x20" * samples
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * channels * 2 & 0xFFFFFFFF, channels * 2, 16)
    data = struct.pack("<4sI", b"data", len(content)) + content
    return struct.pack("<4sI4s", b"RIFF", 4 + len(head) + len(data), b"WAVE") + head + data


@pytest.mark.parametrize("rate", [1, 3, 8000, 384_000, 10_000_000])
def test_common_and_extreme_sample_rates_are_read(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "audio.wav"
    samples = max(100, min(rate, 1_000_000))
    path.write_bytes(wav(rate, samples=samples))
    audio = sandbox.read_audio(path)
    assert len(audio) / SAMPLE_RATE == pytest.approx(samples / rate, rel=0.1)
    assert np.median(audio) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("content", [wav(0), wav(10_000_001), wav(2**31 - 1), wav(4_000_000_000), wav(16_000, 1000)])
def test_invalid_sample_rates_and_channel_counts_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "audio.wav"
    path.write_bytes(content)
    with pytest.raises(UnreadableMediaError):
        sandbox.read_audio(path)


def test_small_file_of_many_hours_is_refused(tmp_path: Path) -> None:
    """At one sample per second, 400 KB last more than two days."""
    path = tmp_path / "audio.wav"
    path.write_bytes(wav(1, samples=200_000))
    with pytest.raises(TooLongMediaError, match="the limit is 60 s"):
        sandbox.read_audio(path, limits=replace(DEFAULT_LIMITS, duration=60.0))
