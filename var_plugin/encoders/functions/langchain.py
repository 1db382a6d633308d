"""A suite as LangChain embeddings: for every vector store that LangChain connects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.embeddings import Embeddings

from var_plugin.encoders.functions.one_space import OneSpace
from var_plugin.types import Modality


class SuiteEmbeddings(OneSpace, Embeddings):
    """Text, and through methods of their own images, videos and sounds, as vectors of one space.

    LangChain has no base class for anything but text. `embed_image` is what its stores look for in
    `add_images` and `similarity_search_by_image`; the other two follow its shape. The asynchronous methods of the base
    class run in worker threads. Arguments and errors are those of `OneSpace`.
    """

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector per text."""
        return self._embed("text", texts)

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of one text; queries and documents share a space and an encoder."""
        return self.embed_documents([text])[0]

    def embed_image(self, uris: Sequence[Any]) -> list[list[float]]:
        """Return one vector per image: paths, PIL images or (height, width, 3) uint8 arrays."""
        return self._embed("image", uris)

    def embed_video(self, uris: Sequence[Any]) -> list[list[float]]:
        """Return one vector per video: paths or `var_plugin.Span`s."""
        return self._embed("video", uris)

    def embed_audio(self, uris: Sequence[Any]) -> list[list[float]]:
        """Return one vector per sound: paths or (samples, rate) pairs."""
        return self._embed("audio", uris)

    def _embed(self, modality: Modality, items: Sequence[Any]) -> list[list[float]]:
        vectors: list[list[float]] = self.encode(modality, items).tolist()
        return vectors
