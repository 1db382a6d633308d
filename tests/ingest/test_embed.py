from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from threading import Event

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.colors import MeanColor, color_suite
from tests.films import Film
from tests.ingest.test_add import scene
from tests.tones import LowOrHigh, sine, tone_suite
from var_plugin.api import Index, open_index, restore_index
from var_plugin.encoders.base import ImageArray, Vectors
from var_plugin.errors import UnreadableMediaError


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with open_index(tmp_path / "index.db", suite=tone_suite()) as opened:
        yield opened


def late_tone(film: Film) -> Path:
    """Write a video of red, green and blue, 16 s each, with a high tone from second 24 on."""
    return film(
        "high.mkv", seconds=48, fps=2, paint=scene("red", "green", "blue", seconds=16), tone=3_000, tone_starts=24
    )


def low_tone(film: Film) -> Path:
    return film("low.mkv", seconds=24, fps=2, paint=scene("red", "blue", "red"), tone=300)


def test_audio_has_rows_of_its_own_and_silence_has_none(index: Index, film: Film) -> None:
    (receipt,) = index.add(late_tone(film)).videos
    assert receipt.reason is None
    assert receipt.planned == receipt.stored == receipt.verified == {"scene": 4, "sound": 2}, (
        "one tone of 24 s, and the whole video"
    )
    assert index.size() == receipt.verified
    rows = [row for page in index._inner.rows("sound") for row in page]
    assert {(row["kind"], row["start_ms"]) for row in rows} == {("uniform", 24_000), ("video", 0)}
    assert index.verify().ok


def test_a_short_loud_event_has_a_row_of_its_own(index: Index, tmp_path: Path) -> None:
    samples_in = sine(300, 24.0, amplitude=0.05)  # a low hum
    samples_in[10 * 16_000 : 11 * 16_000] += sine(3_000, 1.0, amplitude=0.2)
    path = tmp_path / "event.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=2, width=64, height=48)
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for number in range(48):
            frame = av.VideoFrame.from_ndarray(scene("red")(number / 2), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        samples = av.AudioFrame.from_ndarray((samples_in * 32_767).astype(np.int16)[None], "s16", "mono")
        samples.sample_rate, samples.pts, samples.time_base = 16_000, 0, Fraction(1, 16_000)
        container.mux(audio.encode(samples))
        container.mux(audio.encode(None))
    index.add(path)
    moment = index.search(audio=(sine(4_000, 1.0), 16_000), k=1)[0]
    assert moment.start <= 10 and moment.end >= 11
    assert 10 <= moment.peak <= 11
    (row,) = [row for page in index._inner.rows("sound") for row in page if row["kind"] == "anomaly"]
    assert row["start_ms"] < 10_500 < row["end_ms"] == row["start_ms"] + 2_000


def test_audio_after_the_last_image_has_that_image_as_key(index: Index, film: Film) -> None:
    paint = scene("red", "green", "blue")
    index.add(film("late.mkv", seconds=24, fps=1, paint=paint, tone=3_000, tone_starts=23.3))
    keys = {row["key_ms"] for page in index._inner.rows("sound") for row in page}
    assert keys == {23_000}


def test_a_video_without_audio_has_no_rows_in_the_audio_space(index: Index, film: Film) -> None:
    (receipt,) = index.add(film(seconds=20, fps=2, paint=scene("red"))).videos
    assert receipt.status == "stored"
    assert receipt.verified["sound"] == receipt.planned["sound"] == 0 < receipt.verified["scene"]
    assert index.verify().ok
    assert [video.rows["sound"] for video in index.videos()] == [0]


def test_audio_that_cannot_be_decoded_is_skipped_with_a_warning(index: Index, tmp_path: Path) -> None:
    path = tmp_path / "broken.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=2, width=64, height=48)
        audio = container.add_stream("aac", rate=44_100, layout="mono")
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(scene("red")(number / 2), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for number in range(200):
            packet = av.Packet(bytes(120))  # no decoder of AAC accepts it
            packet.stream, packet.pts, packet.dts, packet.time_base = (
                audio,
                number * 1024,
                number * 1024,
                Fraction(1, 44_100),
            )
            container.mux(packet)
    (receipt,) = index.add(path).videos
    assert receipt.status == "stored"
    assert receipt.verified["scene"] > 0
    assert receipt.verified["sound"] == 0
    assert "its audio is skipped" in (receipt.reason or "")


def test_texts_and_audio_find_audio(index: Index, film: Film) -> None:
    high, low = (index.add(path).videos[0].video_id for path in (late_tone(film), low_tone(film)))
    by_text = index.search("high", k=1)[0]
    by_sound = index.search(audio=(sine(4_000, 1.5, rate=44_100), 44_100), k=1)[0]
    assert by_text.video_id == by_sound.video_id == high
    assert (by_text.start, by_sound.start) == (24, 24)
    assert by_text.start <= by_text.peak <= by_text.end
    assert by_sound.matched.keys() == {"sound"}
    both = index.search("low", k=1)[0]
    assert both.video_id == low and both.matched.keys() == {"scene", "sound"}
    assert index.search("green", k=1)[0].start == 16, "the audio space does not change the order of colours"


def test_both_spaces_survive_backup_restore_and_reindex(index: Index, film: Film, tmp_path: Path) -> None:
    index.add(late_tone(film))
    backup = index.backup(tmp_path / "backup")
    assert backup.rows == {"scene": 4, "sound": 2}
    restored = restore_index(tmp_path / "backup", tmp_path / "restored.db")
    assert restored.rows == backup.rows
    with open_index(tmp_path / "restored.db", suite=tone_suite()) as again:
        assert again.verify().ok
        assert again.search(audio=(sine(4_000, 1.0), 16_000), k=1)[0].start == 24
        assert again.reindex(color_suite()).ok
        assert again.size() == {"scene": 4}
        assert again.reindex(tone_suite()).ok
        assert again.size() == {"scene": 4, "sound": 2}
        assert again.verify().ok


def test_audio_embedding_stops_when_the_images_fail(index: Index, film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    audio_started, images_failed, batches = Event(), Event(), []  # 32 s of audio are twenty batches

    def encode_images(self: object, images: Sequence[ImageArray]) -> Vectors:
        assert audio_started.wait(30)
        images_failed.set()
        raise UnreadableMediaError("the images cannot be read", fix="none")

    def encode_audio(self: object, windows: NDArray[np.float32]) -> Vectors:
        batches.append(len(windows))
        audio_started.set()
        assert images_failed.wait(30)
        time.sleep(0.2)
        return np.ones((len(windows), 2), np.float32)

    monkeypatch.setattr(MeanColor, "encode", encode_images)
    monkeypatch.setattr(LowOrHigh, "encode", encode_audio)
    (receipt,) = index.add(film(seconds=32, fps=2, paint=scene("red"), tone=300.0)).videos
    assert receipt.status == "failed"
    assert receipt.reason is not None
    assert "the images cannot be read" in receipt.reason
    assert 1 <= len(batches) <= 2
