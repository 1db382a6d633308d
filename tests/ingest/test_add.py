from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.colors import NAMES, color_suite
from tests.films import Film, plain, textured
from var_plugin.api import Index, open_index
from var_plugin.errors import InvalidInputError, MediaError
from var_plugin.index.generation import VideoGeneration
from var_plugin.ingest import pipeline as engines
from var_plugin.media.sandbox.client import image_at
from var_plugin.types import Filter

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def scene(*names: str, seconds: float = 8.0):
    """Show the colours one after another, `seconds` each."""

    def paint(time: float) -> np.ndarray:
        color = np.array(NAMES[names[min(int(time / seconds), len(names) - 1)]]) * 200 + 20
        image = plain(*color)
        image[:, :16] //= 2  # an image of one colour shows nothing
        return image

    return paint


def test_a_video_becomes_segments_and_a_receipt(index: Index, film: Film) -> None:
    path = film("cams/north.mp4", seconds=30, fps=5, paint=scene("red", "green", "blue", "red"))
    receipt = index.add(path, recorded_at=NOON, metadata={"floor": 3})
    (line,) = receipt.videos
    assert receipt.ok
    assert receipt.exit_code == 0
    assert (line.status, line.path) == ("stored", str(path))
    assert line.duration == pytest.approx(30, abs=0.1)
    assert line.planned == line.embedded == line.stored == line.verified == {"scene": 5}, "four segments and the whole"
    assert line.content == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(line.seconds) == {"hash", "embed", "score", "store"}
    (video,) = index.videos()
    assert (video.camera, video.uri, video.recorded_at, video.metadata) == ("north", str(path), NOON, {"floor": 3})
    segments = index.segments(video.video_id)
    assert [(s.start, s.end) for s in segments] == [(0, 8), (8, 16), (16, 24), (24, pytest.approx(30, abs=0.1))]
    assert [s.recorded_at for s in segments] == [NOON.timestamp() * 1000 + 8000 * i for i in range(4)]
    assert all(s.start <= s.key < s.end for s in segments)
    assert segments[0].key > 0


def test_static_neighbouring_segments_are_merged(index: Index, film: Film) -> None:
    index.add(film(seconds=100, fps=2, paint=scene("red", seconds=80)), camera="a")
    index.add(film("b.mp4", seconds=100, fps=2, paint=scene("red", "blue", seconds=40)), camera="b")
    one, two = ([(s.start, s.end) for s in index.segments(video.video_id)] for video in index.videos())
    assert one == [(0, 64), (64, pytest.approx(100))], "no longer than the longest allowed"
    assert two == [(0, 40), (40, pytest.approx(100))]


def test_the_same_content_is_stored_once(index: Index, film: Film, tmp_path: Path) -> None:
    path = film("north.mp4", seconds=4)
    index.add(path)
    again = index.add(path).videos[0]
    assert (again.status, again.stored, again.verified) == ("unchanged", {"scene": 0}, {"scene": 2})
    moved = tmp_path / "archive" / "moved.mp4"
    moved.parent.mkdir()
    shutil.move(path, moved)
    line = index.add(moved).videos[0]
    assert line.status == "unchanged"
    assert "keeps camera 'north'" in (line.reason or "")
    (video,) = index.videos()
    assert (video.uri, video.camera) == (str(moved), "north")
    (moment,) = index.search("red", k=1, thumbnails=True)
    assert (moment.uri, moment.camera) == (str(moved), "north")
    assert moment.thumbnail is not None


def test_changed_content_replaces_the_video(index: Index, film: Film) -> None:
    index.add(film("north.mp4", seconds=8, paint=scene("red")))
    index.add(film("north.mp4", seconds=8, paint=scene("blue")))
    (video,) = index.videos()
    (moment,) = index.search("red")
    assert moment.video_id == video.video_id
    assert moment.score < 0


