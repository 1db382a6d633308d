"""Footage added in the background: one video after another, each found as soon as it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.colors import color_suite
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.api import Index, open_index
from var_plugin.app.chat_search import answer
from var_plugin.app.conversation import Request
from var_plugin.app.footage_tab import progress_list
from var_plugin.app.ingest_queue import Adder, Batch, Job, from_folder, from_form, from_uploads, upload_folder
from var_plugin.errors import MediaNotFoundError
from var_plugin.index.generation import VideoGeneration
from var_plugin.index.index import VideoIndex

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def adder(index: Index) -> Iterator[Adder]:
    adder = Adder(index)
    yield adder
    adder.close()


def finished(batch: Batch) -> Batch:
    assert batch.done
    batch.done.result(120)
    return batch


def test_a_video_is_found_while_the_next_is_added(adder: Adder, index: Index, film: Film) -> None:
    short = film("short.mp4", seconds=16, fps=5, paint=scene("green", "red"))
    long = film("long.mp4", seconds=900, fps=4, paint=scene("red", "blue", seconds=100))
    batch = adder.start(lambda: [Job(short, "first", NOON), Job(long, "second")])
    seen = []
    while not batch.finished:
        states = [job.state for job in batch.jobs]
        if states == ["stored", "working"]:
            found = answer(index, Request(text="green")).moments
            if [job.state for job in batch.jobs] == states:
                seen.append((found[0].camera, found[0].recorded_at, 0 <= batch.jobs[1].reached <= 900))
        time.sleep(0.02)
    assert ("first", NOON, True) in seen
    assert [job.state for job in batch.jobs] == ["stored", "stored"]
    assert {video.camera for video in index.videos()} == {"first", "second"}


def test_a_bad_file_fails_in_words_and_the_others_go_on(adder: Adder, film: Film, tmp_path: Path) -> None:
    good = film("cams/yard/good.mp4", seconds=8, fps=5)
    (tmp_path / "cams" / "bad.mp4").write_bytes(b"no video" * 99)
    batch = finished(adder.start(lambda: from_folder(str(tmp_path / "cams"), None, None)))
    states = {job.path.name: (job.state, job.camera) for job in batch.jobs}
    assert states == {"bad.mp4": ("failed", "bad"), good.name: ("stored", "yard")}
    html = progress_list(batch)
    assert "cannot read bad.mp4" in html
    assert str(tmp_path) not in html


def test_what_cannot_be_looked_at_is_a_failed_line(adder: Adder, film: Film, tmp_path: Path) -> None:
    good = film("cams/good.mp4", seconds=1)
    (tmp_path / "cams/south").symlink_to(tmp_path / "not mounted")
    batch = finished(adder.start(lambda: from_folder(str(tmp_path / "cams"), None, None)))
    assert {job.path.name: job.state for job in batch.jobs} == {"south": "failed", good.name: "stored"}
    assert "a link that leads nowhere" in progress_list(batch)


def test_one_clock_time_for_several_videos_is_the_problem_of_the_batch(
    adder: Adder, film: Film, tmp_path: Path
) -> None:
    film("cams/a.mp4", seconds=1)
    film("cams/b.mp4", seconds=1)
    batch = finished(adder.start(lambda: from_folder(str(tmp_path / "cams"), None, NOON)))
    assert batch.jobs == []
    assert "one clock time is given for several files" in batch.problem
    upload = film("upload.mp4", seconds=1)
    batch = finished(adder.start(lambda: from_form([str(upload)], str(tmp_path / "cams/a.mp4"), None, NOON)))
    assert "one clock time is given for several files (2): upload.mp4, a.mp4" in batch.problem
    assert upload.exists(), "a refused upload stays"
    assert [job.recorded_at for job in from_form([], str(tmp_path / "cams/a.mp4"), None, NOON)] == [NOON]


def test_what_cannot_be_listed_is_the_problem_of_the_batch(adder: Adder, tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        from_folder(str(tmp_path / "nowhere"), None, None)
    batch = finished(adder.start(lambda: from_folder(str(tmp_path / "nowhere"), None, None)))
    assert "does not exist" in progress_list(batch)
    assert "Nothing to add" in progress_list(finished(adder.start(list)))


def test_uploads_are_moved_to_where_they_are_kept(film: Film, tmp_path: Path) -> None:
    film.folder = tmp_path / "hash of content"
    upload = film("porch.mp4", seconds=1)
    (job,) = from_uploads([str(upload)], None, NOON)
    assert (job.camera, job.recorded_at) == ("porch", NOON)
    assert not upload.exists()
    assert job.path == upload_folder() / "hash of content" / "porch.mp4"
    assert job.path.stat().st_size > 0


def test_a_stored_video_says_what_it_replaced_and_what_is_unknown(adder: Adder, index: Index, film: Film) -> None:
    def add() -> Job:
        return finished(adder.start(lambda: [Job(path, "yard")])).jobs[0]

    path = film("secret/yard.mp4", seconds=4, fps=5, paint=scene("red"))
    assert add().told == "2 scene rows; no time could be read from name or header"
    (before,) = index.videos()
    film("secret/yard.mp4", seconds=4, fps=5, paint=scene("blue"))
    told = add().told
    assert "2 scene rows" in told
    assert f"it replaces video {before.video_id}, which is deleted from the index" in told
    path = film("elsewhere/yard.mp4", seconds=4, fps=5, paint=scene("blue"))
    job = add()
    assert job.state == "unchanged"
    assert "its previous path was yard.mp4" in job.told


def test_an_unfinished_reindex_fails_beside_the_video_that_is_added(
    tmp_path: Path, film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, late, new = (
        film(f"cams/{name}.mp4", seconds=2, fps=4, paint=scene(name)) for name in ("red", "green", "blue")
    )
    switch = VideoIndex.switch_to
    with open_index(tmp_path / "re.db", suite=color_suite("old")) as index:
        assert index.add(late).ok

        def interrupted_after(self: VideoIndex, built: VideoGeneration) -> None:
            with open_index(tmp_path / "re.db", suite=color_suite("old")) as other:
                assert other.add(lost).ok
            switch(self, built)
            raise KeyboardInterrupt

        monkeypatch.setattr(VideoIndex, "switch_to", interrupted_after)
        assert index.reindex(color_suite("new")).interrupted
        lost.unlink()
        adder = Adder(index)
        batch = finished(adder.start(lambda: [Job(new, "blue"), Job(late, "green")]))
        adder.close()
        assert [(job.path.name, job.state) for job in batch.jobs] == [
            ("blue.mp4", "stored"), ("green.mp4", "unchanged"), ("red.mp4", "failed"),
        ]  # fmt: skip
        assert batch.jobs[-1].told.startswith("not re-indexed: red.mp4")


class Failing:
    """An index whose every call fails in a way that nobody foresaw."""

    def add(self, *_: object, **__: object) -> None:
        raise RuntimeError("the decoder has a fault")


def test_an_unforeseen_error_is_the_outcome_of_its_video(film: Film) -> None:
    adder = Adder(Failing())  # type: ignore[arg-type]
    job = Job(film("yard.mp4", seconds=1, fps=5), "yard")
    html = progress_list(finished(adder.start(lambda: [job])))
    adder.close()
    assert job.state == "failed"
    assert "the decoder has a fault" in html
    assert "progressbar" not in html


@pytest.mark.parametrize("folder", ["a\0b", "\udcff", "x" * 300])
def test_a_name_that_no_folder_can_have_is_told(adder: Adder, folder: str) -> None:
    html = progress_list(finished(adder.start(lambda: from_folder(folder, None, None))))
    assert 'role="alert"' in html
    html.encode()


def test_an_upload_folder_that_cannot_be_written_is_told(
    adder: Adder, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    monkeypatch.setattr("var_plugin.app.ingest_queue.upload_folder", lambda: tmp_path / "file" / "uploads")
    upload = str(film("porch.mp4", seconds=1))
    html = progress_list(finished(adder.start(lambda: from_uploads([upload], None, None))))
    assert "cannot be stored" in html
    assert "VAR_PLUGIN_DATA" in html


def test_an_upload_that_cannot_be_moved_fails_and_the_others_are_added(
    adder: Adder, film: Film, tmp_path: Path
) -> None:
    film.folder = tmp_path / "one hash"
    good = str(film("good.mp4", seconds=4, fps=5))
    film.folder = tmp_path / "another hash"
    other = str(film("other.mp4", seconds=4, fps=5))
    upload_folder().mkdir(parents=True, exist_ok=True)
    (upload_folder() / "another hash").write_text("a file where the folder should be")
    batch = finished(adder.start(lambda: from_uploads([good, other], None, None)))
    (upload_folder() / "another hash").unlink()
    assert {job.path.name: job.state for job in batch.jobs} == {"good.mp4": "stored", "other.mp4": "failed"}
    assert "cannot be stored" in progress_list(batch)


def test_uploads_are_for_their_user_only(film: Film, tmp_path: Path) -> None:
    film.folder = tmp_path / "hash"
    (job,) = from_uploads([str(film("porch.mp4", seconds=1))], None, None)
    modes = [path.stat().st_mode & 0o777 for path in (upload_folder(), job.path.parent, job.path)]
    assert modes == [0o700, 0o700, 0o600]
