"""The background queue: videos are added one after another and are searchable at once."""

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
from var_plugin.app.chat_search import answer_request
from var_plugin.app.conversation import ChatRequest
from var_plugin.app.footage_tab import progress_list
from var_plugin.app.ingest_queue import (
    IngestBatch,
    IngestJob,
    IngestQueue,
    jobs_from_folder,
    jobs_from_form,
    jobs_from_uploads,
    upload_folder,
)
from var_plugin.errors import MediaNotFoundError
from var_plugin.index.generation import VideoGeneration
from var_plugin.index.index import VideoIndex

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def queue(index: Index) -> Iterator[IngestQueue]:
    queue = IngestQueue(index)
    yield queue
    queue.close()


def wait_for(batch: IngestBatch) -> IngestBatch:
    assert batch.future
    batch.future.result(120)
    return batch


def test_a_video_is_searchable_while_the_next_is_added(queue: IngestQueue, index: Index, film: Film) -> None:
    short = film("short.mp4", seconds=16, fps=5, paint=scene("green", "red"))
    long = film("long.mp4", seconds=900, fps=4, paint=scene("red", "blue", seconds=100))
    batch = queue.start(lambda: [IngestJob(short, "first", NOON), IngestJob(long, "second")])
    observations = []
    while not batch.is_finished:
        states = [job.state for job in batch.jobs]
        if states == ["stored", "working"]:
            moments = answer_request(index, ChatRequest(text="green")).moments
            if [job.state for job in batch.jobs] == states:
                observations.append(
                    (moments[0].camera, moments[0].recorded_at, 0 <= batch.jobs[1].processed_seconds <= 900)
                )
        time.sleep(0.02)
    assert ("first", NOON, True) in observations
    assert [job.state for job in batch.jobs] == ["stored", "stored"]
    assert {video.camera for video in index.videos()} == {"first", "second"}


def test_a_bad_file_fails_and_the_others_are_added(queue: IngestQueue, film: Film, tmp_path: Path) -> None:
    good = film("cams/yard/good.mp4", seconds=8, fps=5)
    (tmp_path / "cams" / "bad.mp4").write_bytes(b"no video" * 99)
    batch = wait_for(queue.start(lambda: jobs_from_folder(str(tmp_path / "cams"), None, None)))
    states = {job.path.name: (job.state, job.camera) for job in batch.jobs}
    assert states == {"bad.mp4": ("failed", "bad"), good.name: ("stored", "yard")}
    html = progress_list(batch)
    assert "cannot read bad.mp4" in html
    assert str(tmp_path) not in html


def test_an_unreadable_entry_is_a_failed_job(queue: IngestQueue, film: Film, tmp_path: Path) -> None:
    good = film("cams/good.mp4", seconds=1)
    (tmp_path / "cams/south").symlink_to(tmp_path / "not mounted")
    batch = wait_for(queue.start(lambda: jobs_from_folder(str(tmp_path / "cams"), None, None)))
    assert {job.path.name: job.state for job in batch.jobs} == {"south": "failed", good.name: "stored"}
    assert "a broken link" in progress_list(batch)


def test_one_clock_time_for_several_videos_is_an_error(queue: IngestQueue, film: Film, tmp_path: Path) -> None:
    film("cams/a.mp4", seconds=1)
    film("cams/b.mp4", seconds=1)
    batch = wait_for(queue.start(lambda: jobs_from_folder(str(tmp_path / "cams"), None, NOON)))
    assert batch.jobs == []
    assert "one recording time is given for several files" in batch.error
    upload = film("upload.mp4", seconds=1)
    batch = wait_for(queue.start(lambda: jobs_from_form([str(upload)], str(tmp_path / "cams/a.mp4"), None, NOON)))
    assert "one recording time is given for several files (2): upload.mp4, a.mp4" in batch.error
    assert upload.exists(), "a refused upload stays"
    assert [job.recorded_at for job in jobs_from_form([], str(tmp_path / "cams/a.mp4"), None, NOON)] == [NOON]


