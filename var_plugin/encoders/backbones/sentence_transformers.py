"""Multi-modal models of sentence-transformers: text and images in one space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from var_plugin.config import require
from var_plugin.encoders.base import ImageArray, Space, Vectors, l2_normalize
from var_plugin.encoders.hub import Checkpoint, device, refusing_random_weights
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.errors import UnsupportedModalityError


def scene_space(checkpoint: Checkpoint) -> SpaceEncoders:
    """Return the space of a model. The model is loaded at once, because only it knows its modalities.

    Raises:
        MissingDependencyError: sentence-transformers is not installed.
        MissingWeightsError: see `Checkpoint.folder`.
        UnsupportedModalityError: the model takes no images.
    """
    require("sentence-transformers", "sentence_transformers")
    encoder = SentenceTransformersEncoder(checkpoint)
    if not {"text", "image"} <= set(encoder.model.modalities):
        raise UnsupportedModalityError(
            f"the model {checkpoint.name} cannot encode footage",
            why=f"it encodes {', '.join(map(str, encoder.model.modalities))}",
            fix="choose a model for text and images",
        )
    dim = int(encoder.model.get_embedding_dimension())
    space = Space("scene", dim, "IP", frozenset(("text", "image", "video")), checkpoint.fingerprint)
    return SpaceEncoders(space, text=encoder, image=_ImageEncoder(encoder))


class SentenceTransformersEncoder:
    """Encode text, prompted as queries, into the space of the model; a `TextEncoder`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    @cached_property
    def model(self) -> Any:
        """The model."""
        from sentence_transformers import SentenceTransformer

        with refusing_random_weights(self._checkpoint.folder):
            return SentenceTransformer(
                str(self._checkpoint.folder),
                device=str(device(self._checkpoint.options)),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": self._checkpoint.options.dtype},
            )

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32, L2-normalised."""
        return l2_normalize(self.model.encode_query(list(texts), show_progress_bar=False))


class _ImageEncoder:
    """Encode images into the space of the model; an `ImageEncoder`."""

    size = (384, 384)
    """The model resizes images itself."""

    def __init__(self, encoder: SentenceTransformersEncoder) -> None:
        self._encoder = encoder

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32, L2-normalised, for RGB images."""
        from PIL import Image

        items = [Image.fromarray(image) for image in images]
        return l2_normalize(self._encoder.model.encode_document(items, show_progress_bar=False))
