"""Stills of the lite suite: EfficientNet-Lite0 and MiniLM meet in one space, on a CPU, with no network.

`lite_alan` adds motion to it; `lite_suite` puts the suite together. A vector has a learned part, trained on captioned
pictures, and a general part (`lite_general`), so the inner product is a weighted sum of two cosines. The text decides
how much each counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from var_plugin.encoders.backbones import minilm
from var_plugin.encoders.backbones.efficientnet_lite import OUTPUTS, SIZE, WEIGHTS_SHA256, EfficientNetLite
from var_plugin.encoders.base import Picture, Vectors, unit
from var_plugin.encoders.weight_folder import LITE, WeightFolder, in_batches

if TYPE_CHECKING:
    from torch import Tensor

    from var_plugin.encoders.lite_general import GeneralPart
    from var_plugin.encoders.lite_towers import Tower


class LitePictureEncoder:
    """Pictures to the `scene` space; satisfies `PictureEncoder`."""

    size = (SIZE, SIZE)

    def __init__(self, folder: Path = LITE) -> None:
        """Remember where the weights are; they load at the first `encode`."""
        self._weights = LiteWeights(folder)

    def encode(self, pictures: Sequence[Picture]) -> Vectors:
        """Return (n, dim) float32 of length one for (224, 224, 3) uint8 RGB pictures.

        Raises:
            InvalidInputError: a picture has another shape or type.
            MissingWeightsError: weights are missing or are not the pinned ones.
        """
        return in_batches(self._encode, pictures, self._weights.configuration["dim"])

    def _encode(self, pictures: Sequence[Picture]) -> Vectors:
        import torch

        features, logits = self._backbone.features(pictures, ["features", "logits"])
        tokens = torch.from_numpy(features).flatten(2).transpose(1, 2)
        general = self._weights.general.picture(torch.from_numpy(logits))
        return _join(
            self._tower(tokens), general, torch.tensor(self._weights.configuration["general_share"]["picture"])
        )

    @cached_property
    def _backbone(self) -> EfficientNetLite:
        return EfficientNetLite(deltas={name: delta.numpy() for name, delta in self._weights.deltas("top").items()})

    @cached_property
    def _tower(self) -> Tower:
        return self._weights.tower("picture_tower", OUTPUTS["features"][0])


class LiteTextEncoder:
    """Sentences to the `scene` space; satisfies `TextEncoder`."""

    def __init__(self, folder: Path = LITE) -> None:
        """Remember where the weights are; they load at the first `encode`."""
        self._weights = LiteWeights(folder)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 of length one.

        Raises:
            MissingWeightsError: weights are missing.
        """
        return in_batches(lambda batch: self.read(batch)[0], texts, self._weights.configuration["dim"])

    def read(self, texts: Sequence[str]) -> tuple[Vectors, Tensor]:
        """Return the vectors of one batch, and the sentence vectors (n, 384) as MiniLM was published."""
        trunk, mask = self.backbone.trunk(texts)
        learned = self._tower(self.backbone.tuned(trunk, mask), mask)
        sentences = self.backbone.sentence(trunk, mask)
        general = self._weights.general
        low, high = self._weights.configuration["general_share"]["text"]
        share = low + (high - low) * general.strangeness(sentences)[:, None]
        return _join(learned, general.text(sentences), share), sentences

    @cached_property
    def backbone(self) -> minilm.MiniLM:
        """The network, which other spaces may share."""
        return minilm.MiniLM(deltas=self._weights.deltas("layers"))

    @cached_property
    def _tower(self) -> Tower:
        return self._weights.tower("text_tower", minilm.WIDTH)


class LiteWeights(WeightFolder):
    """A folder with `scene.safetensors` and `scene.json`, read when needed."""

    def __init__(self, folder: Path = LITE) -> None:
        """Remember the folder."""
        super().__init__(folder, "scene", stands_on=f"{WEIGHTS_SHA256} {minilm.PACKAGE}")

    def tower(self, name: str, width: int) -> Tower:
        """Return the tower of that name, ready for use."""
        from var_plugin.encoders.lite_towers import Tower

        tower = Tower(width, **self.configuration["tower"])
        tower.load_state_dict(self.part(name))
        return tower.eval()

    def deltas(self, name: str) -> dict[str, Tensor]:
        """Return the changes of a backbone's weights, by layer."""
        from var_plugin.encoders.lite_towers import low_rank_delta

        factors = self.part(name)
        layers = [key.removesuffix(".up") for key in factors if key.endswith(".up")]
        return {layer: low_rank_delta(factors[f"{layer}.up"], factors[f"{layer}.down"]) for layer in layers}

    @cached_property
    def general(self) -> GeneralPart:
        """The untrained part of both encoders."""
        from var_plugin.encoders.lite_general import GeneralPart

        return GeneralPart(self.part("general"))


def _join(learned: Tensor, general: Tensor, share: Tensor) -> Vectors:
    """Concatenate two unit vectors; `share` is that of the general part in the squared length."""
    return unit(np.hstack([((1 - share).sqrt() * learned).numpy(), (share.sqrt() * general).numpy()]))
