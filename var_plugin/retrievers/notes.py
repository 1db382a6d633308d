"""Incident notes, captions and other texts in Milvus, as a LangChain vector store that keeps LangChain's contract.

`langchain_milvus.Milvus` leaves `Document.id` empty and the key among the metadata, ignores the ids of documents, drops
metadata keys that the first document did not have, cannot get documents by id, and on Milvus Lite merges a replaced
document with its predecessor. Everything else is inherited.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from langchain_core.documents import Document
from langchain_core.runnables import run_in_executor
from langchain_core.vectorstores import VectorStore

from var_plugin.errors import InvalidInputError, MissingDependencyError
from var_plugin.index.filters import literal

try:
    from langchain_milvus import Milvus
except ImportError as error:
    raise MissingDependencyError(
        "the store for notes needs the package langchain-milvus",
        why=str(error),
        fix="run: pip install 'var-plugin[langchain]'",
    ) from error

# Exact search: on Milvus Lite a filter makes it faster, while a filtered HNSW loses most of its hits.
_INDEX = {"index_type": "FLAT", "metric_type": "COSINE", "params": {}}


class NoteStore(Milvus):
    """Texts embedded by a suite: `NoteStore(SuiteEmbeddings("lite"), connection_args={"uri": "./notes.db"})`.

    Takes what `langchain_milvus.Milvus` takes. Ids are strings, made up where none are given; adding a text under an id
    that exists replaces it. Metadata may differ from document to document. Asynchronous calls run in worker threads on
    the one synchronous connection: Milvus' own asynchronous client belongs to the event loop that it was made in, and
    does not see at once what the other one wrote.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options["index_params"] = options.get("index_params") or _INDEX
        super().__init__(*args, **options | {"auto_id": False, "enable_dynamic_field": True})

    def add_texts(  # type: ignore[override]  # the parent's further options pass through
        self, texts: Iterable[str], metadatas: list[dict[str, Any]] | None = None, **options: Any
    ) -> list[str]:
        """Store texts; those under an id that exists are replaced.

        Args:
            texts: the texts.
            metadatas: for each text.
            **options: `ids`, for each text an id or None, and the options of `Milvus.add_texts`.

        Returns:
            The ids.

        Raises:
            InvalidInputError: an id twice, not one for each text, or one that Milvus cannot hold.
        """
        texts = list(texts)
        ids = [given or str(uuid4()) for given in options.pop("ids", None) or [None] * len(texts)]
        if len(set(ids)) != len(texts):
            raise InvalidInputError(f"{len(set(ids))} different ids for {len(texts)} texts", fix="give one for each")
        if not texts:
            return []
        if self.col is not None:
            self.delete(ids)
        return super().add_texts(texts, metadatas, ids=ids, **options)

    def delete(self, ids: list[str] | None = None, expr: str | None = None, **options: Any) -> bool | None:
        """Delete by ids or by an expression; what is not there is passed over.

        Raises:
            InvalidInputError: an id that Milvus cannot hold.
        """
        return super().delete(expr=self._are(ids) if ids else expr, **options)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents of these ids in their order; missing ones are left out.

        Raises:
            InvalidInputError: an id that Milvus cannot hold.
        """
        if self.col is None or not ids:
            return []
        rows = self.client.query(self.collection_name, filter=self._are(ids), output_fields=self._get_output_fields())
        found = {document.id: document for document in map(self._parse_document, rows)}
        return [found[wanted] for wanted in ids if wanted in found]

    def _are(self, ids: Sequence[str]) -> str:
        return f"{self._primary_field} in [{', '.join(map(literal, ids))}]"

    def _parse_document(self, data: dict[str, Any]) -> Document:
        document = super()._parse_document(data)
        return Document(
            id=str(document.metadata.pop(self._primary_field)),
            page_content=document.page_content,
            metadata=document.metadata,
        )

    # The base class's own versions honour the ids of documents.
    add_documents = VectorStore.add_documents
    aadd_documents = VectorStore.aadd_documents

    async def aadd_texts(  # type: ignore[override]  # as add_texts
        self, texts: Iterable[str], metadatas: list[dict[str, Any]] | None = None, **options: Any
    ) -> list[str]:
        """As `add_texts`."""
        return await run_in_executor(None, self.add_texts, texts, metadatas, **options)

    async def adelete(self, ids: list[str] | None = None, expr: str | None = None, **options: Any) -> bool | None:
        """As `delete`."""
        return await run_in_executor(None, self.delete, ids, expr, **options)

    @property
    def aclient(self) -> Any:
        """The one connection, each call in a worker thread."""
        return _InThreads(self.client)


class _InThreads:
    """An object whose methods are called in worker threads."""

    def __init__(self, blocking: Any) -> None:
        self._blocking = blocking

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return partial(run_in_executor, None, getattr(self._blocking, name))
