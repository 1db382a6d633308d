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
"""Height and width at which a minute of frames exceeds the shared buffer."""


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    """Start and end each test without child processes."""
    sandbox._kill_idle()
    yield
    sandbox._kill_idle()
    assert not children()


def children() -> list[int]:
    """Return the ids of the decoding child processes."""
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split() if is_decoder(int(pid))]


def is_decoder(pid: int) -> bool:
    return b"var_plugin.media.sandbox.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def moving(time: float) -> np.ndarray:
    return textured(round(time * 10))


def test_results_equal_those_of_decoding_in_process(film: Film) -> None:
    path = film(seconds=4, paint=moving, tone=440)
    direct, sandboxed = (reader(path, rate=5, size=(32, 32), start=1.0) for reader in (FrameReader, sandbox.Frames))
    for mine, other in zip(direct, sandboxed, strict=True):
        assert mine.time == other.time
        assert np.array_equal(mine.image, other.image)
    assert direct.end == sandboxed.end > 0
    assert np.array_equal(read_audio(path, start=0.5, end=2.0), sandbox.read_audio(path, start=0.5, end=2.0))
    assert probe(path) == sandbox.probe(path)
    assert np.array_equal(image_at(path, 2.0, width=32), sandbox.image_at(path, 2.0, width=32))


def test_many_images_arrive_in_order_for_fast_and_slow_readers(film: Film) -> None:
    """The images exceed both halves of the buffer. Those of the second size do not fit into it."""
    path = film(seconds=6, paint=moving)
    for size in ((224, 224), (700, 700)):
        frames = sandbox.Frames(path, size=size)
        for number, (mine, other) in enumerate(zip(FrameReader(path, size=size), frames, strict=True)):
            assert mine.time == other.time
            assert np.array_equal(mine.image, other.image)
            if number == 3:
                time.sleep(0.6)


def test_errors_equal_those_of_decoding_in_process(film: Film) -> None:
    noise = film.folder / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).bytes(5_000))
    cut = film("cut.mp4", seconds=20, paint=moving, options={"movflags": "faststart"})
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    for path, kind in ((noise, UnreadableMediaError), (cut, TruncatedMediaError), (Path("no.mp4"), MediaNotFoundError)):
        errors = []
        for reader in (FrameReader, sandbox.Frames):
            with pytest.raises(kind) as caught:
                list(reader(path))
            errors.append(caught.value)
        assert errors[0].args == errors[1].args


def test_one_child_decodes_many_files_including_bad_ones(film: Film) -> None:
    good, bad = film(), film.folder / "bad.mp4"
    bad.write_bytes(b"no film")
    pids = set()
    for _ in range(3):
        assert len(list(sandbox.Frames(good))) == 20
        with pytest.raises(UnreadableMediaError):
            list(sandbox.Frames(bad))
        pids.update(children())
    assert len(pids) == 1


def test_two_files_at_once_use_two_children(film: Film) -> None:
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
    assert len(list(sandbox.Frames(path))) == 20, "the next file is decoded"


def test_memory_for_decoding_is_limited(film: Film) -> None:
    small, large = film(), film("large.mp4", seconds=0.2, paint=lambda time: np.zeros((2160, 3840, 3), np.uint8))
    list(sandbox.Frames(small))
    (pid,) = children()
    used = int(Path(f"/proc/{pid}/status").read_text().split("VmSize:")[1].split()[0]) << 10
    with pytest.raises(DecodingMemoryError, match=r"large\.mp4 needs too much memory"):
        list(sandbox.Frames(large, limits=replace(DEFAULT_LIMITS, memory=used + (16 << 20))))
    assert len(list(sandbox.Frames(large))) == 2


def test_slow_file_times_out(film: Film) -> None:
    """With a real-time factor of zero, only `stall_seconds` remain for the whole file."""
    path = film(seconds=60, paint=moving)
    with pytest.raises(DecodingTimeoutError, match="of it"):
        list(sandbox.Frames(path, limits=replace(DEFAULT_LIMITS, realtime_factor=0.0, stall_seconds=0.02)))


def test_time_between_requests_does_not_count(film: Film) -> None:
    path = film(seconds=3, paint=moving)
    frames = iter(sandbox.Frames(path, limits=replace(DEFAULT_LIMITS, stall_seconds=1.0, realtime_factor=0.0)))
    next(frames)
    time.sleep(1.2)
    assert len(list(frames)) == 29


def test_stalled_decoder_is_killed(film: Film) -> None:
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


def test_killed_decoder_is_an_error_of_that_file(film: Film) -> None:
    path = film(seconds=60, paint=moving)
    frames = iter(sandbox.Frames(path, size=LARGE))
    next(frames)
    (pid,) = children()
    os.kill(pid, signal.SIGSEGV)
    with pytest.raises(DecoderCrashedError, match="exit status") as caught:
        list(frames)
    assert str(path) in str(caught.value)
    assert len(list(sandbox.Frames(path, end=1.0))) == 10


def test_abandoned_reader_leaves_no_child(film: Film) -> None:
    frames = iter(sandbox.Frames(film(seconds=60, paint=moving)))
    next(frames)
    assert len(children()) == 1
    frames.close()
    assert not children()


def test_children_end_with_their_parent(film: Film) -> None:
    """The parent is killed by SIGKILL in the middle of a file."""
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
    assert is_decoder(child)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while (is_gone := not Path(f"/proc/{child}/cmdline").exists()) is False and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_gone


def test_child_cannot_write_files(film: Film, tmp_path: Path) -> None:
    """The operating system enforces the limits for all code in the child."""
    list(sandbox.Frames(film()))
    (pid,) = children()
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max file size")] == [["0", "0"]]
    assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max address space")] == [
        str(DEFAULT_LIMITS.memory)
    ]


