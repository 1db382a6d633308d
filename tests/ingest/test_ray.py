"""Adding files with a Ray cluster: the same index and the same receipt as without, whatever becomes of the workers."""

from __future__ import annotations

import json
import os
import random
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.colors import color_suite
from tests.films import Film, textured
from tests.mortal import GRAVE, build
from tests.tolerances import FLOAT32
from tests.tones import tone_suite
from var_plugin.api import Index, open_index
from var_plugin.cli import app
from var_plugin.config import settings
from var_plugin.encoders.clip_features import ClipBatch, EncodedBatch, SamplingSpec
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import EngineError, FingerprintMismatchError, MissingDependencyError, UnknownSuiteError
from var_plugin.ingest import ray as ray_engine
from var_plugin.ingest.add import SourceInfo, _plan
from var_plugin.ingest.embed import StreamPlan
from var_plugin.ingest.pipeline import LocalEngine, OnResult, VideoSource
from var_plugin.ingest.ray import DecodedBatch, Decoder, Embedder, RayEngine, Row, store_files
from var_plugin.types import Receipt, VideoReceipt


def footage(film: Film, films: int = 3, seconds: float = 40) -> Path:
    """A folder of films of changing images, one of them with sound, one twice, and a file that is none."""
    for number in range(films):
        film(
            f"cams/{number}.mkv",
            seconds=seconds,
            fps=4,
            paint=lambda time, number=number: textured(100 * number + int(time / 8)),
            tone=3_000 if number == 1 else None,
            tone_starts=2.0,
        )
    (film.folder / "cams/notes.mp4").write_text("no film " * 100)
    return film.folder / "cams"


def contents(index: Index) -> dict[str, dict[str, Any]]:
    """All rows of an index by space and key."""
    return {
        space: {row["id"]: row for page in index.rows(space) for row in page} for space in index.suite.spaces
    }  # fmt: skip


def told(receipt: Receipt) -> list[VideoReceipt]:
    """A receipt's lines without what is measured."""
    return [line.model_copy(update={"seconds": {}}) for line in receipt.videos]


def assert_same(one: Index, other: Index) -> None:
    ours, theirs = contents(one), contents(other)
    assert {space: rows.keys() for space, rows in ours.items()} == {s: rows.keys() for s, rows in theirs.items()}
    for space, rows in ours.items():
        assert rows, f"{space} holds something"
        for key, row in rows.items():
            np.testing.assert_allclose(row.pop("vector"), theirs[space][key].pop("vector"), atol=FLOAT32)
            assert row == theirs[space][key]


def read(embedder: Embedder, rows: list[Row]) -> list[Row]:
    """Hand rows over by column, as Ray does."""
    items = np.empty(len(rows), object)
    items[:] = [row["item"] for row in rows]
    found = embedder({"number": np.array([row["number"] for row in rows]), "item": items})
    return [Row(number=int(number), item=item) for number, item in zip(found["number"], found["item"], strict=True)]


class InPieces:
    """Does the workers' work here and hands the rows over shuffled, one in three twice: an `Engine`."""

    def __init__(self, loses: int | None = None) -> None:
        self.loses = loses

    def add(self, index: Index, found: Any, progress: Any, tell: OnResult) -> None:
        files = {n: item for n, item in enumerate(found) if isinstance(item, VideoSource)}
        streams = StreamPlan(index.suite)
        decoder = Decoder(
            [SamplingSpec.of(extractor, settings().fps) for extractor in streams.extractors],
            {space: (encoder.window, encoder.hop) for space, encoder in streams.sounds.items()},
            frozenset(),
        )
        embedder = Embedder(index.suite.name, index.suite.fingerprint)
        sent = [row for number, file in files.items() for row in decoder(Row(number=number, item=file))]
        rows = [row for start in range(0, len(sent), 7) for row in read(embedder, sent[start : start + 7])]
        shuffled = random.Random(3).sample(rows * 2, len(rows) * 2)
        for number, line in gather(index, files, streams, self._kept(shuffled), progress):
            tell(number, line)

    def _kept(self, rows: list[Row]) -> Iterator[Row]:
        yield from (row for row in rows if row["number"] != self.loses or isinstance(row["item"], VideoReceipt))
        if self.loses is not None:
            raise EngineError("the cluster went home")


