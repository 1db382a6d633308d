"""CLIP, SigLIP and SigLIP 2 through transformers: sentences and pictures to one space.

A picture or frame is looked at whole: it is scaled to the size of the network, not cropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from var_plugin.encoders.backbones.checkpoint import Checkpoint
from var_plugin.encoders.backbones.pixels import pixels
from var_plugin.encoders.backbones.two_towers import TextTower, TwoTowers, pooled
from var_plugin.encoders.base import Picture, Space, Vectors
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.encoders.weight_folder import in_batches
from var_plugin.errors import UnknownSuiteError

# SigLIP 2 has the architecture of SigLIP, except for its models for pictures of any shape (`siglip2`).
_KINDS = ("clip", "siglip")


def scene_space(checkpoint: Checkpoint) -> SpaceEncoders:
    """Return the space of a CLIP-like model; its network loads at the first use.

    Raises:
        MissingWeightsError: as `Checkpoint.folder`.
        UnknownSuiteError: it is another kind of model.
    """
    require_kind(checkpoint, _KINDS, "CLIP and SigLIP models that look at pictures of one size are taken here")
    network = ClipNetwork(checkpoint)
    space = Space("scene", network.dim, "IP", frozenset(("text", "image", "video")), checkpoint.fingerprint)
    return SpaceEncoders(space, text=TextTower(network), picture=ClipPictureEncoder(network))


def require_kind(checkpoint: Checkpoint, kinds: Sequence[str], why: str) -> None:
    """Raise `UnknownSuiteError` unless a model is of one of the kinds."""
    kind = checkpoint.config.model_type
    if kind not in kinds:
        raise UnknownSuiteError(
            f"the model {checkpoint.name} is of the kind '{kind}'",
            why=why,
            fix="try sentence-transformers:NAME, or choose another model",
        )


class ClipNetwork(TwoTowers):
    """A tower for texts and one for pictures."""

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        config = self.checkpoint.config
        return int(config.text_config.projection_size if self._is_siglip else config.projection_dim)

    def tokens(self, texts: Sequence[str]) -> Any:
        """Return token ids, prepared as in training: SigLIP has seen nothing but texts padded to one length."""
        return self.tokenizer(
            list(texts),
            padding="max_length" if self._is_siglip else True,
            truncation=True,
            max_length=self.checkpoint.config.text_config.max_position_embeddings,
            return_token_type_ids=False,
            return_tensors="pt",
        )

    @cached_property
    def picture_processor(self) -> Any:
        """The model's own preparation of pictures."""
        from transformers import AutoImageProcessor

        return AutoImageProcessor.from_pretrained(
            self.checkpoint.folder, local_files_only=True, trust_remote_code=False
        )

    @property
    def picture_size(self) -> tuple[int, int]:
        """(height, width) of the pictures that it looks at."""
        wanted = getattr(self.picture_processor, "crop_size", None) or self.picture_processor.size
        return int(wanted["height"]), int(wanted["width"])

    @property
    def _is_siglip(self) -> bool:
        return bool(self.checkpoint.config.model_type == "siglip")


class ClipPictureEncoder:
    """Pictures to the space of a CLIP-like model; satisfies `PictureEncoder`."""

    def __init__(self, network: ClipNetwork) -> None:
        self._network = network

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures that the network looks at."""
        return self._network.picture_size

    def encode(self, pictures: Sequence[Picture]) -> Vectors:
        """Return (n, dim) float32 of length one for `size` RGB pictures."""
        return in_batches(self._encode, pictures, self._network.dim)

    def _encode(self, pictures: Sequence[Picture]) -> Vectors:
        model = self._network.model
        prepared = pixels(pictures, self._network.picture_processor, model.device, model.dtype)
        return pooled(model.get_image_features(pixel_values=prepared))
