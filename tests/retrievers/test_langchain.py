from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.runnables import ConfigurableField
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import ValidationError

from tests.colors import ColorNames, suite_with
from tests.films import plain
from var_plugin import AnomalyRetriever, Filter
from var_plugin.api import Index, open_index
from var_plugin.encoders.base import Vectors
from var_plugin.errors import InvalidInputError, UnsupportedModalityError
from var_plugin.types import Moment, Query, Span


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


def test_documents_have_content_and_citations(footage: Index) -> None:
    document = AnomalyRetriever(index=footage, k=1).invoke("green")[0]
    assert isinstance(document, Document)
    assert document.metadata.keys() == Moment.model_fields.keys()
    assert json.loads(json.dumps(document.metadata)) == document.metadata
    assert document.id == document.metadata["id"]
    assert document.metadata["start"] == 8.0
    assert document.page_content.startswith(f'Camera "{document.metadata["camera"]}", recorded 2026-11-01 12:00:08 UTC')
    assert "from 8.0 s to 16.0 s of" in document.page_content
    assert Path(document.metadata["uri"]).name in document.page_content


def test_images_are_created_on_request(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=1)
    assert retriever.invoke("green")[0].metadata["thumbnail"] is None
    image = retriever.invoke("green", thumbnails=True)[0].metadata["thumbnail"]
    assert Path(image).read_bytes().startswith(b"\xff\xd8")


def test_fields_are_configurable_in_a_chain(footage: Index) -> None:
    chain = AnomalyRetriever(index=footage, k=3).configurable_fields(k=ConfigurableField(id="k")) | len
    assert chain.invoke("red") == 3
    assert chain.with_config(configurable={"k": 1}).invoke("red") == 1


def test_images_and_spans_are_queries(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=2)
    green = [(d.metadata["camera"], d.metadata["start"]) for d in retriever.invoke("green")]
    north = next(video for video in footage.videos() if video.camera == "north")
    for query in ({"image": plain(20, 220, 20)}, {"video": Span(Path(north.uri), 9.0, 15.0)}):
        documents = retriever.invoke("", **query)
        assert sorted((d.metadata["camera"], d.metadata["start"]) for d in documents) == sorted(green)
    (mixed,) = retriever.invoke("green", image=plain(220, 20, 20), k=1)
    assert mixed.metadata["uri"].endswith("yard.mp4"), "green words and a red image mean yellow"


def test_an_unsupported_modality_is_a_typed_error(footage: Index, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModalityError, match="cannot encode audio"):
        AnomalyRetriever(index=footage).invoke("", audio=tmp_path / "scream.wav")


def test_filters_come_from_the_retriever_or_the_call(footage: Index) -> None:
    south = Filter(cameras=("south",))
    by_default = AnomalyRetriever(index=footage, k=2, filter=south).invoke("red")
    by_call = AnomalyRetriever(index=footage, k=2).invoke("red", filter={"cameras": ["south"]})
    assert by_default == by_call
    assert {document.metadata["camera"] for document in by_default} == {"south"}


def test_min_anomaly_and_filter_both_apply(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=20, filter=Filter(cameras=("north",), min_anomaly=0.3))
    starts = {document.metadata["start"] for document in retriever.invoke("white")}
    assert starts == {8.0, 24.0, 40.0}
    strict = retriever.invoke("white", min_anomaly=0.5)
    assert {document.metadata["start"] for document in strict} == {8.0, 40.0}
    lenient = retriever.invoke("white", min_anomaly=0.1)
    assert {document.metadata["start"] for document in lenient} == starts


def test_a_threshold_removes_weak_moments(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=20)
    scores = [document.metadata["score"] for document in retriever.invoke("red")]
    threshold = scores[2]
    strong = [document.metadata["score"] for document in retriever.invoke("red", min_score=threshold)]
    assert strong == [score for score in scores if score >= threshold]
    assert len(strong) < len(scores)
    assert retriever.invoke("red", min_score=1e6) == []


def test_grouping_by_video_gives_one_moment_each(footage: Index) -> None:
    documents = AnomalyRetriever(index=footage, k=20, group_by="video").invoke("red")
    videos = [document.metadata["video_id"] for document in documents]
    assert sorted(videos) == sorted(video.video_id for video in footage.videos())
    best = AnomalyRetriever(index=footage, k=1).invoke("red")
    assert documents[0] == best[0]


def test_weights_scale_scores_and_can_disable_spaces(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=1)
    plain_score, doubled = (retriever.invoke("red", weights=w)[0].metadata for w in ({}, {"scene": 2.0}))
    assert doubled["score"] == pytest.approx(2 * plain_score["score"], rel=1e-5)
    assert doubled["matched"] == plain_score["matched"]
    with pytest.raises(UnsupportedModalityError, match="weights of all spaces that support it are 0"):
        retriever.invoke("red", weights={"scene": 0.0})
    with pytest.raises(InvalidInputError, match="unknown space 'smell'"):
        retriever.invoke("red", weights={"smell": 1.0})
    with pytest.raises(InvalidInputError, match="from 0 to 1000"):
        retriever.invoke("red", weights={"scene": -1.0})


