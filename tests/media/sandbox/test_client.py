from __future__ import annotations

import ast
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from tests.films import Film, textured
from var_plugin.api import Index
from var_plugin.errors import (
    DecoderCrashedError,
    DecodingMemoryError,
    DecodingTimeoutError,
    MediaNotFoundError,
    TooLongMediaError,
    TooManyFramesError,
    TooManyPixelsError,
    TooManyStreamsError,
    TruncatedMediaError,
    UnreadableMediaError,
    VarPluginError,
)
from var_plugin.media.audio import read_audio
from var_plugin.media.clips import clip_suffix, encode_clip, export_clip, playable_clip
from var_plugin.media.container import probe
from var_plugin.media.frames import FrameReader, image_at
from var_plugin.media.limits import DEFAULT_LIMITS
from var_plugin.media.sandbox import client as sandbox
from var_plugin.media.sandbox.connection import Connection

IMAGE = np.zeros((32, 32, 3), np.uint8)
LARGE = (480, 640)
"""Height and width at which a minute of frames is more than a decoder may be ahead."""


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    """Each test begins without a child, and ends with none at work."""
    sandbox._kill_idle()
    yield
    sandbox._kill_idle()
    assert not children()


def children() -> list[int]:
    """The processes below this one that decode."""
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split() if decodes(int(pid))]


def decodes(pid: int) -> bool:
    return b"var_plugin.media.sandbox.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def moving(time: float) -> np.ndarray:
    return textured(round(time * 10))


def test_results_are_those_of_decoding_here(film: Film) -> None:
    path = film(seconds=4, paint=moving, tone=440)
    here, there = (reader(path, rate=5, size=(32, 32), start=1.0) for reader in (FrameReader, sandbox.Frames))
    for mine, other in zip(here, there, strict=True):
        assert mine.time == other.time
        assert np.array_equal(mine.image, other.image)
    assert here.end == there.end > 0
    assert np.array_equal(read_audio(path, start=0.5, end=2.0), sandbox.read_audio(path, start=0.5, end=2.0))
    assert probe(path) == sandbox.probe(path)
    assert np.array_equal(image_at(path, 2.0, width=32), sandbox.image_at(path, 2.0, width=32))


def test_many_images_arrive_in_order_whether_they_are_awaited_or_wait(film: Film) -> None:
    """More than both halves of the tray hold, at two sizes, one of them too large for it."""
    path = film(seconds=6, paint=moving)
    for size in ((224, 224), (700, 700)):
        found = sandbox.Frames(path, size=size)
        for number, (mine, other) in enumerate(zip(FrameReader(path, size=size), found, strict=True)):
            assert mine.time == other.time
            assert np.array_equal(mine.image, other.image)
            if number == 3:
                time.sleep(0.6)


def test_errors_are_those_of_decoding_here(film: Film) -> None:
    noise = film.folder / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).bytes(5_000))
    cut = film("cut.mp4", seconds=20, paint=moving, options={"movflags": "faststart"})
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    for path, kind in ((noise, UnreadableMediaError), (cut, TruncatedMediaError), (Path("no.mp4"), MediaNotFoundError)):
        found = []
        for reader in (FrameReader, sandbox.Frames):
            with pytest.raises(kind) as caught:
                list(reader(path))
            found.append(caught.value)
        assert found[0].args == found[1].args


def test_one_child_serves_many_files_and_outlives_bad_ones(film: Film) -> None:
    good, bad = film(), film.folder / "bad.mp4"
    bad.write_bytes(b"no film")
    served = set()
    for _ in range(3):
        assert len(list(sandbox.Frames(good))) == 20
        with pytest.raises(UnreadableMediaError):
            list(sandbox.Frames(bad))
        served.update(children())
    assert len(served) == 1


