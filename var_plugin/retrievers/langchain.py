"""The index as a LangChain retriever: documents that a language model can read and cite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import run_in_executor
from pydantic import ConfigDict, Field, ValidationError

from var_plugin.errors import InvalidInputError, field_errors
from var_plugin.index.index import VideoIndex
from var_plugin.retrievers.search import GroupBy, Reranker, search
from var_plugin.retrievers.text import describe
from var_plugin.types import Filter, Moment, Query, Span


class AnomalyRetriever(BaseRetriever):
    """Finds the moments of indexed footage that a sentence, an image, a sound or a part of a video describes.

    Each document is a moment: `page_content` is a sentence, `metadata` is the moment itself (`video_id`, `uri`,
    `camera`, `start`, `end`, `score`, `anomaly_score`, `matched`, …; seconds from the start of the video), `id` is the
    moment's id.

    `invoke(text, image=…, audio=…, video=…)` asks with more than words, or without them where the text is empty. Every
    field but `index` can be given for one call as well: `invoke(text, k=20, min_score=2.0)`. Asynchronous calls run in
    a worker thread. `model_dump(mode="json")` is the configuration without the live parts, `index` and `rerank`;
    `AnomalyRetriever(index=…, **configuration)` restores it.

    Raises (when called):
        InvalidInputError: nothing is asked for, or an option does not exist or makes no sense.
        UnsupportedModalityError: the suite of the index cannot embed what is asked.
        StoreError: the store failed.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: VideoIndex = Field(exclude=True)
    k: int = Field(default=5, ge=1)
    """So many documents."""
    filter: Filter | None = None
    """What the moments must satisfy."""
    min_anomaly: float | None = Field(default=None, ge=0, le=1)
    """Only moments with at least this anomaly score; counts together with the filter's own."""
    min_score: float | None = None
    """Only moments with at least this score, in deviations above unrelated footage."""
    group_by: GroupBy = "moment"
    """"video" returns the best moment of each video only."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Per space, what its scores count against those of the others; 1 where nothing is said."""
    thumbnails: bool = False
    """Make an image of each moment; `metadata["thumbnail"]` is its path, else null."""
    rerank: Reranker | None = Field(default=None, exclude=True)
    """Gets the query and several times k moments, best first; its order is that of the documents."""

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
        try:
            asked = Query(text=query or None, image=image, audio=audio, video=video)
            call = type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | options)
        except ValidationError as error:
            reason = "; ".join(map(str, field_errors(error)))
            raise InvalidInputError(
                "the retriever cannot answer this call", why=reason, fix="see the fields of AnomalyRetriever"
            ) from error
        moments = search(
            call.index,
            asked,
            k=call.k,
            filter=_both(call.filter, call.min_anomaly),
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


def _both(wanted: Filter | None, min_anomaly: float | None) -> Filter | None:
    if min_anomaly is None:
        return wanted
    wanted = wanted or Filter()
    return wanted.model_copy(update={"min_anomaly": max(min_anomaly, wanted.min_anomaly or 0.0)})


def _document(moment: Moment) -> Document:
    return Document(id=moment.id, page_content=describe(moment), metadata=moment.model_dump(mode="json"))
