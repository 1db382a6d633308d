"""A LangChain retriever over an index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import run_in_executor
from pydantic import ConfigDict, Field, ValidationError

from var_plugin.errors import InvalidInputError, field_errors
from var_plugin.retrievers.search import GroupBy, Reranker
from var_plugin.retrievers.text import describe_moment
from var_plugin.types import Filter, Moment, Span


@runtime_checkable
class SearchableIndex(Protocol):
    """What the retriever needs of an index: the search of `var_plugin.Index`."""

    def search(
        self,
        text: str | None = None,
        *,
        image: Any = None,
        audio: Any = None,
        video: str | Path | Span | None = None,
        k: int = 5,
        filter: Filter | None = None,  # noqa: A002
        min_score: float | None = None,
        group_by: GroupBy = "moment",
        weights: Mapping[str, float] | None = None,
        rerank: Reranker | None = None,
        thumbnails: bool = False,
    ) -> list[Moment]:
        """Return the k best moments, best first."""


class AnomalyRetriever(BaseRetriever):
    """Retrieve moments of indexed footage by text, image, audio or video.

    Each document is a moment. `page_content` is a sentence about it. `metadata` has the fields of `Moment` (`video_id`,
    `uri`, `camera`, `start`, `end`, `score`, `anomaly_score`, `matched`, …), with times in seconds from the start of
    the video. `id` is the id of the moment.

    `invoke(text, image=…, audio=…, video=…)` combines modalities; the text may be empty. Without any of them, but with
    a filter or `min_anomaly`, the documents are the most anomalous moments. Every field except `index` can be
    overridden in a call: `invoke(text, k=20, min_score=2.0)`. Asynchronous calls run in a worker thread.
    `model_dump(mode="json")` returns the configuration without `index` and `rerank`.
    `AnomalyRetriever(index=…, **configuration)` restores it.

    Example:
        retriever = AnomalyRetriever(index=index, k=3)
        documents = retriever.invoke("a man smashes a window")

    Raises (when called):
        InvalidInputError: the query is empty, or an option is unknown or invalid.
        UnsupportedModalityError: the suite of the index does not support a modality of the query.
        StoreError: the store failed.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: SearchableIndex = Field(exclude=True)
    k: int = Field(default=5, ge=1)
    """Maximum number of documents."""
    filter: Filter | None = None
    """Conditions on the moments."""
    min_anomaly: float | None = Field(default=None, ge=0, le=1)
    """Minimum anomaly score, in addition to the filter."""
    min_score: float | None = None
    """Minimum score (z-score)."""
    group_by: GroupBy = "moment"
    """"video" returns only the best moment of each video."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Weight of the scores of each space; default 1."""
    thumbnails: bool = False
    """Create a thumbnail of each moment; `metadata["thumbnail"]` is its path."""
    rerank: Reranker | None = Field(default=None, exclude=True)
    """Gets the query and several times k moments, best first, and returns them in the final order."""

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        image: Any = None,
        audio: Any = None,
        video: str | Path | Span | None = None,
        **options: Any,
    ) -> list[Document]:
        parts = {"text": query or None, "image": image, "audio": audio, "video": video}
        try:
            call = type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | options)
        except ValidationError as error:
            reason = "; ".join(map(str, field_errors(error)))
            raise InvalidInputError(
                "the call of the retriever is invalid", why=reason, fix="see the fields of AnomalyRetriever"
            ) from error
        moments = call.index.search(
            **parts,
            k=call.k,
            filter=_with_min_anomaly(call.filter, call.min_anomaly),
            min_score=call.min_score,
            group_by=call.group_by,
            weights=call.weights,
            rerank=call.rerank,
            thumbnails=call.thumbnails,
        )
        return [_document(moment) for moment in moments]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return await run_in_executor(
            None, self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **options
        )


def _with_min_anomaly(filter: Filter | None, min_anomaly: float | None) -> Filter | None:  # noqa: A002
    if min_anomaly is None:
        return filter
    filter = filter or Filter()  # noqa: A001
    return filter.model_copy(update={"min_anomaly": max(min_anomaly, filter.min_anomaly or 0.0)})


def _document(moment: Moment) -> Document:
    return Document(id=moment.id, page_content=describe_moment(moment), metadata=moment.model_dump(mode="json"))
