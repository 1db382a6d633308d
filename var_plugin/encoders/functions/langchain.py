"""A suite as LangChain embeddings: for every vector store that LangChain connects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.embeddings import Embeddings

from var_plugin.encoders.functions.one_space import OneSpace
from var_plugin.encoders.suite import Suite
from var_plugin.types import Modality


class SuiteEmbeddings(Embeddings):
    """Text, and through methods of their own pictures, videos and sounds, as vectors of one space.

    LangChain has no base class for anything but text. `embed_image` is what its stores look for in
    `add_images` and `similarity_search_by_image`; the other two follow its shape. The asynchronous methods of the base
    class run in worker threads.

    Args:
        suite: a suite or its name.
        space: name of the space; default: the first one that takes text.

    Raises:
        UnknownSuiteError: no suite of that name.
        UnsupportedModalityError: the suite has no such space, or none that takes text.
    """

    def __init__(self, suite: str | Suite = "lite", space: str | None = None) -> None:
        self._encoders = OneSpace(suite, space)

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self._encoders.space.dim

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector per text."""
        return self._embed("text", texts)

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of one text; queries and documents share a space and an encoder."""
        return self.embed_documents([text])[0]

    def embed_image(self, uris: Sequence[Any]) -> list[list[float]]:
        """Return one vector per picture: paths, PIL images or (height, width, 3) uint8 arrays."""
        return self._embed("image", uris)

    def embed_video(self, uris: Sequence[Any]) -> list[list[float]]:
        """Return one vector per video: paths or `var_plugin.Span`s."""
        return self._embed("video", uris)

    def embed_audio(self, uris: Sequence[Any]) -> list[list[float]]:
        """Return one vector per sound: paths or (samples, rate) pairs."""
        return self._embed("audio", uris)

    def _embed(self, modality: Modality, items: Sequence[Any]) -> list[list[float]]:
        vectors: list[list[float]] = self._encoders.encode(modality, items).tolist()
        return vectors