def test_warnings_are_forwarded(film: Film, caplog: pytest.LogCaptureFixture) -> None:
    path = film("damaged.mp4", seconds=20, paint=moving, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for reader in (FrameReader, sandbox.Frames):
        with pytest.raises(TruncatedMediaError):
            list(reader(path))
    assert len(caplog.messages) == 2
    assert caplog.messages[0] == caplog.messages[1] == f"{path}: skipped 1 damaged packets"


def test_internal_error_is_not_blamed_on_the_file(film: Film, caplog: pytest.LogCaptureFixture) -> None:
    """The job gets an unknown option, as after a change in a library."""
    caplog.set_level(logging.DEBUG, "var_plugin.media.sandbox.client")
    with pytest.raises(DecoderCrashedError, match=r"TypeError: .*unexpected keyword argument 'depth'") as caught:
        sandbox._run_once("image_at", film(), DEFAULT_LIMITS, time=0.0, depth=3)
    assert "var-plugin doctor" in caught.value.fix
    assert "ffmpeg" not in str(caught.value)
    (traceback,) = caught.value.__notes__
    assert traceback.startswith("Traceback") and "worker.py" in traceback
    assert traceback in caplog.text
    assert not children()


def test_child_that_does_not_start_reports_why(
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
    assert capfd.readouterr().err == "", "nothing is printed to the terminal"


def test_child_exits_without_output_when_its_connection_closes(film: Film) -> None:
    """The parent closes the connection while the child is decoding."""
    child = sandbox._Child()
    next(child.run("frames", film(seconds=20, paint=moving), DEFAULT_LIMITS, {"size": LARGE}))
    child._connection.close()
    assert child._process.wait(30) == 0
    assert child.kill() == "", "nothing was printed"


INVALID_RESULTS: list[tuple[str, object, NDArray[Any] | None]] = [
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


@pytest.mark.parametrize(("job", "values", "array"), INVALID_RESULTS, ids=lambda value: str(value)[:30])
def test_invalid_result_is_a_crash_of_that_file(
    monkeypatch: pytest.MonkeyPatch, film: Film, job: str, values: object, array: NDArray[Any] | None
) -> None:
    """A compromised decoder may send anything. Here a socket sends it in place of the child."""
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
    sandbox.probe(path)  # starts a child, whose connection is replaced below
    (child,) = sandbox._idle
    parent_end, child_end = socket.socketpair()
    monkeypatch.setattr(child, "_connection", Connection(parent_end, 5.0))
    compromised = Connection(child_end)
    compromised.send({"values": values}, array)
    compromised.send({"done": True})
    with pytest.raises(DecoderCrashedError, match="it sent an invalid result"):
        reads[job]()
    assert not children()
    assert list(path.parent.iterdir()) == [path]


def test_too_few_or_too_many_results_are_a_crash(monkeypatch: pytest.MonkeyPatch, film: Film) -> None:
    path = film()
    for replies in ([], [{"values": {}}] * 2, [{"error": []}], [{"batch": 1, "half": 0}], [{"batch": [{}]}]):
        sandbox.probe(path)
        parent_end, child_end = socket.socketpair()
        monkeypatch.setattr(sandbox._idle[-1], "_connection", Connection(parent_end, 5.0))
        compromised = Connection(child_end)
        for reply in (*replies, {"done": True}):
            compromised.send(reply, IMAGE if "values" in reply else None)
        with pytest.raises(DecoderCrashedError):
            sandbox.image_at(path, 0.0, width=32)
        sandbox._kill_idle()


def test_nothing_is_decoded_or_muxed_outside_the_sandbox(
    film: Film, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Indexing, queries, thumbnails and clips decode in the sandbox only."""
    video, other = film("film.mp4", tone=440.0), film("film.avi", codec="mjpeg", seconds=1)
    Image.fromarray(textured(3)).save(tmp_path / "image.png")

    def fail_on_open(*arguments: object, **options: object) -> None:
        pytest.fail(f"opened in this process: {arguments}")

    monkeypatch.setattr(av, "open", fail_on_open)
    monkeypatch.setattr(Image, "open", fail_on_open)
    monkeypatch.setattr(ImageFile.ImageFile, "__init__", fail_on_open)
    assert index.add([video, other]).ok
    (entry, *_) = index.videos()
    assert index.search(image=tmp_path / "image.png", thumbnails=True)
    assert index.search(video=video)
    assert index.thumbnail(entry.video_id, 1.0)
    assert clip_suffix(video) == ".mp4"
    assert export_clip(video, 0.0, 1.0, tmp_path / "clips/copied.mkv").end > 0.9
    assert encode_clip(video, 0.0, 1.0, tmp_path / "clips/encoded.mp4").end == 1.0
    for path in (video, other):
        assert playable_clip(path, 0.0, 1.0, tmp_path / "clips" / f"{path.suffix}.mp4").end > 0.9


DECODING = {
    "FrameReader", "image_at", "frame_at", "decode_audio", "read_audio", "decode_image", "copy_clip", "encode_part",
    "open_media", "decode_stream",
}  # fmt: skip


def test_no_other_module_imports_decoding_functions() -> None:
    """Decoders of untrusted files run in the sandbox. Training reads data that its user has chosen."""
    package = Path(sandbox.__file__).parents[2]
    outside = [path for path in package.rglob("*.py") if path.parent.name not in {"media", "sandbox", "training"}]
    imports = [
        (path.name, name.name)
        for path in outside
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module != sandbox.__name__
        for name in node.names
        if name.name in DECODING
    ]
    assert len(outside) > 50
    assert not imports
