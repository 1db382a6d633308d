"""Image and text encoders of the lite suite's `scene` space: EfficientNet-Lite0 and MiniLM, on a CPU, offline.

A vector concatenates a learned part, trained on captioned images, and a ConSE part (Norouzi et al. 2014) that needs no
training. The inner product is therefore a weighted sum of two cosines. The text sets the weights. `lite.video` adds
motion to this space and `lite.build` assembles the suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones import minilm
from var_plugin.encoders.backbones.efficientnet_lite import OUTPUTS, SIZE, WEIGHTS_SHA256, EfficientNetLite
from var_plugin.encoders.base import ImageArray, Vectors, in_batches, l2_normalize
from var_plugin.encoders.weights import LITE, WeightFolder

if TYPE_CHECKING:
    from torch import Tensor

    from var_plugin.encoders.lite.networks import ConSEHead, TokenTower


class LiteImageEncoder:
    """Encode images into the `scene` space; an `ImageEncoder`.

    Args:
        folder: folder with the weights. They load at the first `encode`.
        cache: folder for derived files; the graph of the backbone is stored there.
    """

    size = (SIZE, SIZE)

    def __init__(self, folder: Path, cache: Path) -> None:
        self._weights, self._cache = LiteWeights(folder), cache

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return L2-normalised vectors (n, dim) float32 of (224, 224, 3) uint8 RGB images.

        Raises:
            InvalidInputError: an image has another shape or type.
            MissingWeightsError: a weight file is missing or does not have the pinned sha256.
        """
        return in_batches(self._encode, images, self._weights.configuration["dim"])

    def _encode(self, images: Sequence[ImageArray]) -> Vectors:
        return self.encode_with_maps(images)[0]

    def encode_with_maps(self, images: Sequence[ImageArray]) -> tuple[Vectors, NDArray[np.float32]]:
        """Return the vectors (n, dim) of one batch and the feature maps (n, 1280, 7, 7) they are computed from.

        Raises:
            As `encode`.
        """
        import torch

        features, logits = self._backbone.features(images, ["features", "logits"])
        with torch.inference_mode():
            tokens = torch.from_numpy(features).flatten(2).transpose(1, 2)
            general = self._weights.general.image(torch.from_numpy(logits))
            share = torch.tensor(self._weights.configuration["general_share"]["image"])
            return _concatenate(self._tower(tokens), general, share), features

    @cached_property
    def _backbone(self) -> EfficientNetLite:
        deltas = {name: delta.numpy() for name, delta in self._weights.deltas("top").items()}
        return EfficientNetLite(self._cache, deltas=deltas)

    @cached_property
    def _tower(self) -> TokenTower:
        return self._weights.tower("picture_tower", OUTPUTS["features"][0])


class LiteTextEncoder:
    """Encode texts into the `scene` space; a `TextEncoder`.

    Args:
        folder: folder with the weights. They load at the first `encode`.
    """

    def __init__(self, folder: Path = LITE) -> None:
        self._weights = LiteWeights(folder)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return L2-normalised vectors (n, dim) float32.

        Raises:
            MissingWeightsError: a weight file is missing.
        """
        return in_batches(lambda batch: self.read(batch)[0], texts, self._weights.configuration["dim"])

    def read(self, texts: Sequence[str]) -> tuple[Vectors, Tensor]:
        """Return the vectors (n, dim) of one batch and its sentence vectors (n, 384) of the original MiniLM."""
        trunk, mask = self.backbone.trunk(texts)
        learned = self._tower(self.backbone.tuned(trunk, mask), mask)
        sentences = self.backbone.sentence(trunk, mask)
        general = self._weights.general
        low, high = self._weights.configuration["general_share"]["text"]
        share = low + (high - low) * general.out_of_distribution_score(sentences)[:, None]
        return _concatenate(learned, general.text(sentences), share), sentences

    @cached_property
    def backbone(self) -> minilm.MiniLM:
        """The sentence network, which other spaces can share."""
        return minilm.MiniLM(deltas=self._weights.deltas("layers"))

    @cached_property
    def _tower(self) -> TokenTower:
        return self._weights.tower("text_tower", minilm.WIDTH)


class LiteWeights(WeightFolder):
    """A folder with `scene.safetensors` and `scene.json`, read on first use.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path = LITE) -> None:
        super().__init__(folder, "scene", depends_on=f"{WEIGHTS_SHA256} {minilm.PACKAGE}")

    def tower(self, name: str, width: int) -> TokenTower:
        """Return the tower of that name with its weights, in evaluation mode. Its tokens have the dimension `width`."""
        from var_plugin.encoders.lite.networks import TokenTower

        tower = TokenTower(width, **self.configuration["tower"])
        tower.load_state_dict(self.part(name))
        return tower.eval()

    def deltas(self, name: str) -> dict[str, Tensor]:
        """Return the low-rank weight updates of a backbone, by layer."""
        from var_plugin.encoders.lite.networks import low_rank_delta

        factors = self.part(name)
        layers = [key.removesuffix(".up") for key in factors if key.endswith(".up")]
        return {layer: low_rank_delta(factors[f"{layer}.up"], factors[f"{layer}.down"]) for layer in layers}

    @cached_property
    def general(self) -> ConSEHead:
        """The untrained part of both encoders."""
        from var_plugin.encoders.lite.networks import ConSEHead

        return ConSEHead(self.part("general"))


def _concatenate(learned: Tensor, general: Tensor, share: Tensor) -> Vectors:
    """Concatenate two unit vectors; `share` is the share of the ConSE part in the squared norm."""
    return l2_normalize(np.hstack([((1 - share).sqrt() * learned).numpy(), (share.sqrt() * general).numpy()]))
