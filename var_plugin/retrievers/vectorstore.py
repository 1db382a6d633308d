"""A LangChain vector store for incident notes, captions and other texts in Milvus.

It is based on `langchain_milvus.Milvus` and corrects these points of it:

- `Document.id` is empty in results, and the key is returned as metadata. Ids of added documents are ignored.
- Metadata keys that the first document did not have are dropped.
- Documents cannot be returned by id.
- On Milvus Lite, a replaced document is merged with its predecessor.
"""

from __future__ import annotations

import json
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

_MAX_BYTES = 65_535
# Maximum number of keys in one expression.
_MAX_KEYS = 1_000
# Names with a special meaning in Milvus or Milvus Lite 3.2. They cannot be dynamic fields.
_MILVUS_FIELDS = ("$meta", "_seq", "_partition", "count(*)", "")
# Exact search. On Milvus Lite a filter makes it faster, while a filtered HNSW index loses most of its hits.
_INDEX = {"index_type": "FLAT", "metric_type": "COSINE", "params": {}}


class NoteStore(Milvus):
    """A store of texts that a suite embeds.

    It takes the arguments of `langchain_milvus.Milvus`. IDs are strings and default to random UUIDs. Adding a text with
    an existing id replaces it. Metadata may differ between documents. Asynchronous calls run in worker threads on the
    synchronous connection. The asynchronous client of Milvus is bound to one event loop, and does not read recent
    writes of the other client.

    Example:
        notes = NoteStore(SuiteEmbeddings("lite"), connection_args={"uri": "./notes.db"})
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options["index_params"] = options.get("index_params") or _INDEX
        super().__init__(*args, **options | {"auto_id": False, "enable_dynamic_field": True})

    def add_texts(  # type: ignore[override]  # the parent's further options pass through
        self, texts: Iterable[str], metadatas: list[dict[str, Any]] | None = None, **options: Any
    ) -> list[str]:
        """Store texts and replace those with an existing id.

        All texts, ids and metadata are checked, and all texts are embedded, before anything is written.

        Args:
            texts: the texts, each at most 65,535 bytes in UTF-8.
            metadatas: one per text. JSON values; the store's own fields, such as `text` and `pk`, cannot be keys.
            **options: `ids`, one id or None per text, and the options of `Milvus.add_texts`.

        Returns:
            The ids.

        Raises:
            InvalidInputError: Milvus cannot store a text, an id or metadata. Nothing was written.
        """
        listed = list(texts)
        ids = [note_id or str(uuid4()) for note_id in options.pop("ids", None) or [None] * len(listed)]
        self._check(listed, ids, metadatas)
        return super().add_texts(listed, metadatas, ids=ids, **options) if listed else []

    def add_embeddings(
        self,
        texts: list[str],
        embeddings: list[Any],
        metadatas: list[dict[str, Any]] | None = None,
        timeout: float | None = None,
        batch_size: int = 1_000,
        *,
        ids: list[str] | None = None,
        **options: Any,
    ) -> list[str]:
        """Store texts with their vectors, as `add_texts`.

        Each batch is one write that replaces complete notes, so a failure leaves no partial note.
        """
        ids = ids or [str(uuid4()) for _ in texts]
        self._check(texts, ids, metadatas)
        if self._is_local or self.col is None:
            # On Milvus Lite, an insert replaces the row with the same key. An upsert would merge the metadata.
            added: list[str] = super().add_embeddings(
                texts, embeddings, metadatas, timeout, batch_size, ids=ids, **options
            )
            return added
        fields = [list(field) for field in zip(*embeddings, strict=True)] if self._is_multi_embedding else [embeddings]
        rows = self._prepare_insert_list(texts, fields, metadatas, ids)
        for first in range(0, len(rows), batch_size):
            self.client.upsert(
                self.collection_name, rows[first : first + batch_size], timeout=self.timeout or timeout, **options
            )
        return ids

    def upsert(  # type: ignore[override]  # the parent's further options pass through
        self, ids: list[str] | None = None, documents: list[Document] | None = None, **options: Any
    ) -> None:
        """Store documents, as `add_documents`, and replace those with an existing id."""
        self.add_documents(documents or [], **options | ({"ids": ids} if ids else {}))

    def delete(self, ids: list[str] | None = None, expr: str | None = None, **options: Any) -> bool | None:
        """Delete documents by ids or by an expression. Unknown ids are ignored.

        Returns:
            False if Milvus refused.

        Raises:
            InvalidInputError: there are neither ids nor an expression, or an id is invalid in Milvus.
        """
        if ids is None and not expr:
            raise InvalidInputError("nothing to delete", fix="give ids or an expression")
        if self.col is None:
            return True
        expressions = [expr] if ids is None else [self._ids_expression(batch) for batch in _batches(ids)]
        return all(super(NoteStore, self).delete(expr=each, **options) for each in expressions)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents with these ids, in their order. Unknown ids are left out.

        Raises:
            InvalidInputError: an id is invalid in Milvus.
        """
        if self.col is None or not ids:
            return []
        fields = self._get_output_fields()
        rows = [
            row
            for batch in _batches(ids)
            for row in self.client.query(self.collection_name, filter=self._ids_expression(batch), output_fields=fields)
        ]
        documents = {document.id: document for document in map(self._parse_document, rows)}
        return [documents[note_id] for note_id in ids if note_id in documents]

    @property
    def _is_local(self) -> bool:
        return "://" not in str(self._connection_args.get("uri", ""))

    def _ids_expression(self, ids: Sequence[str]) -> str:
        return f"{self._primary_field} in [{', '.join(map(literal, ids))}]"

    def _check(self, texts: Sequence[str], ids: Sequence[str], metadatas: Sequence[dict[str, Any]] | None) -> None:
        """Raise `InvalidInputError` if a text, an id or metadata cannot be stored unchanged."""
        if len(ids) != len(texts) or len(set(ids)) != len(texts):
            raise InvalidInputError(f"{len(set(ids))} different ids for {len(texts)} texts", fix="pass one id per text")
        if metadatas is not None and len(metadatas) != len(texts):
            raise InvalidInputError(
                f"{len(metadatas)} metadata dictionaries for {len(texts)} texts", fix="pass one per text"
            )
        for note_id, text in zip(ids, texts, strict=True):
            literal(note_id)
            if (size := len(_encoded(text, note_id))) > _MAX_BYTES:
                raise InvalidInputError(
                    f"note '{note_id}' has {size} bytes",
                    why=f"Milvus stores at most {_MAX_BYTES}",
                    fix="split the text",
                )
        reserved = {
            self._primary_field, self._text_field, *_MILVUS_FIELDS, *self._as_list(self._vector_field),
            *(name for function in self._as_list(self.builtin_func) for name in function.output_field_names),
        }  # fmt: skip
        for note_id, metadata in zip(ids, metadatas or (), strict=metadatas is not None):
            _check_metadata(note_id, metadata, reserved)

    def _parse_document(self, data: dict[str, Any]) -> Document:
        document = super()._parse_document(data)
        return Document(
            id=str(document.metadata.pop(self._primary_field)),
            page_content=document.page_content,
            metadata=document.metadata,
        )

    # The methods of `VectorStore` use the ids of documents.
    add_documents = VectorStore.add_documents
    aadd_documents = VectorStore.aadd_documents

    async def aadd_texts(  # type: ignore[override]  # as add_texts
        self, texts: Iterable[str], metadatas: list[dict[str, Any]] | None = None, **options: Any
    ) -> list[str]:
        """As `add_texts`."""
        return await run_in_executor(None, self.add_texts, texts, metadatas, **options)

    async def aadd_embeddings(self, *args: Any, **options: Any) -> list[str]:
        """As `add_embeddings`."""
        return await run_in_executor(None, partial(self.add_embeddings, *args, **options))

    async def aupsert(  # type: ignore[override]  # as upsert
        self, ids: list[str] | None = None, documents: list[Document] | None = None, **options: Any
    ) -> None:
        """As `upsert`."""
        await run_in_executor(None, partial(self.upsert, ids, documents, **options))

    async def adelete(self, ids: list[str] | None = None, expr: str | None = None, **options: Any) -> bool | None:
        """As `delete`."""
        return await run_in_executor(None, self.delete, ids, expr, **options)

    @property
    def aclient(self) -> Any:
        """The synchronous client, with each call in a worker thread."""
        return _InThreads(self.client)


