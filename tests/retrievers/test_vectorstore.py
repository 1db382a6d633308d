from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from tests.colors import color_suite
from var_plugin.encoders.functions.langchain import SuiteEmbeddings
from var_plugin.errors import InvalidInputError, VarPluginError
from var_plugin.retrievers.vectorstore import NoteStore


class TestStandard(VectorStoreIntegrationTests):
    """LangChain's own conformance suite, on Milvus Lite."""

    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> NoteStore:
        return NoteStore(self.get_embeddings(), connection_args={"uri": str(tmp_path / "notes.db")})


def open_notes(folder: Path) -> NoteStore:
    return NoteStore(SuiteEmbeddings(color_suite()), connection_args={"uri": str(folder / "notes.db")})


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[NoteStore]:
    store = open_notes(tmp_path)
    store.add_documents(
        [
            Document(id="van", page_content="red van at the gate", metadata={"camera": "north", "floor": 0}),
            Document(id="bin", page_content="green bin on fire", metadata={"camera": "south"}),
            Document(id="sky", page_content="blue sky", metadata={"guard": "O'Neill", "shift": "night"}),
        ]
    )
    yield store


def test_notes_are_found_by_meaning(notes: NoteStore) -> None:
    results = notes.similarity_search_with_score("red", k=3)
    assert [document.id for document, _ in results] == ["van", "bin", "sky"]
    assert results[0][1] == pytest.approx(1.0, abs=1e-3), "cosine"


def test_metadata_can_differ_and_are_filtered(notes: NoteStore) -> None:
    (night,) = notes.similarity_search("red", k=3, expr='shift == "night"')
    assert (night.id, night.metadata) == ("sky", {"guard": "O'Neill", "shift": "night"})


def test_a_replaced_note_keeps_nothing_of_the_old_one(notes: NoteStore) -> None:
    notes.add_texts(["yellow van"], [{"camera": "east"}], ids=["van"])
    (van,) = notes.get_by_ids(["van"])
    assert (van.page_content, van.metadata) == ("yellow van", {"camera": "east"})
    assert len(notes.similarity_search("red", k=10)) == 3


def test_notes_are_stored_permanently(notes: NoteStore, tmp_path: Path) -> None:
    again = open_notes(tmp_path)
    assert again.get_by_ids(["sky", "gone", "van"]) == notes.get_by_ids(["sky", "van"])
    assert [d.metadata for d in again.similarity_search("red", k=1)] == [{"camera": "north", "floor": 0}]


def test_ids_are_not_interpreted_as_expressions(notes: NoteStore) -> None:
    nasty = 'x" or pk != "'
    assert notes.get_by_ids([nasty]) == []
    notes.delete([nasty])
    assert len(notes.similarity_search("red", k=10)) == 3
    assert notes.add_texts(["white wall"], ids=[nasty]) == [nasty]
    assert [document.page_content for document in notes.get_by_ids([nasty])] == ["white wall"]
    with pytest.raises(InvalidInputError, match="control characters"):
        notes.get_by_ids(["a\x00b"])


def test_one_store_serves_several_event_loops(notes: NoteStore) -> None:
    for _ in range(2):
        assert asyncio.run(notes.asimilarity_search("blue", k=1))[0].id == "sky"


def test_each_text_needs_one_id(notes: NoteStore) -> None:
    with pytest.raises(InvalidInputError, match="1 different ids for 2 texts"):
        notes.add_texts(["red", "green"], ids=["same", "same"])
    ids = notes.add_documents([Document("red door"), Document("green door", id="door")])
    assert ids[1] == "door"
    assert len(set(ids)) == 2


async def test_asynchronous_calls_give_the_same_results(notes: NoteStore, tmp_path: Path) -> None:
    await notes.aadd_texts(["yellow car"], ids=["car"])
    assert [document.id for document in await notes.asimilarity_search("yellow", k=1)] == ["car"]
    await notes.adelete(["car"])
    assert await notes.aget_by_ids(["car"]) == []
    store = await NoteStore.afrom_texts(
        ["red", "green"], SuiteEmbeddings(color_suite()), connection_args={"uri": str(tmp_path / "more.db")}
    )
    assert isinstance(store, NoteStore)
    assert [document.page_content for document in await store.amax_marginal_relevance_search("green", k=1)] == ["green"]


