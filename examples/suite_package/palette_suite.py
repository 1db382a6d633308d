"""A suite in one file: images are encoded by their colour shares, texts by the colours that they name.

A suite needs two encoders and a description. The encoders have the methods of `TextEncoder` and `ImageEncoder` of
`var_plugin.encoders.base`. Videos are encoded frame by frame. A suite on a network of your own looks the same: load
the weights at the first `encode`, and change the fingerprint whenever a vector could change.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import ImageColor

from var_plugin.config import ModelOptions
from var_plugin.encoders.base import ImageArray, ScoreStatistics, Space, Vectors, l2_normalize
from var_plugin.encoders.suite import SpaceEncoders, SuiteDescription

COLOURS = ("black", "white", "gray", "red", "orange", "yellow", "green", "blue", "purple", "brown", "pink")
RGB = np.array([ImageColor.getrgb(name) for name in COLOURS], np.float32)

DESCRIPTION = SuiteDescription(
    name="palette",
    summary="an example: finds footage by the names of its colours",
    spaces={"scene": ("text", "image", "video")},
    code_licence="Apache-2.0",
    weights_licence="none",
    revision="1",
    megabytes=0,
    languages=("en",),
    needs_network=False,
    build="palette_suite:build",
)


class ColourNames:
    """Encodes texts by the names of colours in them."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        # A text without a colour is equally similar to everything.
        return l2_normalize(np.array([[name in text.lower().split() for name in COLOURS] for text in texts]) + 0.01)


class ColourShares:
    """Encodes images by the share of each colour."""

    size = (24, 32)

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        return l2_normalize(np.array([self._shares(image) for image in images]).reshape(-1, len(COLOURS)))

    def _shares(self, image: ImageArray) -> Vectors:
        distances = np.linalg.norm(image.reshape(-1, 1, 3).astype(np.float32) - RGB, axis=2)
        return np.bincount(distances.argmin(axis=1), minlength=len(COLOURS)) / len(distances)


def build(options: ModelOptions) -> dict[str, SpaceEncoders]:
    """Return the encoders of each space."""
    space = Space("scene", len(COLOURS), "IP", frozenset(("text", "image", "video")), fingerprint="palette-1")
    return {
        "scene": SpaceEncoders(
            space,
            text=ColourNames(),
            image=ColourShares(),
            # Optional: how similar a query is to footage that has nothing to do with it. Else an index measures it.
            score_statistics={"text": ScoreStatistics(mean=0.1, std=0.2)},
        )
    }
