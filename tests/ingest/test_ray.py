"""Adding files with a Ray cluster gives the same index and receipt as without, even if a worker dies."""

from __future__ import annotations

import json
import os
import random
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
from var_plugin.config import IndexOptions
from var_plugin.encoders.clip_features import ClipBatch, EncodedBatch, SamplingSpec
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import (
    EngineError,
    FingerprintMismatchError,
    MediaError,
    MissingDependencyError,
    UnknownSuiteError,
)
from var_plugin.index.index import VideoIndex
from var_plugin.ingest.add import SourceInfo, _plan
from var_plugin.ingest.embed import StreamPlan
from var_plugin.ingest.pipeline import LocalEngine, OnResult, VideoSource
from var_plugin.ingest.ray import DecodedBatch, Decoder, Embedder, RayEngine, Row, store_files
from var_plugin.types import Receipt, VideoReceipt


def make_footage(film: Film, films: int = 3, seconds: float = 40) -> Path:
    """Return a folder of videos of changing images, the second with audio, and a file that is not a video."""
    for number in range(films):
        film(
            f"cams/{number}.mkv",
            seconds=seconds,
            fps=4,
            paint=lambda time, number=number: textured(100 * number + int(time / 8)),
            tone=3_000 if number == 1 else None,
            tone_starts=2.0,
        )
    (film.folder / "cams/notes.mp4").write_text("no video " * 100)
    return film.folder / "cams"


def rows_by_key(index: Index) -> dict[str, dict[str, Any]]:
    """Return all rows of an index by space and key."""
    return {
        space: {row["id"]: row for page in index._inner.rows(space) for row in page} for space in index.suite.spaces
    }  # fmt: skip


def without_times(receipt: Receipt) -> list[VideoReceipt]:
    """Return the receipts of the videos without measured times."""
    return [video.model_copy(update={"seconds": {}}) for video in receipt.videos]


def assert_same(one: Index, other: Index) -> None:
    left, right = rows_by_key(one), rows_by_key(other)
    assert {space: rows.keys() for space, rows in left.items()} == {s: rows.keys() for s, rows in right.items()}
    for space, rows in left.items():
        assert rows, f"{space} is not empty"
        for key, row in rows.items():
            np.testing.assert_allclose(row.pop("vector"), right[space][key].pop("vector"), atol=FLOAT32)
            assert row == right[space][key]


def embed_rows(embedder: Embedder, rows: list[Row]) -> list[Row]:
    """Pass rows by column, as Ray does."""
    items = np.empty(len(rows), object)
    items[:] = [row["item"] for row in rows]
    result = embedder({"number": np.array([row["number"] for row in rows]), "item": items})
    return [Row(number=int(number), item=item) for number, item in zip(result["number"], result["item"], strict=True)]


class ShuffledEngine:
    """An `Engine` that decodes and embeds in this process and passes every row twice, in random order."""

    def __init__(self, lost: int | None = None) -> None:
        self.lost = lost

    def add(self, index: VideoIndex, plan: Any, progress: Any, on_result: OnResult) -> None:
        files = {n: item for n, item in enumerate(plan) if isinstance(item, VideoSource)}
        streams = StreamPlan(index.suite)
        decoder = Decoder(
            [SamplingSpec.of(extractor, index.suite.fps) for extractor in streams.extractors],
            {space: (encoder.window, encoder.hop) for space, encoder in streams.audio_encoders.items()},
            frozenset(),
        )
        embedder = Embedder(index.suite.name, index.suite.fingerprint)
        decoded = [row for number, file in files.items() for row in decoder(Row(number=number, item=file))]
        rows = [row for start in range(0, len(decoded), 7) for row in embed_rows(embedder, decoded[start : start + 7])]
        shuffled = random.Random(3).sample(rows * 2, len(rows) * 2)
        store_files(index, files, streams, self._without_lost(shuffled), on_result, progress)

    def _without_lost(self, rows: list[Row]) -> Iterator[Row]:
        yield from (row for row in rows if row["number"] != self.lost or isinstance(row["item"], VideoReceipt))
        if self.lost is not None:
            raise EngineError("the cluster is gone")


