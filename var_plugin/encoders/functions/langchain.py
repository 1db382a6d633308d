"""LangChain embeddings of a suite, for all vector stores of LangChain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.embeddings import Embeddings

from var_plugin.encoders.functions.one_space import OneSpace
from var_plugin.types import Modality


class SuiteEmbeddings(OneSpace, Embeddings):
    """Embed text, images, video and audio into one space.

    The base class of LangChain covers only text. Its vector stores call `embed_image` in `add_images` and
    `similarity_search_by_image`. `embed_video` and `embed_audio` have the same signature. The asynchronous methods of
    the base class run in worker threads. Arguments and errors are those of `OneSpace`.
    """

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector per text."""
        return self._embed("text", texts)

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of one text. Queries and documents use the same encoder."""
        return self.embed_documents([text])[0]

    def embed_image(self, uris: Sequence[Any]) -> list[list[float]]:
        """Return one vector per image: paths, PIL images or (height, width, 3) uint8 arrays."""
        return self._embed("image", uris)

    def embed_video(self, uris: Sequence[Any]) -> list[list[float]]:
        """Return one vector per video: paths or `var_plugin.Span` objects."""
        return self._embed("video", uris)

    def embed_audio(self, uris: Sequence[Any]) -> list[list[float]]:
        """Return one vector per audio item: paths or (samples, rate) pairs, with the rate in Hz."""
        return self._embed("audio", uris)

    def _embed(self, modality: Modality, items: Sequence[Any]) -> list[list[float]]:
        vectors: list[list[float]] = self.encode(modality, items).tolist()
        return vectors
