"""Search over images and sounds at once: what is found in either space, and what the weights decide."""

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
    """A red film with a low tone, a blue one with a high tone."""
    folder = tmp_path_factory.mktemp("tones")
    film = Film(folder)
    with open_index(folder / "index.db", suite=tone_suite()) as index:
        for name, color, tone in (("red-low", "red", 400.0), ("blue-high", "blue", 3_000.0)):
            assert index.add(film(f"{name}.mp4", seconds=8, fps=5, paint=scene(color), tone=tone)).ok
        yield index


def names(documents: list[Document]) -> list[str]:
    return [Path(document.metadata["uri"]).stem for document in documents]


def test_a_sound_asks_as_samples_or_as_a_file(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=1)
    high = next(video.uri for video in footage.videos() if "high" in video.uri)
    for audio in ((sine(2_500, 1), 16_000), high):
        (found,) = retriever.invoke("", audio=audio)
        assert names([found]) == ["blue-high"]
        assert found.metadata["matched"].keys() == {"sound"}


def test_words_are_looked_for_in_every_space_and_weights_decide(footage: Index) -> None:
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


def test_the_index_itself_takes_weights_and_a_reranker(footage: Index) -> None:
    by_sound = footage.search("red high", k=2, weights={"scene": 0.0})
    assert [Path(moment.uri).stem for moment in by_sound] == ["blue-high", "red-low"]
    turned = footage.search("red high", k=2, weights={"scene": 0.0}, rerank=lambda _, moments: moments[::-1])
    assert turned == by_sound[::-1]


def test_a_sound_and_an_image_ask_together(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=1)
    red = next(video.uri for video in footage.videos() if "red" in video.uri)
    (found,) = retriever.invoke("", video=red, audio=(sine(300, 1), 16_000))
    assert names([found]) == ["red-low"]
    assert found.metadata["matched"].keys() == {"scene", "sound"}


def test_weights_that_leave_a_part_of_the_question_out_are_refused(footage: Index) -> None:
    with pytest.raises(UnsupportedModalityError, match="no space supports the audio"):
        AnomalyRetriever(index=footage).invoke("red", audio=(sine(300, 1), 16_000), weights={"sound": 0.0})