def test_a_store_is_created_from_texts(tmp_path: Path) -> None:
    store = NoteStore.from_texts(
        ["red", "green"], SuiteEmbeddings(color_suite()), connection_args={"uri": str(tmp_path / "more.db")}
    )
    assert isinstance(store, NoteStore)
    assert [document.page_content for document in store.similarity_search("green", k=1)] == ["green"]


@pytest.mark.parametrize("replacement", ["", "word " * 20_000, "\ud800"], ids=["empty", "too long", "half an emoji"])
def test_a_note_survives_a_replacement_that_fails(notes: NoteStore, replacement: str) -> None:
    before = notes.get_by_ids(["van", "bin"])
    with pytest.raises(VarPluginError):
        notes.add_texts(["a new bin", replacement], ids=["bin", "van"])
    with pytest.raises(VarPluginError):
        notes.upsert(["van"], [Document(replacement)])
    assert notes.get_by_ids(["van", "bin"]) == before


@pytest.mark.parametrize("key", ["text", "pk", "vector", "$meta", "_seq", "count(*)", ""])
def test_metadata_cannot_overwrite_the_note_itself(notes: NoteStore, key: str) -> None:
    before = notes.get_by_ids(["van"])
    with pytest.raises(InvalidInputError, match=re.escape(f"the key '{key}'")):
        notes.add_texts(["yellow van"], [{key: "other"}], ids=["van"])
    assert notes.get_by_ids(["van", "other"]) == before


def test_metadata_are_returned_unchanged(notes: NoteStore) -> None:
    metadata = {
        "id": "x", "score": 1, "distance": 0.5, "entity": "e", "page_content": "c",
        "metadata": {"text": "inside", "deep": [{"pk": None}]}, "a key": "ü", "lit": False,
    }  # fmt: skip
    notes.add_texts(["yellow van"], [metadata], ids=["van"])
    assert notes.get_by_ids(["van"]) == [Document(id="van", page_content="yellow van", metadata=metadata)]
    assert notes.similarity_search("yellow", k=1) == notes.get_by_ids(["van"])


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, "x" * 70_000, "\ud800"], ids=["nan", "set", "long", "emoji"])
def test_metadata_that_cannot_be_stored_change_nothing(notes: NoteStore, value: object) -> None:
    before = notes.get_by_ids(["van"])
    with pytest.raises(InvalidInputError):
        notes.add_texts(["green", "yellow van"], [{}, {"value": value}], ids=["new", "van"])
    assert notes.get_by_ids(["new", "van"]) == before


def test_a_replaced_note_is_complete_after_reopening(notes: NoteStore, tmp_path: Path) -> None:
    notes.client.flush(notes.collection_name)
    notes.upsert(["van"], [Document("yellow van", metadata={"camera": "east"})])
    for store in (notes, open_notes(tmp_path)):
        (van,) = store.get_by_ids(["van"])
        assert (van.page_content, van.metadata) == ("yellow van", {"camera": "east"})
        assert [document.id for document in store.similarity_search("red", k=10)].count("van") == 1
    notes.client.flush(notes.collection_name)
    assert len(open_notes(tmp_path).similarity_search("red", k=10)) == 3


async def test_documents_are_replaced_asynchronously(notes: NoteStore) -> None:
    await notes.aadd_documents([Document("yellow van", id="van")])
    await notes.aupsert(["bin"], [Document("white bin")])
    assert await notes.aupsert(documents=[Document("blue wall", id="wall")]) is None
    documents = await notes.aget_by_ids(["van", "bin", "wall"])
    assert [(note.page_content, note.metadata) for note in documents] == [
        ("yellow van", {}), ("white bin", {}), ("blue wall", {}),
    ]  # fmt: skip


def test_many_notes_are_deleted_at_once(notes: NoteStore) -> None:
    ids = [f"note {number}" for number in range(2_500)]
    notes.add_embeddings(["red"] * len(ids), [[1.0, 0.0, 0.0]] * len(ids), ids=ids)
    assert len(notes.get_by_ids(ids)) == len(ids)
    assert notes.delete(ids)
    assert notes.delete([]) is True
    assert notes.get_by_ids(ids) == []
    with pytest.raises(InvalidInputError, match="nothing to delete"):
        notes.delete()
    assert len(notes.similarity_search("red", k=10)) == 3
