from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.colors import color_suite
from tests.films import Film, plain
from tests.ingest.test_add import scene
from var_plugin.api import Index, open_index
from var_plugin.encoders.base import l2_normalize
from var_plugin.errors import InvalidInputError, TooLongMediaError, UnsupportedModalityError
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.media.sandbox.client import probe
from var_plugin.types import MAX_QUERY_LENGTH, Filter, Segment, Span


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    film = Film(tmp_path_factory.mktemp("filled"))
    with open_index(film.folder / "index.db", suite=color_suite()) as index:
        index.add(film("north.mp4", seconds=40, fps=5, paint=scene("blue", "blue", "red", "blue", "blue")))
        index.add(film("south.mp4", seconds=32, fps=5, paint=scene("blue", "green", "green", "blue")))
        yield index


def test_a_text_finds_its_moment(filled: Index) -> None:
    best = filled.search("red", k=3)[0]
    assert (best.camera, best.start, best.end) == ("north", 16.0, 24.0)
    assert best.start <= best.peak < best.end
    assert best.score == pytest.approx((1.0 - 0.5) / 0.2, abs=0.3), "deviations above the background"
    assert best.matched == {"scene": best.score}
    assert best.id == f"{best.video_id}-16000-24000"
    green = filled.search("green", k=1)[0]
    assert (green.camera, green.start, green.end) == ("south", 8.0, 24.0), "two neighbours, one moment"


def test_an_image_and_a_clip_find_their_moment(filled: Index, tmp_path: Path) -> None:
    Image.fromarray(plain(220, 20, 20)).save(tmp_path / "red.png")
    north = next(video for video in filled.videos() if video.camera == "north")
    for best in (
        filled.search(image=tmp_path / "red.png")[0],
        filled.search(image=plain(220, 20, 20))[0],
        filled.search(video=Span(Path(north.uri), 17.0, 23.0))[0],
    ):
        assert (best.camera, best.start, best.end) == ("north", 16.0, 24.0)


def test_text_and_image_scores_are_added(filled: Index) -> None:
    """Red and green alone match their own moments. Yellow, their mixture, is between them."""
    both = filled.search("red", image=plain(20, 220, 20), k=2)
    assert {(moment.camera, moment.start) for moment in both} == {("north", 16.0), ("south", 8.0)}
    assert both[0].score == pytest.approx(both[1].score, abs=0.3)


def test_filters_are_applied(filled: Index) -> None:
    assert {m.camera for m in filled.search("red", filter=Filter(cameras=("south",)))} == {"south"}
    assert filled.search("red", filter=Filter(cameras=('south" or camera != "',))) == []
    assert all(m.anomaly_score >= 0.3 for m in filled.search("red", filter=Filter(min_anomaly=0.3)))
    (whole, _) = filled.search("green", filter=Filter(segment_kinds=("video",)))
    assert (whole.camera, whole.start, whole.end) == ("south", 0.0, pytest.approx(32.0, abs=0.3))


def test_a_small_index_gives_fewer_results(index: Index, film: Film) -> None:
    assert index.search("red") == []
    index.add(film(seconds=4, paint=scene("red")))
    assert len(index.search("red", k=50)) == 1


def test_one_video_with_thousands_of_hits_hides_no_other(index: Index) -> None:
    def entry(name: str) -> Entry:
        return Entry(
            video_id=name,
            state="pending",
            content=name,
            sightings=(Sighting(path=f"/gone/{name}.mp4", camera=name, recorded_at=-1),),
            duration=1.0,
            metadata={},
            settings="s",
            rows={},
            added_at=0,
        )

    def rows(count: int, vector: list[float]) -> dict[str, tuple[list[Segment], np.ndarray]]:
        segments = [Segment(start=20.0 * i, end=20.0 * i + 8, key=20.0 * i) for i in range(count)]
        return {"scene": (segments, l2_normalize(np.tile(vector, (count, 1))))}

    index._inner.write(entry("loud"), rows(3_000, [1.0, 0.01, 0.01]))
    for i in range(4):
        index._inner.write(entry(f"quiet-{i}"), rows(2, [1.0, 0.5 + i / 10, 0.01]))
    cameras = [moment.camera for moment in index.search("red", k=11)]
    assert cameras == ["loud"] * 3 + ["quiet-0"] * 2 + ["quiet-1"] * 2 + ["quiet-2"] * 2 + ["quiet-3"] * 2


def test_the_same_query_gives_the_same_answer(filled: Index) -> None:
    assert filled.search("red green", k=10) == filled.search("red green", k=10)


def test_a_missing_file_removes_the_thumbnail_only(filled: Index) -> None:
    north = Path(next(video.uri for video in filled.videos() if video.camera == "north"))
    moved = north.rename(north.with_name("moved"))
    best = filled.search("red", thumbnails=True)[0]
    moved.rename(north)
    assert best.camera == "north"
    assert best.thumbnail is None
    assert filled.search("green", thumbnails=True)[0].thumbnail is not None


def test_a_query_longer_than_an_hour_is_refused(filled: Index, film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLongMediaError, match="the video of the query lasts 3700 s"):
        filled.search(video=Span(Path(filled.videos()[0].uri), 0.0, 3700.0))
    monkeypatch.setattr("var_plugin.retrievers.search.MAX_QUERY_SECONDS", 10.0)
    long = film("long.mp4", seconds=12, fps=5, paint=scene("red"))
    for part in (long, str(long)):
        with pytest.raises(TooLongMediaError, match="the limit is 10 s; cut the video"):
            filled.search(video=part)
    assert filled.search(video=Span(long, 2.0, 11.0))


def test_a_query_of_unknown_length_is_read_up_to_the_limit(
    filled: Index, film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header may lack the duration, and a small file may last days."""
    monkeypatch.setattr("var_plugin.retrievers.search.MAX_QUERY_SECONDS", 10.0)
    long = film("long.mp4", seconds=12, fps=5, paint=scene("red"))
    monkeypatch.setattr("var_plugin.retrievers.search.sandbox.probe", lambda path: replace(probe(path), duration=None))
    with pytest.raises(TooLongMediaError, match="is too long"):
        filled.search(video=long)


def test_invalid_queries_are_refused(filled: Index, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nothing to search for"):
        filled.search()
    with pytest.raises(InvalidInputError, match="nothing to search for"):
        filled.search("  ")
    with pytest.raises(InvalidInputError, match="cannot return 0"):
        filled.search("red", k=0)
    with pytest.raises(UnsupportedModalityError, match="cannot encode audio"):
        filled.search("red", audio=tmp_path / "scream.wav")


def test_invalid_weights_are_refused(filled: Index) -> None:
    (best,) = filled.search("red", k=1, weights={"scene": np.float32(1000)})
    assert best.score == pytest.approx(1000 * best.matched["scene"])
    weights: tuple[Any, ...] = (1e308, 1000.1, -1, np.nan, np.inf, 10**400, "1", None)
    for weight in weights:
        with pytest.raises(InvalidInputError, match=r"the weight of 'scene' is .*; give a number from 0 to 1000"):
            filled.search("red", weights={"scene": weight})


def test_the_length_of_the_text_is_limited(filled: Index) -> None:
    assert filled.search("red" + " " * (MAX_QUERY_LENGTH - 3), k=1)
    with pytest.raises(InvalidInputError, match="the text of the query has 32769 characters: the limit is 32768"):
        filled.search("red" * 10_923)


def test_a_minimum_score_that_is_not_a_number_is_refused(filled: Index) -> None:
    with pytest.raises(InvalidInputError, match="min_score is not a number"):
        filled.search("red", min_score=np.nan)
