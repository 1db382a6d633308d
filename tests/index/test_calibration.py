"""Score statistics that a suite lacks are measured on the index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.colors import MeanColor, suite_with
from tests.films import Film
from tests.ingest.test_add import scene
from tests.tolerances import FLOAT32
from var_plugin.api import Index, open_index
from var_plugin.config import settings
from var_plugin.encoders.base import ScoreStatistics, Vectors, l2_normalize
from var_plugin.errors import InvalidInputError
from var_plugin.index.calibration import MIN_ROWS, UNCALIBRATED, UNRELATED


class AnySentence:
    """A fixed random direction for each sentence. Colour names give the colour."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        seeds = [int.from_bytes(text.encode()) % 2**32 for text in texts]
        return l2_normalize(np.stack([np.random.default_rng(seed).random(3) for seed in seeds]))


@pytest.fixture
def footage(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """Two videos with 48 segments of one second."""
    monkeypatch.setenv("VAR_PLUGIN_SEGMENT_SECONDS", "1")
    monkeypatch.setenv("VAR_PLUGIN_MAX_MERGED_SECONDS", "1")
    settings.cache_clear()
    for name, colors in {"a": ("red", "green", "yellow"), "b": ("blue", "white", "red")}.items():
        film(f"cams/{name}.mp4", seconds=24, fps=4, paint=scene(*colors))
    with open_index(tmp_path / "index.db", suite=suite_with(AnySentence())) as index:
        assert index.add(film.folder / "cams").ok
        yield index
    settings.cache_clear()


def rows(index: Index) -> tuple[Vectors, list[str]]:
    uniform = [row for page in index._inner.rows("scene") for row in page if row["kind"] == "uniform"]
    return np.array([row["vector"] for row in uniform]), [row["video_id"] for row in uniform]


def test_texts_are_calibrated_with_unrelated_sentences(footage: Index) -> None:
    encoders = footage.suite.encoders["scene"]
    vectors, videos = rows(footage)
    assert len(vectors) >= MIN_ROWS
    statistics = footage._inner.calibration.statistics(encoders, "text")
    similarity = AnySentence().encode(UNRELATED) @ vectors.T
    assert (statistics.mean, statistics.std) == pytest.approx((similarity.mean(), similarity.std()), abs=FLOAT32)
    between = (vectors @ vectors.T)[np.array(videos)[:, None] != np.array(videos)]
    image = footage._inner.calibration.statistics(encoders, "image")
    assert (image.mean, image.std) == pytest.approx((between.mean(), between.std()), abs=FLOAT32)


def test_an_index_returns_the_statistics_that_scale_its_scores(footage: Index, tmp_path: Path) -> None:
    statistics = footage.score_statistics()
    assert set(statistics) == {"text", "image", "video"}
    assert statistics["text"] == footage._inner.calibration.statistics(footage.suite.encoders["scene"], "text")
    with (
        open_index(tmp_path / "empty.db", suite=suite_with(AnySentence())) as empty,
        pytest.raises(InvalidInputError, match="too little footage"),
    ):
        empty.score_statistics()


def test_statistics_are_measured_although_the_suite_ships_some(footage: Index) -> None:
    encoders = footage.suite.encoders["scene"]
    calibration = footage._inner.calibration
    shipped = replace(encoders, score_statistics={"text": ScoreStatistics(0.0, 9.0)})
    assert calibration.statistics(shipped, "text") == ScoreStatistics(0.0, 9.0)
    assert calibration.measured_statistics(shipped) == footage.score_statistics()


def test_audio_queries_are_not_calibrated_on_images(footage: Index) -> None:
    encoders = footage.suite.encoders["scene"]
    assert encoders.audio is None
    assert footage._inner.calibration.statistics(encoders, "audio") == UNCALIBRATED
    assert footage._inner.calibration.statistics(encoders, "video") != UNCALIBRATED


def test_scores_of_a_search_are_z_scores(footage: Index) -> None:
    background = footage._inner.calibration.statistics(footage.suite.encoders["scene"], "text")
    query = footage.suite.encode("text", ["something"], space="scene")[0]
    best = max(rows(footage)[0] @ query)
    moment = footage.search("something", k=1)[0]
    assert moment.score == pytest.approx((best - background.mean) / background.std, abs=1e-3)
    assert moment.score == pytest.approx(footage.search("something", k=1)[0].score, rel=1e-5)


def test_the_sample_is_uniform_and_deterministic(footage: Index) -> None:
    everything = footage._inner.sample("scene", 1.0)
    half = footage._inner.sample("scene", 0.5)
    assert 0.25 * len(everything) < len(half) < 0.75 * len(everything)
    assert half == everything[: len(half)] == footage._inner.sample("scene", 0.5)[: len(half)]


def test_statistics_of_the_suite_are_used_for_little_footage(index: Index, film: Film, tmp_path: Path) -> None:
    encoders = index.suite.encoders["scene"]
    assert index._inner.calibration.statistics(encoders, "text") == ScoreStatistics(0.5, 0.2)
    with open_index(tmp_path / "other.db", suite=suite_with(AnySentence())) as other:
        other.add(film(seconds=10))
        assert other._inner.calibration.statistics(other.suite.encoders["scene"], "text") == UNCALIBRATED
        assert isinstance(other.suite.encoders["scene"].image, MeanColor)