def test_a_missing_folder_is_an_error(queue: IngestQueue, tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        jobs_from_folder(str(tmp_path / "nowhere"), None, None)
    batch = wait_for(queue.start(lambda: jobs_from_folder(str(tmp_path / "nowhere"), None, None)))
    assert "does not exist" in progress_list(batch)
    assert "Nothing to add" in progress_list(wait_for(queue.start(list)))


def test_uploads_are_moved_to_the_upload_folder(film: Film, tmp_path: Path) -> None:
    film.folder = tmp_path / "hash of content"
    upload = film("porch.mp4", seconds=1)
    (job,) = jobs_from_uploads([str(upload)], None, NOON)
    assert (job.camera, job.recorded_at) == ("porch", NOON)
    assert not upload.exists()
    assert job.path == upload_folder() / "hash of content" / "porch.mp4"
    assert job.path.stat().st_size > 0


def test_a_message_names_the_replaced_video_and_a_missing_time(queue: IngestQueue, index: Index, film: Film) -> None:
    def add() -> IngestJob:
        return wait_for(queue.start(lambda: [IngestJob(path, "yard")])).jobs[0]

    path = film("secret/yard.mp4", seconds=4, fps=5, paint=scene("red"))
    assert add().message == "2 scene rows; no time could be read from name or header"
    (before,) = index.videos()
    film("secret/yard.mp4", seconds=4, fps=5, paint=scene("blue"))
    message = add().message
    assert "2 scene rows" in message
    assert f"it replaces video {before.video_id}, which is deleted from the index" in message
    path = film("elsewhere/yard.mp4", seconds=4, fps=5, paint=scene("blue"))
    job = add()
    assert job.state == "unchanged"
    assert "its previous path was yard.mp4" in job.message


def test_failures_of_an_unfinished_reindex_are_listed(
    tmp_path: Path, film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing, late, new = (
        film(f"cams/{name}.mp4", seconds=2, fps=4, paint=scene(name)) for name in ("red", "green", "blue")
    )
    switch = VideoIndex.switch_to
    with open_index(tmp_path / "re.db", suite=color_suite("old")) as index:
        assert index.add(late).ok

        def interrupted_after(self: VideoIndex, built: VideoGeneration) -> None:
            with open_index(tmp_path / "re.db", suite=color_suite("old")) as other:
                assert other.add(missing).ok
            switch(self, built)
            raise KeyboardInterrupt

        monkeypatch.setattr(VideoIndex, "switch_to", interrupted_after)
        assert index.reindex(color_suite("new")).interrupted
        missing.unlink()
        queue = IngestQueue(index)
        batch = wait_for(queue.start(lambda: [IngestJob(new, "blue"), IngestJob(late, "green")]))
        queue.close()
        assert [(job.path.name, job.state) for job in batch.jobs] == [
            ("blue.mp4", "stored"), ("green.mp4", "unchanged"), ("red.mp4", "failed"),
        ]  # fmt: skip
        assert batch.jobs[-1].message.startswith("not re-indexed: red.mp4")


class FailingIndex:
    """An index whose `add` raises an unexpected error."""

    def add(self, *_: object, **__: object) -> None:
        raise RuntimeError("the decoder has a fault")


def test_an_unexpected_error_fails_its_video(film: Film) -> None:
    queue = IngestQueue(FailingIndex())  # type: ignore[arg-type]
    job = IngestJob(film("yard.mp4", seconds=1, fps=5), "yard")
    html = progress_list(wait_for(queue.start(lambda: [job])))
    queue.close()
    assert job.state == "failed"
    assert "the decoder has a fault" in html
    assert "progressbar" not in html


@pytest.mark.parametrize("folder", ["a\0b", "\udcff", "x" * 300])
def test_an_invalid_folder_name_is_an_error(queue: IngestQueue, folder: str) -> None:
    html = progress_list(wait_for(queue.start(lambda: jobs_from_folder(folder, None, None))))
    assert 'role="alert"' in html
    html.encode()


def test_an_unwritable_upload_folder_is_an_error(
    queue: IngestQueue, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    monkeypatch.setattr("var_plugin.app.ingest_queue.upload_folder", lambda: tmp_path / "file" / "uploads")
    upload = str(film("porch.mp4", seconds=1))
    html = progress_list(wait_for(queue.start(lambda: jobs_from_uploads([upload], None, None))))
    assert "cannot be stored" in html
    assert "VAR_PLUGIN_DATA" in html


def test_an_upload_that_cannot_be_moved_fails_alone(queue: IngestQueue, film: Film, tmp_path: Path) -> None:
    film.folder = tmp_path / "one hash"
    good = str(film("good.mp4", seconds=4, fps=5))
    film.folder = tmp_path / "another hash"
    other = str(film("other.mp4", seconds=4, fps=5))
    upload_folder().mkdir(parents=True, exist_ok=True)
    (upload_folder() / "another hash").write_text("a file where the folder should be")
    batch = wait_for(queue.start(lambda: jobs_from_uploads([good, other], None, None)))
    (upload_folder() / "another hash").unlink()
    assert {job.path.name: job.state for job in batch.jobs} == {"good.mp4": "stored", "other.mp4": "failed"}
    assert "cannot be stored" in progress_list(batch)


def test_uploads_are_readable_by_their_user_only(film: Film, tmp_path: Path) -> None:
    film.folder = tmp_path / "hash"
    (job,) = jobs_from_uploads([str(film("porch.mp4", seconds=1))], None, None)
    modes = [path.stat().st_mode & 0o777 for path in (upload_folder(), job.path.parent, job.path)]
    assert modes == [0o700, 0o700, 0o600]