def test_content_that_another_path_still_holds_is_kept(index: Index, film: Film) -> None:
    first = film("north.mp4", seconds=8, paint=scene("red"))
    copy = Path(shutil.copy(first, first.with_name("south.mp4")))
    index.add([first, copy])
    film("south.mp4", seconds=8, paint=scene("blue"))
    index.add(copy)
    assert sorted(Path(video.uri).name for video in index.videos()) == ["north.mp4", "south.mp4"]
    assert index.add(first).videos[0].stored == {"scene": 0}, "nothing to embed"


def test_each_path_is_stored_once(index: Index, film: Film) -> None:
    first = film("north.mp4", seconds=4)
    copy = Path(shutil.copy(first, first.with_name("south.mp4")))
    for _ in range(3):
        index.add([first, copy])
    (video,) = index.videos()
    entry = index._inner.entry(video.video_id)
    assert entry is not None
    assert [Path(sighting.path).name for sighting in entry.sightings] == ["north.mp4", "south.mp4"]


def test_an_interrupted_deletion_is_completed(index: Index, film: Film) -> None:
    video_id = index.add(film("gone.mp4", paint=lambda time: textured(2))).videos[0].video_id
    entry = index._inner.entry(str(video_id))
    assert entry is not None
    index._inner.update(entry.model_copy(update={"state": "deleting"}))
    index.add(film("other.mp4"))
    assert [Path(video.uri).name for video in index.videos()] == ["other.mp4"]
    assert index.verify().ok


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from tests.colors import color_suite
from var_plugin.index.generation import VideoGeneration
from var_plugin.api import open_index

def interrupt(file):
    if file.name == sys.argv[4]:
        os.kill(os.getpid(), signal.SIGINT)

def progress(file, reached):
    if sys.argv[3] == "looking":
        interrupt(file)

def write(index, generation, entry, rows, written=VideoGeneration._write_segments):
    if sys.argv[3] == "writing":
        interrupt(Path(entry.latest_sighting.path))
    return written(index, generation, entry, rows)

VideoGeneration._write_segments = write
with open_index(sys.argv[1], suite=color_suite()) as index:
    receipt = index.add(sys.argv[2], progress=progress)
