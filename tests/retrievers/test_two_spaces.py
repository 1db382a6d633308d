"""Search in an image and an audio space at once, and the effect of weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.documents import Document

from tests.films import Film
from tests.ingest.test_add import scene
from tests.tones import sine, tone_suite
from var_plugin import AnomalyRetriever
from var_plugin.api import Index, open_index
from var_plugin.errors import UnsupportedModalityError


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """A red video with a low tone, and a blue one with a high tone."""
    folder = tmp_path_factory.mktemp("tones")
    film = Film(folder)
    with open_index(folder / "index.db", suite=tone_suite()) as index:
        for name, color, tone in (("red-low", "red", 400.0), ("blue-high", "blue", 3_000.0)):
            assert index.add(film(f"{name}.mp4", seconds=8, fps=5, paint=scene(color), tone=tone)).ok
        yield index


def names(documents: list[Document]) -> list[str]:
    return [Path(document.metadata["uri"]).stem for document in documents]


def test_audio_queries_are_samples_or_files(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=1)
    high = next(video.uri for video in footage.videos() if "high" in video.uri)
    for audio in ((sine(2_500, 1), 16_000), high):
        (document,) = retriever.invoke("", audio=audio)
        assert names([document]) == ["blue-high"]
        assert document.metadata["matched"].keys() == {"sound"}


def test_texts_search_every_space_by_weight(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=2)
    both = retriever.invoke("red high")
    assert names(both) == ["red-low", "blue-high"], "the colour is the more unusual match"
    assert both[0].metadata["matched"].keys() == {"scene", "sound"}
    assert "Matched by scene (" in both[0].page_content
    assert " and sound (" in both[0].page_content
    assert names(retriever.invoke("red high", weights={"scene": 0.5})) == ["blue-high", "red-low"]
    only_sound = retriever.invoke("red high", weights={"scene": 0.0})
    assert names(only_sound) == ["blue-high", "red-low"]
    assert only_sound[0].metadata["matched"].keys() == {"sound"}
    assert names(retriever.invoke("red high", weights={"sound": 0.0})) == ["red-low", "blue-high"]


def test_index_search_accepts_weights_and_a_reranker(footage: Index) -> None:
    by_sound = footage.search("red high", k=2, weights={"scene": 0.0})
    assert [Path(moment.uri).stem for moment in by_sound] == ["blue-high", "red-low"]
    turned = footage.search("red high", k=2, weights={"scene": 0.0}, rerank=lambda _, moments: moments[::-1])
    assert turned == by_sound[::-1]


def test_audio_and_image_are_one_query(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=1)
    red = next(video.uri for video in footage.videos() if "red" in video.uri)
    (document,) = retriever.invoke("", video=red, audio=(sine(300, 1), 16_000))
    assert names([document]) == ["red-low"]
    assert document.metadata["matched"].keys() == {"scene", "sound"}


def test_weights_that_disable_a_query_modality_are_refused(footage: Index) -> None:
    with pytest.raises(UnsupportedModalityError, match="the audio of the query cannot be searched"):
        AnomalyRetriever(index=footage).invoke("red", audio=(sine(300, 1), 16_000), weights={"sound": 0.0})
