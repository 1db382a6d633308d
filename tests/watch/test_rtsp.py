from __future__ import annotations

import random
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import numpy as np
import pytest

from tests.films import Film, plain, textured
from tests.ingest.rtsp_server import Camera, Payload, Track, tone
from var_plugin.api import Index
from var_plugin.errors import InvalidInputError
from var_plugin.ingest.timestamps import recorded_at
from var_plugin.media.sandbox import client as sandbox
from var_plugin.watch import rtsp
from var_plugin.watch.folder import watch
from var_plugin.watch.rtsp import camera_name, record


@contextmanager
def in_thread(action: Callable[..., None], *arguments: object, **options: object) -> Iterator[None]:
    """Run a function with a `stop` event in a thread and stop it at the end."""
    stop = threading.Event()
    thread = threading.Thread(target=action, args=arguments, kwargs={"stop": stop, **options})
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def serving(camera: Camera) -> Iterator[Camera]:
    thread = threading.Thread(target=camera.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield camera
    finally:
        camera.ended.set()
        camera.shutdown()
        thread.join()
        camera.server_close()


def until(condition: Callable[[], object], seconds: float = 40.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


def recordings(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.mkv"))


@pytest.fixture
def footage(film: Film) -> Path:
    """Twenty seconds with a key frame each second."""
    return film("source.mp4", seconds=20, paint=lambda time: textured(round(time * 10)))


def test_a_real_stream_becomes_files_that_are_indexed(
    footage: Path, tmp_path: Path, index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    """Recorder, watch and index with an RTSP server over TCP with a password. The connection ends after each video."""
    folder = tmp_path / "recorded"
    folder.mkdir()
    with serving(Camera(footage, speed=20, user="joe:hush")) as camera:
        began = datetime.now(UTC).replace(microsecond=0)
        with (
            in_thread(record, camera.url("joe:hush"), folder, camera="door", seconds=6.0),
            in_thread(watch, folder, lambda path: index.add(path, camera="door")),
        ):
            assert until(lambda: camera.clients >= 2 and len(recordings(folder)) >= 5), "it connected again"
            assert until(lambda: len(index.videos()) >= 3)
    assert not list(folder.glob(".*.part"))
    for path in recordings(folder):
        frames = list(sandbox.Frames(path))
        assert frames[0].time == pytest.approx(0, abs=0.3)
        at = recorded_at(path).at
        assert at
        assert timedelta() <= at - began < timedelta(minutes=2)
    first = sandbox.Frames(recordings(folder)[0])
    assert len(list(first)) == pytest.approx(60, abs=12), "cut at the first key frame after six seconds"
    assert "hush" not in caplog.text
    assert "connecting again in 1 s" in caplog.text


def test_a_stalled_stream_is_reconnected(footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp, "_STALL_SECONDS", 1.0)
    with (
        serving(Camera(footage, speed=40, stalls=True)) as camera,
        in_thread(record, camera.url(), tmp_path / "recorded"),
    ):
        assert until(lambda: camera.clients >= 2)
    assert len(recordings(tmp_path / "recorded")) >= 1


def test_a_wrong_password_is_reported_without_the_password(
    footage: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        serving(Camera(footage, user="joe:hush")) as camera,
        in_thread(record, camera.url("joe:wrong"), tmp_path / "recorded"),
    ):
        assert until(lambda: "connecting again in 2 s" in caplog.text)
    assert "wrong" not in caplog.text
    assert "127.0.0.1" in caplog.text


def audio(codec: str, kind: int, rate: int = 8_000, *, form: str = "", **changes: object) -> Track:
    """An audio track without packets."""
    sdp = [f"m=audio 0 RTP/AVP {kind}", f"a=rtpmap:{kind} {codec}/{rate}", *([f"a=fmtp:{kind} {form}"] if form else [])]
    return Track(sdp, kind, **changes)


def spoken(codec: str, seconds: float = 20.0, *, ahead: float = 0.0) -> list[Payload]:
    """Return a tone in packets of 20 ms. Its timestamps may jump after a second."""
    return [
        Payload(i / 50, 160 * i + round(8_000 * (ahead if i > 50 else 0)), content)
        for i, content in enumerate(tone(codec, seconds))
    ]


def recorded(camera: Camera, folder: Path, files: int = 2) -> list[Path]:
    """Record a camera. Return the complete files."""
    with serving(camera), in_thread(record, camera.url(), folder, camera="door", seconds=6.0):
        assert until(lambda: len(recordings(folder)) >= files)
    return recordings(folder)


@pytest.mark.parametrize(
    ("codec", "encoder", "kind"), [("PCMA", "pcm_alaw", 8), ("PCMU", "pcm_mulaw", 0), ("AAL2-G726-32", "g726", 97)]
)
def test_audio_that_matroska_cannot_hold_is_recorded_as_pcm(
    footage: Path, tmp_path: Path, codec: str, encoder: str, kind: int, caplog: pytest.LogCaptureFixture
) -> None:
    track = audio(codec, kind, payloads=spoken(encoder))
    first, *_ = recorded(Camera(footage, speed=20, tracks=[track]), tmp_path / "recorded")
    assert len(list(sandbox.Frames(first))) == pytest.approx(60, abs=12)
    samples = np.concatenate(list(sandbox.decode_audio(first)))
    assert len(samples) / 16_000 == pytest.approx(6, abs=1.5)
    loudest = np.abs(np.fft.rfft(samples[16_000:32_000])).argmax()
    assert loudest == pytest.approx(400, abs=2), "the tone, in Hz"
    assert "audio is left out" not in caplog.text


AAC = "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3"
NOISE = [Payload(i / 10, 1_600 * i, b"\x00\x10" + random.Random(i).randbytes(90)) for i in range(200)]
METADATA = Track(["m=application 0 RTP/AVP 107", "a=rtpmap:107 vnd.onvif.metadata/90000"], 107, refused="404 Not Found")


@pytest.mark.parametrize(
    ("track", "warning"),
    [
        pytest.param(
            audio("MPEG4-GENERIC", 97, 16_000, form=AAC, payloads=NOISE), "aac cannot be stored", id="no config"
        ),
        pytest.param(
            audio("MPEG4-GENERIC", 97, 16_000, form=f"{AAC};config=1408", payloads=NOISE), "", id="broken packets"
        ),
        pytest.param(audio("X-UNKNOWN", 98, payloads=spoken("pcm_alaw")), "", id="unknown codec"),
        pytest.param(audio("PCMA", 8), "", id="never sends"),
        pytest.param(audio("PCMA", 8, payloads=spoken("pcm_alaw", 2)), "", id="stops"),
        pytest.param(audio("PCMA", 8, payloads=spoken("pcm_alaw", ahead=500)), "by 500 s", id="clock ahead"),
        pytest.param(audio("PCMA", 8, refused="404 Not Found"), "left out", id="not found"),
        pytest.param(audio("PCMA", 8, refused="461 Unsupported Transport"), "left out", id="refused"),
        pytest.param(METADATA, "", id="metadata"),
    ],
)
def test_an_extra_stream_does_not_stop_the_video(
    footage: Path, tmp_path: Path, index: Index, track: Track, warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, *_ = recorded(Camera(footage, speed=20, tracks=[track]), tmp_path / "recorded")
    frames = list(sandbox.Frames(first))
    assert len(frames) == pytest.approx(60, abs=12)
    assert frames[-1].time == pytest.approx(len(frames) / 10, abs=0.3), "no frame is missing in between"
    assert caplog.text.count("audio is left out") == bool(warning), "said once, where there is anything to say"
    assert warning in caplog.text
    (line,) = index.add(first, camera="door").videos
    assert line.status == "stored", line.reason


def test_a_video_stall_is_detected_while_audio_continues(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rtsp, "_STALL_SECONDS", 0.5)
    short = film("short.mp4", seconds=2, paint=lambda time: textured(round(time * 10)))
    camera = Camera(short, speed=10, tracks=[audio("PCMA", 8, payloads=spoken("pcm_alaw", 600))])
    with serving(camera), in_thread(record, camera.url(), tmp_path / "recorded", camera="door"):
        assert until(lambda: camera.clients >= 2)
    assert "no video for" in caplog.text


def test_h265_is_recorded(film: Film, tmp_path: Path) -> None:
    footage = film("source.mp4", seconds=20, codec="libx265", paint=lambda time: textured(round(time * 10)))
    first, *_ = recorded(Camera(footage, speed=20), tmp_path / "recorded")
    assert len(list(sandbox.Frames(first))) == pytest.approx(60, abs=12)


def test_a_nearly_full_disk_pauses_the_recording(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "recorded"
    camera = Camera(footage, speed=20)
    with serving(camera), in_thread(record, camera.url(), folder, seconds=6.0):
        assert until(lambda: recordings(folder))
        monkeypatch.setattr(rtsp, "_MIN_FREE_BYTES", 2**80)
        monkeypatch.setattr(rtsp, "_MIN_FREE_SHARE", 1.0)
        assert until(lambda: "recording is paused" in caplog.text)
        files = recordings(folder)
        assert not list(folder.glob(".*")), "the file that was growing is complete"
        assert all(list(sandbox.Frames(file)) for file in files)
        monkeypatch.setattr(rtsp, "_MIN_FREE_BYTES", 0)
        assert until(lambda: len(recordings(folder)) > len(files)), "it goes on when there is space"


def test_recordings_are_private(footage: Path, tmp_path: Path) -> None:
    first, *_ = recorded(Camera(footage, speed=20), tmp_path / "recorded")
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700


DAY = 24 * 3600
MIDNIGHT = datetime(2025, 11, 1, tzinfo=UTC)


class SimulatedDay:
    """A camera that runs for a day, with stalls, on a simulated clock: real packets and files, no real waiting.

    Args:
        footage: the whole day's film.
        stalls: (from, to) in seconds of the day, in order; in them nobody answers and nothing arrives.
    """

    def __init__(self, footage: Path, stalls: list[tuple[float, float]]) -> None:
        self.footage, self.stalls = footage, stalls
        self.now, self.attempts = 0.0, 0
        self.stop = threading.Event()

    def clock(self) -> datetime:
        return MIDNIGHT + timedelta(seconds=self.now)

    def wait(self, seconds: float) -> None:
        self._advance(self.now + seconds)

    @contextmanager
    def connect(self, url: str, media: str) -> Iterator[SimulatedDay]:
        self.attempts += 1
        if any(start <= self.now < end for start, end in self.stalls):
            self._advance(self.now + 15)
            raise av.error.TimeoutError(110, "nobody answers", url)
        with av.open(str(self.footage)) as self.container:
            self.streams = self.container.streams
            yield self

    def demux(self, streams: list[av.stream.Stream]) -> Iterator[av.Packet]:
        for packet in self.container.demux(streams):
            at = float(packet.dts * packet.time_base) if packet.dts is not None else self.now
            if at < self.now - 20:  # the first key frame is decoded that long before it is shown
                continue  # shown before we connected, so nobody saw it
            stall = next((stall for stall in self.stalls if self.now < stall[0] <= at), None)
            if stall:
                self._advance(stall[0] + 20)
                if round(stall[0]) % 2:
                    return  # the camera closes the connection
                raise av.error.ExitError(1414092869, "nothing arrives")
            self._advance(at)
            yield packet
        self._advance(DAY)

    def _advance(self, now: float) -> None:
        self.now = max(self.now, now)
        if self.now >= DAY - 60:
            self.stop.set()


def day_level(seconds: float) -> int:
    """Return the brightness for a time of day."""
    return 20 + round(200 * seconds / DAY)


def test_repeated_stalls_are_recovered(film: Film, tmp_path: Path) -> None:
    chance = random.Random(3)
    starts = sorted(chance.uniform(600, DAY - 600) for _ in range(60))
    stalls = [(start, start + chance.choice([2, 10, 60, 300, 1500])) for start in starts] + [(40_000, 51_000)]
    stalls = sorted(stalls)
    source = film(
        "day.mp4", fps=6, times=[10.0 * i for i in range(DAY // 10)], paint=lambda time: plain(*[day_level(time)] * 3)
    )
    day, folder = SimulatedDay(source, stalls), tmp_path / "recorded"
    record("rtsp://yard/", folder, stop=day.stop, connect=day.connect, now=day.clock, wait=day.wait)
    covered = np.zeros(DAY, bool)
    for path in recordings(folder):
        at = recorded_at(path).at
        assert at
        start = (at - MIDNIGHT).total_seconds()
        frames = list(sandbox.Frames(path))
        assert frames[-1].time < 400
        for frame in frames[:: len(frames) // 2 or 1]:
            assert frame.image.mean() == pytest.approx(day_level(start + frame.time), abs=3), path
        covered[int(start) : int(start + frames[-1].time) + 10] = True
    up = np.ones(DAY, bool)
    for start, end in stalls:
        # Noticed after 20 s, connected again after up to 75 s, and then the next key frame is up to 60 s away.
        up[int(start) - 20 : int(max(end, start + 20)) + 75 + 60 + 10] = False
    up[DAY - 120 :] = False
    assert up.mean() > 0.5
    missed = int((up & ~covered).sum())
    assert missed == 0
    assert len(recordings(folder)) > 200
    assert day.attempts < 500, "a camera that is away is not hammered"
    assert not list(folder.glob(".*"))


def test_the_file_of_a_killed_recorder_is_kept(film: Film, tmp_path: Path) -> None:
    folder = tmp_path / "recorded"
    partial = film("recorded/.yard_20251101T120000Z.mkv").rename(folder / ".yard_20251101T120000Z.part")
    (folder / ".yard_20251101T130000Z.part").touch()
    (folder / ".gate_20251101T130000Z.part").write_bytes(b"of another camera")
    stop = threading.Event()
    stop.set()
    record("rtsp://yard/", folder, stop=stop)
    assert not partial.exists()
    assert [path.name for path in recordings(folder)] == ["yard_20251101T120000Z.mkv"]
    assert [path.name for path in folder.glob(".*")] == [".gate_20251101T130000Z.part"]


@pytest.mark.parametrize("camera", ["Yard [1]", "a*?", "{yard}", "100%d", "cam:1", "über die Straße", "a_b"])
def test_every_valid_camera_name_is_recorded(film: Film, tmp_path: Path, camera: str) -> None:
    """Unfinished files of an earlier run are completed, except those of other cameras with the same prefix."""
    day = SimulatedDay(film("day.mp4", fps=12, times=[5.0 * i for i in range(30)]), [])
    folder = tmp_path / "[rec] {1}"
    folder.mkdir()
    (folder / f".{camera}_20251101T120000Z.part").write_bytes(b"unfinished")
    other = folder / f".{camera}_b_20251101T120000Z.part"
    other.write_bytes(b"of another camera")
    record(
        "rtsp://y/", folder, stop=day.stop, camera=camera, seconds=60, connect=day.connect, now=day.clock, wait=day.wait
    )
    own = rtsp.recordings(folder, camera)
    assert [path.name for path in own[-1:]] == [f"{camera}_20251101T120000Z.mkv"]
    assert len(own) == 4
    assert list(folder.glob(".*")) == [other]


def test_a_camera_that_is_offline_for_weeks_is_reconnected(tmp_path: Path) -> None:
    stop = threading.Event()
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2_000:
            stop.set()

    def connect(url: str, media: str) -> av.container.InputContainer:
        raise ConnectionRefusedError("nobody is there")

    record("rtsp://yard/", tmp_path, stop=stop, connect=connect, wait=wait)
    assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert set(waits[8:]) == {60}


def test_files_of_the_same_second_do_not_replace_each_other(film: Film, tmp_path: Path) -> None:
    day = SimulatedDay(film("day.mp4", fps=12, times=[5.0 * i for i in range(120)]), [])
    folder = tmp_path / "recorded"
    record("rtsp://y/", folder, stop=day.stop, seconds=60, connect=day.connect, now=lambda: MIDNIGHT, wait=day.wait)
    assert [path.name for path in recordings(folder)] == sorted(
        ["y_20251101T000000Z.mkv", *(f"y_20251101T000000Z_{i}.mkv" for i in range(2, 11))]
    )


@pytest.mark.parametrize(
    "url", ["http://camera/", "file:///etc/passwd", "rtsp:///no-host", "camera", "rtsp://a:hush@[::1/"]
)
def test_only_rtsp_addresses_are_accepted(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        record(url, tmp_path, stop=threading.Event())
    assert "hush" not in str(refusal.value)


def test_the_camera_name_has_no_password() -> None:
    assert camera_name("rtsp://joe:hush@10.0.0.7:554/user=joe&password=hush") == "10.0.0.7"
    for name in ("../evil", ".hidden", "a/b", "a\nb", "a\x1b[2J", "x" * 250, "ü" * 120, "\udce9"):
        with pytest.raises(InvalidInputError, match="cannot be used in file names"):
            record("rtsp://yard/", Path(), stop=threading.Event(), camera=name)
