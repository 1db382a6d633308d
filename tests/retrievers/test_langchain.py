from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests import RetrieversIntegrationTests

from tests.colors import color_suite
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin import AnomalyRetriever, Filter
from var_plugin.library import Index, open_index

ALWAYS_THERE = {"video_id", "uri", "camera", "start", "end", "score", "anomaly_score", "matched"}


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("footage")
    film = Film(folder)
    with open_index(folder / "index.db", suite=color_suite()) as index:
        for camera in ("north", "south"):
            path = film(f"{camera}.mp4", seconds=48, fps=5, paint=scene("red", "green", "blue", "white", "red", "blue"))
            # One more byte after the end: other content to the index, the same film to a player.
            path.write_bytes(path.read_bytes() + camera.encode())
            index.add(path, recorded_at=datetime(2026, 11, 1, 12, tzinfo=UTC))
        yield index


class TestStandard(RetrieversIntegrationTests):
    """LangChain's own conformance suite."""

    @pytest.fixture(autouse=True)
    def _with_footage(self, footage: Index) -> None:
        self.footage = footage

    @property
    def retriever_constructor(self) -> type[AnomalyRetriever]:
        return AnomalyRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"index": self.footage}

    @property
    def retriever_query_example(self) -> str:
        return "red"


def test_documents_can_be_read_and_cited(footage: Index) -> None:
    document = AnomalyRetriever(index=footage, k=1).invoke("green")[0]
    assert isinstance(document, Document)
    assert document.metadata.keys() >= ALWAYS_THERE
    assert document.id == document.metadata["id"]
    assert document.metadata["start"] == 8.0
    assert document.page_content.startswith(f"Camera {document.metadata['camera']}, recorded 2026-11-01 12:00:08 UTC")
    assert "from 8.0 s to 16.0 s of" in document.page_content
    assert Path(document.metadata["uri"]).name in document.page_content


async def test_asynchronous_calls_give_the_same(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=3)
    assert await retriever.ainvoke("blue") == retriever.invoke("blue")


def test_filters_come_from_the_retriever_or_the_call(footage: Index) -> None:
    south = Filter(cameras=("south",))
    by_default = AnomalyRetriever(index=footage, k=2, filter=south).invoke("red")
    by_call = AnomalyRetriever(index=footage, k=2).invoke("red", filter=south)
    assert by_default == by_call
    assert {document.metadata["camera"] for document in by_default} == {"south"}
