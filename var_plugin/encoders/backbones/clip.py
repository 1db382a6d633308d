"""CLIP, SigLIP and SigLIP 2 through transformers: sentences and images to one space.

An image or frame is looked at whole: it is scaled to the size of the network, not cropped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from var_plugin.encoders.base import ImageArray, Space, Vectors, l2_normalize
from var_plugin.encoders.hub import Checkpoint, moved
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.encoders.weights import in_batches
from var_plugin.errors import UnknownSuiteError

if TYPE_CHECKING:
    import torch


def pixels(images: Sequence[ImageArray], processor: Any, where: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return (n, 3, height, width) on a device.

    Args:
        images: (height, width, 3) uint8 RGB each, of the size that the network looks at. They are looked at whole:
            a preparation that scales to more than the network's size, and crops, is not followed in that.
        processor: the model's own preparation, which says how numbers follow from bytes.
        where: the device of the network.
        dtype: its data type.
    """
    import torch

    made = moved(torch.from_numpy(np.stack(images)), where, torch.float32).permute(0, 3, 1, 2)
    if processor.do_rescale:
        made = made * processor.rescale_factor
    if processor.do_normalize:
        mean, deviation = torch.tensor((processor.image_mean, processor.image_std), device=where)[..., None, None]
        made = (made - mean) / deviation
    return made.to(dtype)


class TwoTowers(ABC):
    """A network and what prepares its inputs; each part loads at its first use."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension of the vectors."""

    @abstractmethod
    def tokens(self, texts: Sequence[str]) -> Any:
        """Return token ids and what else the text tower takes, prepared as in training."""

    @cached_property
    def model(self) -> Any:
        """The network."""
        return self.checkpoint.model()

    @cached_property
    def tokenizer(self) -> Any:
        """The model's own tokenizer."""
        return self.checkpoint.tokenizer()


class TextTower:
    """Sentences to the space of a model; satisfies `TextEncoder`."""

    def __init__(self, network: TwoTowers) -> None:
        self._network = network

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 of length one."""
        return in_batches(self._encode, texts, self._network.dim)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        model = self._network.model
        return pooled(model.get_text_features(**self._network.tokens(texts).to(model.device)))


def pooled(output: Any) -> Vectors:
    """Return what a tower ends in, (n, dim) float32 of length one: the projected features, not a hidden state."""
    return l2_normalize(output.pooler_output.float().numpy(force=True))


# SigLIP 2 has the architecture of SigLIP, except for its models for images of any shape (`siglip2`).
_KINDS = ("clip", "siglip")


def scene_space(checkpoint: Checkpoint) -> SpaceEncoders:
    """Return the space of a CLIP-like model; its network loads at the first use.

    Raises:
        MissingWeightsError: as `Checkpoint.folder`.
        UnknownSuiteError: it is another kind of model.
    """
    require_kind(checkpoint, _KINDS, "CLIP and SigLIP models that look at images of one size are taken here")
    network = ClipNetwork(checkpoint)
    space = Space("scene", network.dim, "IP", frozenset(("text", "image", "video")), checkpoint.fingerprint)
    return SpaceEncoders(space, text=TextTower(network), image=ClipImageEncoder(network))


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
    """A tower for texts and one for images."""

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
    def image_processor(self) -> Any:
        """The model's own preparation of images."""
        from transformers import AutoImageProcessor

        return AutoImageProcessor.from_pretrained(
            self.checkpoint.folder, local_files_only=True, trust_remote_code=False
        )

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images that it looks at."""
        wanted = getattr(self.image_processor, "crop_size", None) or self.image_processor.size
        return int(wanted["height"]), int(wanted["width"])

    @property
    def _is_siglip(self) -> bool:
        return bool(self.checkpoint.config.model_type == "siglip")


class ClipImageEncoder:
    """Images to the space of a CLIP-like model; satisfies `ImageEncoder`."""

    def __init__(self, network: ClipNetwork) -> None:
        self._network = network

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images that the network looks at."""
        return self._network.image_size

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32 of length one for `size` RGB images."""
        return in_batches(self._encode, images, self._network.dim)

    def _encode(self, images: Sequence[ImageArray]) -> Vectors:
        model = self._network.model
        prepared = pixels(images, self._network.image_processor, model.device, model.dtype)
        return pooled(model.get_image_features(pixel_values=prepared))
