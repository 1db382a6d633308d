"""Files in a row: while one is stored the next one is begun, and nothing else comes of that."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.colors import color_suite
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.encoders.video import Runs
from var_plugin.index.video_index import VideoIndex
from var_plugin.library import open_index
from var_plugin.media import guard


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Threads in which decoding was begun ahead."""
    threads: list[str] = []
    begin = Runs.begin

    def counted(runs: Runs) -> None:
        threads.append(threading.current_thread().name)
        begin(runs)

    monkeypatch.setattr(Runs, "begin", counted)
    return threads


def films(film: Film) -> list[Path]:
    return [film(f"{color}.mp4", seconds=20, fps=5, paint=scene(color)) for color in ("red", "green", "blue")]


def test_the_next_file_is_begun_and_the_index_is_the_same(film: Film, tmp_path: Path, begun: list[str]) -> None:
    paths = films(film)
    with (
        open_index(tmp_path / "one.db", suite=color_suite()) as one,
        open_index(tmp_path / "all.db", suite=color_suite()) as together,
    ):
        alone = [one.add(path).videos[0] for path in paths]
        assert begun == [], "nothing comes after it"
        receipt = together.add(paths)
        assert [name.partition("_")[0] for name in begun] == ["ahead", "ahead"]
        assert [line.model_copy(update={"seconds": {}}) for line in receipt.videos] == [
            line.model_copy(update={"seconds": {}}) for line in alone
        ]
        for color in ("red", "green", "blue"):
            ours, theirs = (index.search(color, k=3) for index in (together, one))
            assert [moment.uri for moment in ours] == [moment.uri for moment in theirs]
            np.testing.assert_allclose([m.score for m in ours], [m.score for m in theirs], atol=1e-6)
        again = together.add(paths)
        assert [line.status for line in again.videos] == ["unchanged"] * 3
        assert len(begun) == 2, "what is in the index is not decoded"


def test_the_same_content_twice_and_a_file_that_is_none(film: Film, tmp_path: Path, begun: list[str]) -> None:
    red, green, _ = films(film)
    twin, nonsense = tmp_path / "twin.mp4", tmp_path / "nonsense.mp4"
    twin.write_bytes(red.read_bytes())
    nonsense.write_bytes(b"no film" * 100)
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        receipt = index.add([red, twin, nonsense, green])
        assert [line.status for line in receipt.videos] == ["stored", "unchanged", "failed", "stored"]
        assert [line.status for line in index.add(green).videos] == ["unchanged"]
    assert len(begun) == 1, "after the twin nothing was stored, and nonsense cannot be looked at"


@pytest.mark.parametrize("stops", [False, True])
def test_what_was_begun_is_given_up(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: list[str], stops: bool
) -> None:
    """Whether the run ends at its end or by Ctrl-C while the first file is stored, no decoder is left at work."""
    write = VideoIndex.write

    def interrupted(self: VideoIndex, *arguments: Any) -> Any:
        counted = write(self, *arguments)
        if stops:
            raise KeyboardInterrupt
        return counted

    monkeypatch.setattr(VideoIndex, "write", interrupted)
    killed: list[object] = []
    kill = guard._Child.kill
    monkeypatch.setattr(guard._Child, "kill", lambda child: (killed.append(child), kill(child))[1])
    paths = [film(f"{n}.mp4", seconds=60, fps=25, paint=scene("red", "blue")) for n in range(2)]
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        receipt = index.add(paths)
    assert receipt.interrupted == stops
    if stops:
        assert len(begun) == 1 and len(killed) >= 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