def _batches(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[first : first + _MAX_KEYS] for first in range(0, len(ids), _MAX_KEYS)]


def _encoded(text: str, note_id: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"note '{note_id}' is not valid Unicode", why=str(error)) from error


def _check_metadata(note_id: str, metadata: dict[str, Any], reserved: set[str]) -> None:
    """Raise `InvalidInputError` if Milvus would not return the metadata unchanged."""
    if clashes := sorted(reserved.intersection(metadata)):
        raise InvalidInputError(
            f"the metadata of note '{note_id}' cannot have the key '{clashes[0]}'",
            why="Milvus reserves that name",
            fix="rename the key",
        )
    if not all(isinstance(key, str) for key in metadata):
        raise InvalidInputError(
            f"the metadata of note '{note_id}' have a key that is not a string", fix="use string keys"
        )
    try:
        size = len(_encoded(json.dumps(metadata, allow_nan=False, ensure_ascii=False), note_id))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"the metadata of note '{note_id}' cannot be stored", why=str(error), fix="use JSON values"
        ) from error
    if size > _MAX_BYTES:
        raise InvalidInputError(
            f"the metadata of note '{note_id}' have {size} bytes", why=f"Milvus stores at most {_MAX_BYTES}"
        )


class _InThreads:
    """A wrapper that calls the methods of an object in worker threads."""

    def __init__(self, blocking: Any) -> None:
        self._blocking = blocking

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return partial(run_in_executor, None, getattr(self._blocking, name))
