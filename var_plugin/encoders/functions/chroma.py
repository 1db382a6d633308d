"""Chroma embedding function of a suite. Importing this module registers it with Chroma.

Chroma stores the configuration with the collection. When a collection is opened later, Chroma restores the function,
provided that this module is imported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from chromadb.api.types import Embeddable, EmbeddingFunction, Embeddings, Space
from chromadb.utils.embedding_functions import register_embedding_function

from var_plugin.encoders.functions.one_space import OneSpace, check_config
from var_plugin.errors import InvalidInputError
from var_plugin.types import Modality


@register_embedding_function
class ChromaEmbeddingFunction(OneSpace, EmbeddingFunction[Embeddable]):
    """Encode texts and images, also mixed in one list, into one space.

    Chroma has no type for video and audio. Encode them with `encode` and pass the vectors as `embeddings=`. Chroma
    restores only suites that can be loaded by name. Arguments and errors are those of `OneSpace`.
    """

    def __call__(self, input: Embeddable) -> Embeddings:  # noqa: A002  (Chroma checks the name)
        """Return one vector (dim,) float32 per text or (height, width, 3) uint8 image."""
        return list(self.encode_mixed([(_modality(item), item) for item in input]))

    @staticmethod
    def name() -> str:
        """Return the name that Chroma stores with a collection."""
        return "var_plugin"

    def default_space(self) -> Space:
        """Return the inner product, the metric of all spaces."""
        return "ip"

    def supported_spaces(self) -> list[Space]:
        """Return the supported metrics. Cosine and L2 are included only if all vectors have the same norm."""
        return ["ip"] if self.space.norm is None else ["ip", "cosine", "l2"]

    def get_config(self) -> dict[str, Any]:
        """Return suite, space and fingerprint."""
        return self.config()

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> ChromaEmbeddingFunction:
        """Return the function of a stored configuration. Raises as `OneSpace.from_config`."""
        return ChromaEmbeddingFunction.from_config(config)

    def validate_config_update(self, old_config: dict[str, Any], new_config: dict[str, Any]) -> None:
        """Raise `InvalidInputError` if the configuration changes, because stored vectors depend on it."""
        if new_config != old_config:
            raise InvalidInputError(
                "the embedding function of a collection cannot be changed",
                why=f"its vectors were computed by {old_config}, not by {new_config}",
                fix="create another collection",
            )

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Raise `InvalidInputError` unless the configuration is complete."""
        check_config(config)


def _modality(item: object) -> Modality:
    return "image" if isinstance(item, np.ndarray) else "text"