def test_too_long_queries_and_too_large_weights_are_refused(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=1)
    with pytest.raises(InvalidInputError, match="has 32769 characters: the limit is 32768"):
        retriever.invoke("r" * 32_769)
    with pytest.raises(InvalidInputError, match="from 0 to 1000"):
        retriever.invoke("red", weights={"scene": 1e308})


def test_a_reranker_gets_more_than_k_candidates(footage: Index) -> None:
    calls: list[tuple[Query, int]] = []

    def latest_first(query: Query, moments: Sequence[Moment]) -> list[Moment]:
        calls.append((query, len(moments)))
        return sorted(moments, key=lambda moment: -moment.start)

    (document,) = AnomalyRetriever(index=footage, k=1, rerank=latest_first).invoke("red")
    candidates = AnomalyRetriever(index=footage, k=4).invoke("red")
    assert calls == [(Query(text="red"), 4)]
    assert document.metadata["start"] == max(document.metadata["start"] for document in candidates)
    assert document != candidates[0]


def test_invalid_options_are_refused(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage)
    with pytest.raises(InvalidInputError, match="a query needs a text"):
        retriever.invoke("")
    with pytest.raises(InvalidInputError, match=r"k: .*greater than or equal to 1"):
        retriever.invoke("red", k=0)
    with pytest.raises(InvalidInputError, match="top_k: Extra inputs are not permitted"):
        retriever.invoke("red", top_k=3)
    with pytest.raises(ValidationError, match="top_k"):
        AnomalyRetriever(index=footage, top_k=3)


def test_the_configuration_survives_json(footage: Index) -> None:
    retriever = AnomalyRetriever(
        index=footage,
        k=3,
        filter=Filter(cameras=("south",), metadata={"floor": 3}),
        min_anomaly=0.2,
        min_score=1.5,
        group_by="video",
        weights={"scene": 0.5},
        rerank=lambda query, moments: moments,
        tags=["night"],
    )
    stored = retriever.model_dump_json()
    assert "index" not in json.loads(stored)
    restored = AnomalyRetriever(index=footage, rerank=retriever.rerank, **json.loads(stored))
    assert restored == retriever


async def test_asynchronous_calls_give_the_same_results(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=3)
    assert await retriever.ainvoke("blue") == retriever.invoke("blue")
    assert await retriever.ainvoke("blue", k=1) == retriever.invoke("blue", k=1)
    assert await retriever.abatch(["red", "green"]) == retriever.batch(["red", "green"])


class Patient(ColorNames):
    """Encodes only after `go` is set."""

    def __init__(self) -> None:
        self.started, self.go_on = threading.Event(), threading.Event()

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.started.set()
        if not self.go_on.wait(timeout=60):
            raise TimeoutError
        return super().encode(texts)


async def test_the_event_loop_is_not_blocked_by_a_search(tmp_path: Path) -> None:
    patient = Patient()
    with open_index(tmp_path / "index.db", suite=suite_with(patient)) as index:
        search = asyncio.create_task(AnomalyRetriever(index=index).ainvoke("red"))
        while not patient.started.is_set():
            await asyncio.sleep(0.01)
        # The search waits for this coroutine: had it blocked the loop, neither would go on.
        patient.go_on.set()
        assert await search == []


class Events(BaseCallbackHandler):
    """Records the callbacks of LangChain."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def on_retriever_start(self, serialized: Any, query: str, *, run_id: UUID, **more: Any) -> None:
        self.seen.append(("start", query))

    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **more: Any) -> None:
        self.seen.append(("end", len(documents)))

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        self.seen.append(("error", type(error)))


class AsyncEvents(AsyncCallbackHandler):
    """The same for asynchronous calls."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    async def on_retriever_start(self, serialized: Any, query: str, *, run_id: UUID, **more: Any) -> None:
        self.seen.append(("start", query))

    async def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **more: Any) -> None:
        self.seen.append(("end", len(documents)))


async def test_callbacks_are_called(footage: Index) -> None:
    retriever = AnomalyRetriever(index=footage, k=2)
    events, later = Events(), AsyncEvents()
    retriever.invoke("red", config={"callbacks": [events]})
    with pytest.raises(InvalidInputError):
        retriever.invoke("red", config={"callbacks": [events]}, k=-1)
    await retriever.ainvoke("green", config={"callbacks": [later]})
    assert events.seen == [("start", "red"), ("end", 2), ("start", "red"), ("error", InvalidInputError)]
    assert later.seen == [("start", "green"), ("end", 2)]