@pytest.fixture
def tones(tmp_path: Path, installed_colors: str, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """The suite of colours and tones, installed beside that of colours."""
    entries = tmp_path / "site/colors-1.dist-info/entry_points.txt"
    entries.write_text(entries.read_text() + "tones = tests.tones:DESCRIPTION\nmortal = tests.mortal:DESCRIPTION\n")
    return load_suite("tones")


def test_parts_in_any_order_and_twice_make_the_same_index(film: Film, tmp_path: Path, tones: Suite) -> None:
    folder = footage(film, films=2, seconds=20)
    with open_index(tmp_path / "a.db", suite=tones) as plain, open_index(tmp_path / "b.db", suite=tones) as pieces:
        wanted = plain.add(folder, recorded_at=None, metadata={"floor": 2})
        shown: list[tuple[str, float]] = []
        receipt = pieces.add(
            folder,
            metadata={"floor": 2},
            engine=InPieces(),
            progress=lambda file, reached: shown.append((file.name, reached)),
        )
        assert told(receipt) == told(wanted)
        assert [line.status for line in receipt.videos] == ["stored", "stored", "failed"]
        assert sorted(shown) == [("0.mkv", 20.0), ("1.mkv", 20.0)]
        assert_same(plain, pieces)
        assert pieces.verify().ok


def test_what_never_comes_fails_and_the_others_are_stored(film: Film, tmp_path: Path, tones: Suite) -> None:
    folder = footage(film, films=2, seconds=10)
    with open_index(tmp_path / "a.db", suite=tones) as index:
        receipt = index.add(folder, engine=InPieces(loses=0))
        assert [line.status for line in receipt.videos] == ["failed", "stored", "failed"]
        assert [line.exit_code for line in receipt.videos] == [EngineError.exit_code, 0, 5]
        assert "the cluster went home" in str(receipt.videos[0].reason)
        assert index.add(folder, engine=LocalEngine()).videos[0].status == "stored", "the same command mends it"


def test_an_error_that_nobody_foresaw_costs_its_file_alone(tones: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(tones.name, tones.fingerprint)
    monkeypatch.setattr(embedder, "_embedded", lambda cuts: [_fits(cut) for cut in cuts])
    rows = [Row(number=n, item=Cut((0, 0), ClipBatch([], [float(n)], [True]), 0.0)) for n in range(4)]
    found = [row["item"] for row in read(embedder, rows)]
    assert [type(item).__name__ for item in found] == ["Read", "Read", "VideoReceipt", "Read"]
    assert found[2].exit_code == EngineError.exit_code and "out of memory" in str(found[2].reason)


def _fits(cut: Cut) -> EncodedBatch:
    if cut.run.times == [2.0]:
        raise RuntimeError("out of memory")
    return EncodedBatch(cut.run.times, [True], np.zeros((1, 3), np.float32))


def test_a_suite_that_workers_cannot_load_is_refused(film: Film, tmp_path: Path, installed_colors: str) -> None:
    path = film(seconds=2)
    with (
        open_index(tmp_path / "a.db", suite=color_suite("another")) as index,
        pytest.raises(FingerprintMismatchError, match="'colors' is another suite in a worker"),
    ):
        index.add(path, engine=RayEngine())
    with open_index(tmp_path / "b.db", suite=tone_suite()) as index, pytest.raises(UnknownSuiteError):
        index.add(path, engine=RayEngine())


def test_without_ray_the_command_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("var_plugin.config.find_spec", lambda module: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'var-plugin\[ray\]'"):
        RayEngine()


def test_an_address_needs_its_engine(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["index", str(tmp_path), "--address", "auto"])
    assert "add --engine ray" in str(result.exception)


def test_a_file_tells_workers_all_they_need(film: Film) -> None:
    (found,) = _plan([film("north/film.mp4", seconds=1)], SourceInfo(camera="gate", metadata={"floor": 1}), Counter())
    assert isinstance(found, VideoSource)
    assert (found.camera, dict(found.metadata)) == ("gate", {"floor": 1})


@pytest.fixture
def cluster(tmp_path: Path, tones: Suite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Ray cluster of this machine with two cores; a folder for graves."""
    ray = pytest.importorskip("ray")
    grave = tmp_path / "graves"
    grave.mkdir()
    monkeypatch.setenv(GRAVE, str(grave))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield grave
    ray.shutdown()


@pytest.mark.slow
def test_a_worker_is_killed_midway(cluster: Path, film: Film, tmp_path: Path) -> None:
    folder = footage(film)
    mortal = load_suite("mortal")
    with (
        open_index(tmp_path / "ray.db", suite=mortal) as index,
        open_index(tmp_path / "here.db", suite=mortal) as plain,
    ):
        receipt = index.add(folder, camera="gate", engine=RayEngine())
        (died,) = cluster.iterdir()
        assert int(died.name) != os.getpid(), "it was a worker"
        assert told(receipt) == told(plain.add(folder, camera="gate"))
        assert_same(index, plain)
        assert index.verify().ok
        again = index.add(folder, camera="gate", engine=RayEngine())
        assert [line.status for line in again.videos] == ["unchanged", "unchanged", "unchanged", "failed"]
        assert index.size() == plain.size()


@pytest.fixture
def left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a cluster that is gone, where `ray start` leaves it."""
    file = tmp_path / "left/ray/ray_current_cluster"
    file.parent.mkdir(parents=True)
    file.write_text("127.0.0.1:1")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "left"))
    monkeypatch.setattr(ray_engine, "_ANSWER_SECONDS", 0.5)
    return file


def test_a_cluster_that_is_gone_is_an_error(
    left_over: Path, film: Film, tmp_path: Path, tones: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where something else listens at its address, and does not answer."""
    pytest.importorskip("ray")
    with open_index(tmp_path / "a.db", suite=tones) as index, socket.create_server(("127.0.0.1", 0)) as silent:
        path = film(seconds=1)
        with pytest.raises(EngineError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
            index.add(path, engine=RayEngine("auto"))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(EngineError, match="nothing answered within"):
            index.add(path, engine=RayEngine("auto"))
        monkeypatch.delenv("RAY_ADDRESS")
        left_over.unlink()
        with pytest.raises(EngineError, match="no Ray cluster runs on this machine"):
            index.add(path, engine=RayEngine("auto"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_the_cluster_of_another_user_is_not_joined(left_over: Path, film: Film, tmp_path: Path, tones: Suite) -> None:
    pytest.importorskip("ray")
    os.chown(left_over, 12_345, -1)
    with (
        open_index(tmp_path / "a.db", suite=tones) as index,
        pytest.raises(EngineError, match="belongs to another user"),
    ):
        index.add(film(seconds=1), engine=RayEngine("auto"))


@pytest.mark.slow
def test_without_an_address_a_cluster_starts_that_only_this_machine_reaches(
    left_over: Path, film: Film, tmp_path: Path, tones: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    psutil = pytest.importorskip("psutil")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    listening: set[str] = set()

    def look(file: Path, reached: float) -> None:
        own = {process.pid for process in psutil.Process().children(recursive=True)} | {os.getpid()}
        for connection in psutil.net_connections("tcp"):
            if connection.pid in own and connection.status == psutil.CONN_LISTEN:
                listening.add(connection.laddr.ip.removeprefix("::ffff:"))

    with open_index(tmp_path / "a.db", suite=tones) as index:
        receipt = index.add(film(seconds=2), engine=RayEngine(), progress=look)
    assert receipt.ok
    assert listening == {"127.0.0.1"}
    assert left_over.read_text() == "127.0.0.1:1"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ


@pytest.mark.slow
def test_the_command_starts_a_cluster_for_as_long_as_it_takes(film: Film, tmp_path: Path, tones: Suite) -> None:
    ray = pytest.importorskip("ray")
    command = ["index", str(footage(film, films=1)), "--index", str(tmp_path / "a.db"), "--suite", "tones"]
    receipt = CliRunner().invoke(app, [*command, "--engine", "ray", "--json"])
    assert [line["status"] for line in json.loads(receipt.stdout)["videos"]] == ["stored", "failed"]
    assert receipt.exit_code == 5
    assert not ray.is_initialized()
    nobody = CliRunner().invoke(app, [*command, "--engine", "ray", "--address", "127.0.0.1:1"])
    assert isinstance(nobody.exception, EngineError)
    assert "no Ray cluster answers at 127.0.0.1:1" in str(nobody.exception)


def test_the_mortal_suite_is_the_one_of_tones_but_for_its_end() -> None:
    assert {name: e.space for name, e in build().items()} == tone_suite().spaces