def test_two_files_at_once_take_two_children(film: Film) -> None:
    path = film(paint=moving)
    one, two = iter(sandbox.Frames(path)), iter(sandbox.Frames(path))
    pairs = list(zip(one, two, strict=True))
    assert len(pairs) == 20
    assert len(children()) == 2


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ({"pixels": 64 * 48 - 1}, TooManyPixelsError),
        ({"frames": 19}, TooManyFramesError),
        ({"duration": 1.5}, TooLongMediaError),
        ({"streams": 1}, TooManyStreamsError),
        ({"total_seconds": 0.0}, DecodingTimeoutError),
        ({"stall_seconds": 0.0}, DecodingTimeoutError),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_limit_has_its_error(film: Film, limit: dict[str, int], expected: type[VarPluginError]) -> None:
    path = film(tone=440, paint=moving)
    with pytest.raises(expected) as caught:
        list(sandbox.Frames(path, limits=replace(DEFAULT_LIMITS, **limit)))
    assert str(path) in str(caught.value)
    assert caught.value.why
    assert caught.value.fix
    assert len(list(sandbox.Frames(path))) == 20, "the next file is served"


def test_the_memory_of_decoding_is_limited(film: Film) -> None:
    small, large = film(), film("large.mp4", seconds=0.2, paint=lambda time: np.zeros((2160, 3840, 3), np.uint8))
    list(sandbox.Frames(small))
    (pid,) = children()
    used = int(Path(f"/proc/{pid}/status").read_text().split("VmSize:")[1].split()[0]) << 10
    with pytest.raises(DecodingMemoryError, match=r"large\.mp4 needs too much memory"):
        list(sandbox.Frames(large, limits=replace(DEFAULT_LIMITS, memory=used + (16 << 20))))
    assert len(list(sandbox.Frames(large))) == 2


def test_a_slow_file_is_given_up(film: Film) -> None:
    """So much wall time for each second of footage: here none, so that the silence allowed is all there is."""
    path = film(seconds=60, paint=moving)
    with pytest.raises(DecodingTimeoutError, match="of it"):
        list(sandbox.Frames(path, limits=replace(DEFAULT_LIMITS, realtime_factor=0.0, stall_seconds=0.02)))


def test_time_in_which_nobody_asks_does_not_count(film: Film) -> None:
    path = film(seconds=3, paint=moving)
    frames = iter(sandbox.Frames(path, limits=replace(DEFAULT_LIMITS, stall_seconds=1.0, realtime_factor=0.0)))
    next(frames)
    time.sleep(1.2)
    assert len(list(frames)) == 29


def test_a_decoder_that_hangs_is_killed(film: Film) -> None:
    path = film(seconds=60, paint=moving)
    frames = iter(sandbox.Frames(path, size=LARGE, limits=replace(DEFAULT_LIMITS, stall_seconds=0.5)))
    next(frames)
    (pid,) = children()
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(DecodingTimeoutError):
        list(frames)
    assert time.monotonic() - started < 10
    assert not children()


def test_a_decoder_that_dies_is_an_error_of_that_file(film: Film) -> None:
    path = film(seconds=60, paint=moving)
    frames = iter(sandbox.Frames(path, size=LARGE))
    next(frames)
    (pid,) = children()
    os.kill(pid, signal.SIGSEGV)
    with pytest.raises(DecoderCrashedError, match="exit status") as caught:
        list(frames)
    assert str(path) in str(caught.value)
    assert len(list(sandbox.Frames(path, end=1.0))) == 10


def test_a_reader_that_is_left_leaves_no_child(film: Film) -> None:
    frames = iter(sandbox.Frames(film(seconds=60, paint=moving)))
    next(frames)
    assert len(children()) == 1
    frames.close()
    assert not children()


def test_children_end_with_their_parent(film: Film) -> None:
    """Killed without a chance to say so, in the middle of a file."""
    path = film(seconds=60, paint=moving)
    code = """
import sys
from pathlib import Path
from var_plugin.media.sandbox import client as sandbox
frames = iter(sandbox.Frames(Path(sys.argv[1])))
next(frames)
print(sandbox.__name__, *(path.read_text() for path in Path("/proc/self/task").glob("*/children")), flush=True)
input()
"""
    parent = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout
    child = int(parent.stdout.readline().split()[1])
    assert decodes(child)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while (gone := not Path(f"/proc/{child}/cmdline").exists()) is False and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone


def test_a_child_cannot_write_files(film: Film, tmp_path: Path) -> None:
    """Its limits are the system's, so they hold for whatever runs in it."""
    list(sandbox.Frames(film()))
    (pid,) = children()
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max file size")] == [["0", "0"]]
    assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max address space")] == [
        str(DEFAULT_LIMITS.memory)
    ]


