"""A suite in the shape of the functions in `pymilvus.model`, without depending on that package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.functions.one_space import OneSpace
from var_plugin.encoders.suite import Suite


class MilvusEmbeddingFunction:
    """Text to vectors, as Milvus users call it; other content goes through `Suite.encode` into the same space.

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

    def __call__(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return one vector (dim,) float32 per text."""
        return list(self._encoders.encode("text", texts))

    def encode_queries(self, queries: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return one vector (dim,) float32 per query."""
        return self(queries)

    def encode_documents(self, documents: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return one vector (dim,) float32 per document."""
        return self(documents)
