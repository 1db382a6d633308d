"""Embedding function with the interface of `pymilvus.model`, without a dependency on that package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.functions.one_space import OneSpace


class MilvusEmbeddingFunction(OneSpace):
    """Encode texts with the methods of `pymilvus.model`. `encode` accepts other modalities of the same space.

    Arguments and errors are those of `OneSpace`.
    """

    def __call__(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return one vector (dim,) float32 per text."""
        return list(self.encode("text", texts))

    def encode_queries(self, queries: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return one vector (dim,) float32 per query."""
        return self(queries)

    def encode_documents(self, documents: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return one vector (dim,) float32 per document."""
        return self(documents)
