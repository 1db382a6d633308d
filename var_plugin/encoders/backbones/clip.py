"""CLIP, SigLIP and SigLIP 2 through transformers: text and images in one space.

Images are scaled to the input size of the network and not cropped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from var_plugin.encoders.base import ImageArray, Space, Vectors, in_batches, l2_normalize
from var_plugin.encoders.hub import Checkpoint, to_device
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.errors import UnknownSuiteError

if TYPE_CHECKING:
    import torch


def preprocess_images(
    images: Sequence[ImageArray], processor: Any, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Rescale and normalise images on a device.

    Args:
        images: (height, width, 3) uint8 RGB each, of the input size of the network. They are not resized or cropped,
            even if the processor of the model does so.
        processor: the image processor of the model, for its parameters.
        device: device of the network.
        dtype: dtype of the network.

    Returns:
        (n, 3, height, width).
    """
    import torch

    pixels = to_device(torch.from_numpy(np.stack(images)), device, torch.float32).permute(0, 3, 1, 2)
    if processor.do_rescale:
        pixels = pixels * processor.rescale_factor
    if processor.do_normalize:
        mean, std = torch.tensor((processor.image_mean, processor.image_std), device=device)[..., None, None]
        pixels = (pixels - mean) / std
    return pixels.to(dtype)


class DualEncoder(ABC):
    """A network with two towers and its preprocessors. Each part is loaded on first use."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension of the embeddings."""

    @abstractmethod
    def tokens(self, texts: Sequence[str]) -> Any:
        """Return the inputs of the text tower, tokenised as in training."""

    @cached_property
    def model(self) -> Any:
        """The network."""
        return self.checkpoint.model()

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the model."""
        return self.checkpoint.tokenizer()


class DualEncoderText:
    """Encode text into the space of a dual encoder; a `TextEncoder`."""

    def __init__(self, network: DualEncoder) -> None:
        self._network = network

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32, L2-normalised."""
        return in_batches(self._encode, texts, self._network.dim)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        model = self._network.model
        return normalized_output(model.get_text_features(**self._network.tokens(texts).to(model.device)))


def normalized_output(output: Any) -> Vectors:
    """Return the projected output of a tower, (n, dim) float32, L2-normalised."""
    return l2_normalize(output.pooler_output.float().numpy(force=True))


# SigLIP 2 models with a fixed input size have the architecture of SigLIP. Those of type `siglip2` have no fixed size.
_MODEL_TYPES = ("clip", "siglip")


def scene_space(checkpoint: Checkpoint) -> SpaceEncoders:
    """Return the space of a CLIP-like model. The network is loaded on first use.

    Raises:
        MissingWeightsError: see `Checkpoint.folder`.
        UnknownSuiteError: the model has another type.
    """
    require_model_type(checkpoint, _MODEL_TYPES, "only CLIP and SigLIP models of one input size are supported here")
    network = ClipNetwork(checkpoint)
    space = Space("scene", network.dim, "IP", frozenset(("text", "image", "video")), checkpoint.fingerprint)
    return SpaceEncoders(space, text=DualEncoderText(network), image=ClipImageEncoder(network))


def require_model_type(checkpoint: Checkpoint, model_types: Sequence[str], why: str) -> None:
    """Raise `UnknownSuiteError` unless a model has one of the types."""
    model_type = checkpoint.config.model_type
    if model_type not in model_types:
        raise UnknownSuiteError(
            f"the suite cannot use the model {checkpoint.name} of type '{model_type}'",
            why=why,
            fix="try sentence-transformers:NAME, or choose another model",
        )


class ClipNetwork(DualEncoder):
    """A text tower and an image tower."""

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        config = self.checkpoint.config
        return int(config.text_config.projection_size if self._is_siglip else config.projection_dim)

    def tokens(self, texts: Sequence[str]) -> Any:
        """Return token ids, tokenised as in training. SigLIP was trained on text padded to a fixed length."""
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
        """The image processor of the model."""
        return self.checkpoint.processor("AutoImageProcessor")

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the input images."""
        size = getattr(self.image_processor, "crop_size", None) or self.image_processor.size
        return int(size["height"]), int(size["width"])

    @property
    def _is_siglip(self) -> bool:
        return bool(self.checkpoint.config.model_type == "siglip")


class ClipImageEncoder:
    """Encode images into the space of a CLIP-like model; an `ImageEncoder`."""

    def __init__(self, network: ClipNetwork) -> None:
        self._network = network

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input images."""
        return self._network.image_size

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32, L2-normalised, for RGB images of the input size."""
        return in_batches(self._encode, images, self._network.dim)

    def _encode(self, images: Sequence[ImageArray]) -> Vectors:
        model = self._network.model
        pixels = preprocess_images(images, self._network.image_processor, model.device, model.dtype)
        return normalized_output(model.get_image_features(pixel_values=pixels))