print(receipt.model_dump_json())
sys.exit(receipt.exit_code)
"""


@pytest.mark.parametrize(
    ("moment", "name", "counts"),
    [
        ("looking", "02.mp4", {2}),
        ("writing", "02.mp4", {3, 4}),  # the next may have been looked at and wait for its turn
        ("writing", "04.mp4", {5}),
    ],
)
def test_ctrl_c_ends_with_a_receipt(tmp_path: Path, film: Film, moment: str, name: str, counts: set[int]) -> None:
    for i in range(5):
        film(f"in/{i:02}.mp4", seconds=20, fps=5, paint=lambda time, seed=i: textured(seed))
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / "index.db"), str(tmp_path / "in"), moment, name],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    receipt = json.loads(process.stdout)
    assert (process.returncode, receipt["interrupted"], receipt["ok"]) == (130, True, False)
    with open_index(tmp_path / "index.db", suite=color_suite()) as index:
        assert index.verify().ok
        stored = [line["path"] for line in receipt["videos"] if line["status"] == "stored"]
        assert len(stored) in counts, "what was being written is written to its end"
        assert [video.uri for video in index.videos()] == stored, "nothing but what the receipt says"


def test_an_interrupted_video_is_embedded_again(index: Index, film: Film) -> None:
    path = film(seconds=8)
    video_id = index.add(path).videos[0].video_id
    assert video_id is not None
    entry = index._inner.entry(video_id)
    assert entry is not None
    index._inner.update(entry.model_copy(update={"state": "pending"}))
    assert index.search("red") == []
    assert index.add(path).videos[0].status == "stored"
    assert len(index.search("red")) == 1


def test_cameras_are_named_after_folders_or_files(index: Index, film: Film) -> None:
    for seed, name in enumerate(["cams/north/1.mp4", "cams/north/deep/2.mp4", "cams/south.mp4"]):
        film(name, paint=lambda time, seed=seed: textured(seed))
    index.add(film.folder / "cams")
    assert sorted(video.camera for video in index.videos()) == ["north", "north", "south"]
    index.add(film("other.mp4", paint=lambda time: textured(9)), camera="gate")
    assert index.videos()[-1].camera == "gate"


def test_bad_files_do_not_affect_other_files(index: Index, film: Film, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/empty.mp4").touch()
    (tmp_path / "in/text.mp4").write_text("no film " * 1000)
    film("in/sound.mp4", tone=440, images=False)
    cut = film(
        "in/cut.mp4", seconds=30, fps=5, paint=lambda time: textured(int(time * 5)), options={"movflags": "faststart"}
    )
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    film("in/whole.mp4", seconds=9)
    (tmp_path / "nothing").mkdir()
    receipt = index.add([tmp_path / "missing.mp4", tmp_path / "nothing", tmp_path / "in"])
    assert {Path(video.path).name: video.error for video in receipt.videos} == {
        "missing.mp4": "MediaNotFoundError", "nothing": "NoVideosFoundError", "cut.mp4": "TruncatedMediaError",
        "empty.mp4": "EmptyMediaError", "sound.mp4": "NoVideoStreamError", "text.mp4": "UnreadableMediaError",
        "whole.mp4": None,
    }  # fmt: skip
    assert not receipt.ok
    assert receipt.exit_code == MediaError.exit_code, "all failures belong to one family"
    assert [Path(video.uri).name for video in index.videos()] == ["whole.mp4"]
    assert index._inner.search_segments("scene", np.ones(3), limit=100, filter=Filter(video_ids=("x",))) == []
    assert len(index._inner.search_segments("scene", np.ones(3), limit=100, filter=Filter())) == 2, (
        "one segment and the video's own row"
    )


def test_failures_of_different_families_exit_with_1(index: Index, film: Film, tmp_path: Path) -> None:
    unstorable = film("a.mp4", seconds=1).rename(tmp_path / "a\x1b.mp4")
    assert index.add([tmp_path / "missing.mp4", tmp_path / "b.mp4"]).exit_code == 3
    assert index.add([tmp_path / "missing.mp4", unstorable]).exit_code == 1


def test_a_name_that_cannot_be_stored_is_refused_at_once(index: Index, film: Film) -> None:
    path = film()
    for wrong in ({"camera": "a\nb"}, {"metadata": {"a b": 1}}, {"recorded_at": datetime(2026, 11, 1)}):
        with pytest.raises(InvalidInputError):
            index.add(path, **wrong)
    assert index.videos() == []


def test_clock_times_filter_by_when_a_segment_was_recorded(index: Index, film: Film) -> None:
    index.add(film(seconds=24, fps=5, paint=scene("red", "green", "blue")), recorded_at=NOON)
    index.add(film("unknown.mp4", seconds=8, paint=scene("red")))
    late = index.search("red", filter=Filter(after=NOON + timedelta(seconds=16)))
    assert [(moment.start, moment.recorded_at) for moment in late] == [(16.0, NOON + timedelta(seconds=16))]
    early = index.search("red", filter=Filter(before=NOON + timedelta(seconds=8)))
    assert [moment.start for moment in early] == [0.0]


def test_a_bad_file_does_not_end_a_run(index: Index, film: Film, tmp_path: Path) -> None:
    good = film("in/aaa.mp4", seconds=2, paint=lambda time: textured(1))
    folder = good.parent
    awkward = {
        "n" * 251 + ".mp4": "stored",  # the longest name that a file system takes
        "year 1.mp4": "stored",
        "nested.mp4": "stored",
        "a\x1b[2J.mp4": "failed",
        "x\nstored  bank.mp4": "failed",
        "caf\udce9.mp4": "failed",
    }
    for seed, name in enumerate(awkward):
        header = {"creation_time": "0001-01-01T00:00:00+23:59"} if name == "year 1.mp4" else {}
        path = film(f"{seed}.mp4", seconds=2, paint=lambda time, seed=seed: textured(seed + 10), metadata=header)
        path.rename(folder / name)
    (folder / "nested.mp4.json").write_text("[" * 30_000 + "]" * 30_000)
    os.mkfifo(folder / "pipe.mp4")
    (folder / "gone.mp4").symlink_to(folder / "gone")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    film("in/zzz.mp4", seconds=2, paint=lambda time: textured(2))
    receipt = index.add(folder)
    statuses = {line.path.removeprefix(f"{folder}/"): line.status for line in receipt.videos}
    assert statuses == awkward | {
        "aaa.mp4": "stored", "zzz.mp4": "stored", "pipe.mp4": "failed", "gone.mp4": "failed", "loop.mp4": "failed",
    }  # fmt: skip
    assert receipt.exit_code == 1
    reasons = {Path(line.path).name: str(line.reason) for line in receipt.videos if line.status == "failed"}
    assert "is not UTF-8" in reasons["caf\udce9.mp4"]
    assert "has control characters" in reasons["a\x1b[2J.mp4"]
    assert not any("\x1b" in reason or "\n" in reason for reason in reasons.values())
    assert "is a broken link" in reasons["gone.mp4"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"), OverflowError("date value out of range"), RecursionError("too deep"),
        UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"), MemoryError(), ValueError("a\x1bb"), KeyError("x"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
@pytest.mark.parametrize("step", ["embed", "store"])
def test_an_error_fails_only_its_own_file(
    index: Index, film: Film, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception,
    step: str,
) -> None:  # fmt: skip
    bad, good = (film(f"in/{n}.mp4", seconds=1, fps=2, paint=lambda time, n=n: textured(n, 16, 16)) for n in (1, 2))
    embed, write = engines.embed, VideoGeneration._write_segments

    def embedding(file: Path, *rest: Any) -> Any:
        if step == "embed" and file == bad:
            raise error
        return embed(file, *rest)

    def writing(generation: VideoGeneration, *rest: Any) -> Any:
        if step == "store" and rest[1].latest_sighting.path == str(bad):
            raise error
        return write(generation, *rest)

    monkeypatch.setattr(engines, "embed", embedding)
    monkeypatch.setattr(VideoGeneration, "_write_segments", writing)
    with caplog.at_level("DEBUG", "var_plugin"):
        receipt = index.add(good.parent)
    assert [line.status for line in receipt.videos] == ["failed", "stored"]
    reason = receipt.videos[0].reason or ""
    if isinstance(error, OSError):
        assert "could not be processed" in reason and "Input/output error" in reason
    else:
        assert reason.startswith(f"unexpected error: {type(error).__name__}")
        assert any(record.exc_info for record in caplog.records), "the traceback is in the log"
    assert "\x1b" not in reason
    assert receipt.exit_code != 0
    assert index.verify().ok


@pytest.mark.parametrize("change", ["grown", "overwritten", "gone"])
def test_a_file_that_changes_during_indexing_is_not_stored(index: Index, film: Film, change: str) -> None:
    path = film("changing.mp4", seconds=4)
    other = film("other.mp4", seconds=4, paint=lambda time: textured(3)).read_bytes()

    def meddle(file: Path, reached: float) -> None:
        if change == "gone":
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(path.read_bytes() + b"x" if change == "grown" else other)

    (line,) = index.add(path, progress=meddle).videos
    assert line.status == "failed"
    assert ("changed while it was indexed" if change != "gone" else "does not exist") in str(line.reason)
    assert index.videos() == []


def test_a_file_with_a_new_mtime_during_indexing_is_stored(index: Index, film: Film) -> None:
    path = film(seconds=2)
    assert index.add(path, progress=lambda file, _: os.utime(file, (1e9, 1e9))).ok


def test_one_clock_time_for_several_files_is_refused(index: Index, film: Film) -> None:
    films = [film(f"cams/{n}.mp4", seconds=1, paint=lambda time, n=n: textured(n)) for n in range(2)]
    for paths in (films[0].parent, films):
        with pytest.raises(
            InvalidInputError, match=r"one recording time is given for several files \(2\): 0.mp4, 1.mp4"
        ):
            index.add(paths, recorded_at=NOON)
    assert index.videos() == []
    films[1].unlink()
    assert index.add(films[0].parent, recorded_at=NOON).videos[0].recorded_at == NOON


def test_a_file_named_several_times_is_one_file(index: Index, film: Film, tmp_path: Path) -> None:
    path = film("cams/north.mp4", seconds=1)
    link, cams = tmp_path / "link.mp4", tmp_path / "all"
    link.symlink_to(path)
    cams.symlink_to(path.parent)
    for paths in ([path.parent, path], [path, path.parent, path], [cams, link, path], [link, path]):
        (line,) = index.add(paths, recorded_at=NOON).videos
        assert (line.status, line.recorded_at) == ("stored" if paths[0] == path.parent else "unchanged", NOON)
    other = film("cams/south.mp4", seconds=1, paint=scene("red"))
    with pytest.raises(InvalidInputError, match=r"several files \(2\)"):
        index.add([path.parent, other], recorded_at=NOON)


def test_the_receipt_names_the_replaced_video(index: Index, film: Film) -> None:
    first = index.add(film("card/REC0001.mp4", seconds=2, paint=scene("red"))).videos[0]
    second = index.add(film("card/REC0001.mp4", seconds=2, paint=scene("blue"))).videos[0]
    assert (second.status, second.replaced) == ("stored", (first.video_id,))
    assert f"it replaces video {first.video_id}" in str(second.reason)
    path = Path(second.path)
    copy = Path(shutil.copy(path, path.with_name("copy.mp4")))
    index.add(copy)
    shutil.move(copy, path.with_name("moved.mp4"))
    index.add(path.with_name("moved.mp4"))
    third = index.add(film("card/moved.mp4", seconds=2, paint=scene("green"))).videos[0]
    assert third.replaced == ()
    assert f"stays in the index as {path}" in str(third.reason)


def test_a_file_is_one_video_for_all_spellings_of_its_path(
    index: Index, film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film("a/f.mp4", seconds=1, paint=scene("red"))
    (film.folder / "b").mkdir()
    (film.folder / "linked").symlink_to(film.folder / "a")
    monkeypatch.chdir(film.folder)
    ways = [path, "b/../a/f.mp4", "a//f.mp4", "./a/f.mp4", "linked/f.mp4", "linked", "a/"]
    for turn, way in enumerate(ways):
        film("a/f.mp4", seconds=1, paint=lambda time, turn=turn: textured(turn))
        assert index.add(way).ok
        assert [video.uri for video in index.videos()] == [str(path)], way
    assert len(index.add(["a", "./a", "b/../a"]).videos) == 1


def test_skipped_folders_are_counted_in_the_receipt(index: Index, film: Film) -> None:
    film("nas/front/a.mp4", seconds=1)
    film("nas/#recycle/b.mp4", seconds=1)
    receipt = index.add(film.folder / "nas")
    assert [Path(line.path).name for line in receipt.videos] == ["a.mp4"]
    assert receipt.skipped == {"#recycle": 1}
    assert receipt.ok


def test_distant_frames_last_until_the_next(index: Index, film: Film) -> None:
    """A screen recording with a frame in 30 s: the thumbnail of each segment is the frame shown at that time."""
    times = [0.0, 30.0, 60.0, 90.0]
    colors = ["red", "green", "blue", "red"]

    def paint(time: float) -> np.ndarray:
        return scene(*colors, seconds=30)(time + 0.1)

    path = film("screen.mkv", times=times, fps=1, paint=paint)
    assert index.add(path).ok
    (video,) = index.videos()
    segments = index.segments(video.video_id)
    assert len(segments) > 3
    for segment in segments:
        assert segment.start <= segment.key <= segment.end
        expected = paint(times[int(segment.key // 30)])
        assert np.abs(image_at(path, segment.key).mean((0, 1)) - expected.mean((0, 1))).max() < 30
    for color, start, end in (("green", 30, 60), ("blue", 60, 90)):
        moment = index.search(color, k=1)[0]
        assert start <= moment.peak < end
        assert moment.start > start - 8