def test_warnings_come_through(film: Film, caplog: pytest.LogCaptureFixture) -> None:
    path = film("damaged.mp4", seconds=20, paint=moving, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for reader in (FrameReader, sandbox.Frames):
        with pytest.raises(TruncatedMediaError):
            list(reader(path))
    assert len(caplog.messages) == 2
    assert caplog.messages[0] == caplog.messages[1] == f"{path}: skipped 1 damaged packets"


def test_a_fault_of_our_own_is_not_blamed_on_the_file(film: Film, caplog: pytest.LogCaptureFixture) -> None:
    """The job gets an option that it does not know, as after a change of a library that it calls."""
    caplog.set_level(logging.DEBUG, "var_plugin.media.sandbox.client")
    with pytest.raises(DecoderCrashedError, match=r"TypeError: .*unexpected keyword argument 'depth'") as caught:
        sandbox._run_once("image_at", film(), DEFAULT_LIMITS, time=0.0, depth=3)
    assert "var-plugin doctor" in caught.value.fix
    assert "ffmpeg" not in str(caught.value)
    (traceback,) = caught.value.__notes__
    assert traceback.startswith("Traceback") and "worker.py" in traceback
    assert traceback in caplog.text
    assert not children()


def test_a_child_that_does_not_start_says_why(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = film()
    (tmp_path / "library/av").mkdir(parents=True)
    (tmp_path / "library/av/__init__.py").write_text("raise ImportError('no libavcodec here')")
    monkeypatch.syspath_prepend(tmp_path / "library")
    with pytest.raises(DecoderCrashedError, match="exit status 1: ImportError: no libavcodec here") as caught:
        sandbox.probe(path)
    assert "var-plugin doctor" in caught.value.fix
    assert caught.value.__notes__[0].startswith("Traceback")
    assert capfd.readouterr().err == "", "the terminal is the user's"


def test_a_child_whose_results_are_not_wanted_any_more_ends_quietly(film: Film) -> None:
    """It is at work when its parent closes the connection, and cannot send."""
    child = sandbox._Child()
    next(child.run("frames", film(seconds=20, paint=moving), DEFAULT_LIMITS, {"size": LARGE}))
    child._connection.close()
    assert child._process.wait(30) == 0
    assert child.kill() == "", "nothing was printed"


LIES: list[tuple[str, object, NDArray[Any] | None]] = [
    ("frames", {"time": "1.0e"}, IMAGE),
    ("frames", {"time": None}, IMAGE),
    ("frames", {"time": float("nan")}, IMAGE),
    ("frames", {"time": float("inf")}, IMAGE),
    ("frames", {"time": -1}, IMAGE),
    ("frames", {"time": [1]}, IMAGE),
    ("frames", {}, IMAGE),
    ("frames", [1.0], IMAGE),
    ("frames", "time", IMAGE),
    ("frames", {"time": 1.0}, None),
    ("frames", {"time": 1.0}, IMAGE[:16]),
    ("frames", {"time": 1.0}, IMAGE[..., :1]),
    ("frames", {"time": 1.0}, IMAGE.astype(np.float32)),
    ("frames", {"end": "late"}, None),
    ("frames", {"motion": True}, IMAGE[:16]),
    ("image_at", {}, IMAGE[0]),
    ("audio", {"samples": "many"}, np.zeros(9, np.float32)),
    ("audio", {"samples": 9}, np.full(9, np.nan, np.float32)),
    ("audio", {"samples": 9}, IMAGE),
    ("probe", {"info": {"width": "wide"}}, None),
    ("probe", {"width": 3}, None),
    ("image", {}, None),
    ("image", {}, IMAGE[:16]),
    ("image", {"time": 1.0}, IMAGE),
    ("copy", {"offset": -1, "time": 0.0}, IMAGE[0, 0]),
    ("copy", {"offset": 0, "time": float("nan")}, IMAGE[0, 0]),
    ("copy", {"offset": 0, "time": 0.0}, IMAGE),
    ("copy", {"offset": 0, "time": 0.0}, None),
    ("copy", {"start": 0.0, "end": float("inf")}, None),
    ("encode", {"start": 0.0}, None),
]


@pytest.mark.parametrize(("job", "values", "array"), LIES, ids=lambda value: str(value)[:30])
def test_an_answer_that_no_decoder_gives_is_a_crash_of_that_file(
    monkeypatch: pytest.MonkeyPatch, film: Film, job: str, values: object, array: NDArray[Any] | None
) -> None:
    """A decoder that its file has taken over may say anything; here a socket says it in its place."""
    path = film()
    reads: dict[str, Callable[[], object]] = {
        "frames": lambda: list(sandbox.Frames(path, size=IMAGE.shape[:2], motion=32)),
        "image_at": lambda: sandbox.image_at(path, 0.0, width=32),
        "audio": lambda: list(sandbox.decode_audio(path)),
        "probe": lambda: sandbox.probe(path),
        "image": lambda: sandbox.decode_image(path, size=IMAGE.shape[:2]),
        "copy": lambda: export_clip(path, 0.0, 1.0, path.with_name("clip.mp4")),
        "encode": lambda: encode_clip(path, 0.0, 1.0, path.with_name("clip.mp4")),
    }
    sandbox.probe(path)  # a real child, whose end of the connection is taken
    (child,) = sandbox._idle
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(child, "_connection", Connection(ours, 5.0))
    liar = Connection(theirs)
    liar.send({"values": values}, array)
    liar.send({"done": True})
    with pytest.raises(DecoderCrashedError, match="it sent an invalid result"):
        reads[job]()
    assert not children()
    assert list(path.parent.iterdir()) == [path]


def test_answers_that_are_too_few_or_too_many_are_a_crash(monkeypatch: pytest.MonkeyPatch, film: Film) -> None:
    path = film()
    for answers in ([], [{"values": {}}] * 2, [{"error": []}], [{"batch": 1, "half": 0}], [{"batch": [{}]}]):
        sandbox.probe(path)
        ours, theirs = socket.socketpair()
        monkeypatch.setattr(sandbox._idle[-1], "_connection", Connection(ours, 5.0))
        liar = Connection(theirs)
        for answer in (*answers, {"done": True}):
            liar.send(answer, IMAGE if "values" in answer else None)
        with pytest.raises(DecoderCrashedError):
            sandbox.image_at(path, 0.0, width=32)
        sandbox._kill_idle()


def test_nothing_is_decoded_or_muxed_in_this_process(
    film: Film, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for the index, nor for queries, thumbnails and clips."""
    video, other = film("film.mp4", tone=440.0), film("film.avi", codec="mjpeg", seconds=1)
    Image.fromarray(textured(3)).save(tmp_path / "image.png")

    def opened_here(*words: object, **options: object) -> None:
        pytest.fail(f"opened here: {words}")

    monkeypatch.setattr(av, "open", opened_here)
    monkeypatch.setattr(Image, "open", opened_here)
    monkeypatch.setattr(ImageFile.ImageFile, "__init__", opened_here)
    assert index.add([video, other]).ok
    (entry, *_) = index.videos()
    assert index.search(image=tmp_path / "image.png", thumbnails=True)
    assert index.search(video=video)
    assert index.thumbnail(index.entries([entry.video_id])[entry.video_id], 1.0)
    assert clip_suffix(video) == ".mp4"
    assert export_clip(video, 0.0, 1.0, tmp_path / "clips/copied.mkv").end > 0.9
    assert encode_clip(video, 0.0, 1.0, tmp_path / "clips/encoded.mp4").end == 1.0
    for path in (video, other):
        assert playable_clip(path, 0.0, 1.0, tmp_path / "clips" / f"{path.suffix}.mp4").end > 0.9


DECODING = {
    "FrameReader", "image_at", "frame_at", "decode_audio", "read_audio", "decode_image", "copy_clip", "encode_part",
    "open_media", "decode_stream",
}  # fmt: skip


def test_footage_is_decoded_nowhere_else() -> None:
    """What a file does to its decoder must not reach the process; training reads data that one chose oneself."""
    package = Path(sandbox.__file__).parents[2]
    outside = [path for path in package.rglob("*.py") if path.parent.name not in {"media", "sandbox", "training"}]
    found = [
        (path.name, name.name)
        for path in outside
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module != sandbox.__name__
        for name in node.names
        if name.name in DECODING
    ]
    assert len(outside) > 50
    assert not found