@pytest.fixture
def tones(tmp_path: Path, installed_colors: str, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """The suite of colours and tones, installed beside that of colours."""
    entries = tmp_path / "site/colors-1.dist-info/entry_points.txt"
    entries.write_text(entries.read_text() + "tones = tests.tones:DESCRIPTION\nmortal = tests.mortal:DESCRIPTION\n")
    return load_suite("tones")


def test_rows_in_any_order_and_duplicated_give_the_same_index(film: Film, tmp_path: Path, tones: Suite) -> None:
    folder = make_footage(film, films=2, seconds=20)
    with open_index(tmp_path / "a.db", suite=tones) as plain, open_index(tmp_path / "b.db", suite=tones) as shuffled:
        expected = plain.add(folder, recorded_at=None, metadata={"floor": 2})
        progress: list[tuple[str, float]] = []
        receipt = shuffled.add(
            folder,
            metadata={"floor": 2},
            engine=ShuffledEngine(),
            progress=lambda file, reached: progress.append((file.name, reached)),
        )
        assert without_times(receipt) == without_times(expected)
        assert [video.status for video in receipt.videos] == ["stored", "stored", "failed"]
        assert sorted(progress) == [("0.mkv", 20.0), ("1.mkv", 20.0)]
        assert_same(plain, shuffled)
        assert shuffled.verify().ok


def test_a_file_with_lost_rows_fails_and_the_others_are_stored(film: Film, tmp_path: Path, tones: Suite) -> None:
    folder = make_footage(film, films=2, seconds=10)
    with open_index(tmp_path / "a.db", suite=tones) as index:
        receipt = index.add(folder, engine=ShuffledEngine(lost=0))
        assert [video.status for video in receipt.videos] == ["failed", "stored", "failed"]
        assert [video.error for video in receipt.videos] == ["EngineError", None, "UnreadableMediaError"]
        assert "the cluster is gone" in str(receipt.videos[0].reason)
        assert index.add(folder, engine=LocalEngine()).videos[0].status == "stored", "the same command completes it"


def test_an_unexpected_error_fails_only_its_own_file(tones: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(tones.name, tones.fingerprint)
    monkeypatch.setattr(embedder, "_encode", lambda batches: [_encode(batch) for batch in batches])
    rows = [Row(number=n, item=DecodedBatch((0, 0), ClipBatch([], [float(n)], [True]), 0.0)) for n in range(4)]
    items = [row["item"] for row in embed_rows(embedder, rows)]
    assert [type(item).__name__ for item in items] == [
        "EmbeddedBatch", "EmbeddedBatch", "VideoReceipt", "EmbeddedBatch",
    ]  # fmt: skip
    assert items[2].error == EngineError.__name__ and "out of memory" in str(items[2].reason)


def _encode(batch: DecodedBatch) -> EncodedBatch:
    if batch.batch.times == [2.0]:
        raise RuntimeError("out of memory")
    return EncodedBatch(batch.batch.times, [True], np.zeros((1, 3), np.float32))


def test_a_suite_that_workers_cannot_load_is_rejected(film: Film, tmp_path: Path, installed_colors: str) -> None:
    path = film(seconds=2)
    with (
        open_index(tmp_path / "a.db", suite=color_suite("another")) as index,
        pytest.raises(FingerprintMismatchError, match="suite 'colors' differs between this machine"),
    ):
        index.add(path, engine=RayEngine())
    with open_index(tmp_path / "b.db", suite=tone_suite()) as index, pytest.raises(UnknownSuiteError):
        index.add(path, engine=RayEngine())


def test_without_ray_the_error_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("var_plugin.config.find_spec", lambda module: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'var-plugin\[ray\]'"):
        RayEngine()


def test_an_address_without_engine_ray_is_rejected(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["index", str(tmp_path), "--address", "auto"])
    assert "add --engine ray" in str(result.exception)


def test_the_plan_holds_camera_and_metadata_of_a_file(film: Film) -> None:
    (source,) = _plan(
        [film("north/film.mp4", seconds=1)], SourceInfo(camera="gate", metadata={"floor": 1}), IndexOptions(), Counter()
    )
    assert isinstance(source, VideoSource)
    assert (source.camera, dict(source.metadata)) == ("gate", {"floor": 1})


@pytest.fixture
def cluster(tmp_path: Path, tones: Suite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Start a Ray cluster with two cores. Return the folder in which dying workers leave their process ID."""
    ray = pytest.importorskip("ray")
    folder = tmp_path / "deaths"
    folder.mkdir()
    monkeypatch.setenv(GRAVE, str(folder))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield folder
    ray.shutdown()


@pytest.mark.slow
def test_a_killed_worker_does_not_change_the_result(cluster: Path, film: Film, tmp_path: Path) -> None:
    folder = make_footage(film)
    mortal = load_suite("mortal")
    with (
        open_index(tmp_path / "ray.db", suite=mortal) as index,
        open_index(tmp_path / "here.db", suite=mortal) as plain,
    ):
        receipt = index.add(folder, camera="gate", engine=RayEngine())
        (death,) = cluster.iterdir()
        assert int(death.name) != os.getpid(), "the process that died is a worker"
        assert without_times(receipt) == without_times(plain.add(folder, camera="gate"))
        assert_same(index, plain)
        assert index.verify().ok
        again = index.add(folder, camera="gate", engine=RayEngine())
        assert [video.status for video in again.videos] == ["unchanged", "unchanged", "unchanged", "failed"]
        assert index.size() == plain.size()


@pytest.mark.slow
def test_the_command_starts_and_stops_a_temporary_cluster(film: Film, tmp_path: Path, tones: Suite) -> None:
    ray = pytest.importorskip("ray")
    command = ["index", str(make_footage(film, films=1)), "--index", str(tmp_path / "a.db"), "--suite", "tones"]
    receipt = CliRunner().invoke(app, [*command, "--engine", "ray", "--json"])
    assert [video["status"] for video in json.loads(receipt.stdout)["videos"]] == ["stored", "failed"]
    assert receipt.exit_code == MediaError.exit_code
    assert not ray.is_initialized()
    result = CliRunner().invoke(app, [*command, "--engine", "ray", "--address", "127.0.0.1:1"])
    assert isinstance(result.exception, EngineError)
    assert "no Ray cluster answers at 127.0.0.1:1" in str(result.exception)


def test_the_mortal_suite_has_the_spaces_of_the_tone_suite() -> None:
    assert {name: e.space for name, e in build().items()} == tone_suite().spaces
