"""The index as a LangChain retriever: documents that a language model can read and cite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field

from var_plugin.index.video_index import VideoIndex
from var_plugin.retrievers.search import search
from var_plugin.types import Filter, Moment, Query


class AnomalyRetriever(BaseRetriever):
    """Finds the moments of indexed footage that a sentence describes.

    Each document is a moment: `page_content` is a sentence, `metadata` is the moment itself (`video_id`, `uri`,
    `camera`, `start`, `end`, `score`, `anomaly_score`, `matched`, …; seconds from the start of the video), `id` is the
    moment's id. Asynchronous calls run in a worker thread.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    index: VideoIndex
    k: int = Field(default=5, ge=1)
    """So many documents; `invoke(query, k=…)` overrides it."""
    filter: Filter | None = None
    """What the moments must satisfy; `invoke(query, filter=…)` overrides it."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        moments = search(
            self.index,
            Query(text=query),
            k=options.get("k", self.k),
            wanted=options.get("filter", self.filter),
        )
        return [_document(moment) for moment in moments]


def _document(moment: Moment) -> Document:
    return Document(id=moment.id, page_content=describe(moment), metadata=moment.model_dump(mode="json"))


def describe(moment: Moment) -> str:
    """Return one sentence on a moment, for a language model or a person."""
    clock = f", recorded {moment.recorded_at:%Y-%m-%d %H:%M:%S %Z}" if moment.recorded_at else ""
    spaces = " and ".join(f"{space} ({score:.1f})" for space, score in sorted(moment.matched.items()))
    return (
        f"Camera {moment.camera}{clock}: from {moment.start:.1f} s to {moment.end:.1f} s of {Path(moment.uri).name}, "
        f"best at {moment.peak:.1f} s. Matched by {spaces}; score {moment.score:.2f} (deviations above unrelated "
        f"footage), anomaly score {moment.anomaly_score:.2f}."
    )
