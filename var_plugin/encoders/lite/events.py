"""Event heads of the lite suite: logistic regressions on the feature maps of the image network, and on sentences.

The maps are computed for the vectors anyway, so the heads cost nothing. They hold more about small flames, smoke and
weapons than the vectors, which are trained on captions. `recipes.lite.events` trains the heads.

The last dimensions of a vector are its events, one dimension per kind: what the heads see in an image, or what a
sentence is about. A sentence about a fire therefore finds what the head for fire recognises.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from safetensors.numpy import load_file

from var_plugin.encoders.base import Vectors
from var_plugin.encoders.weights import LITE, WeightFolder

SMOOTHED_CLIPS = 3
"""Logits are smoothed over as many clips, so that a single frame raises no alarm."""
_SCENE_QUANTILE = 0.25


class EventHeads(WeightFolder):
    """A folder with `events.safetensors` and `events.json`, read on first use.

    Args:
        folder: the folder.
        depends_on: as for `WeightFolder`.
    """

    def __init__(self, folder: Path = LITE, *, depends_on: str = "") -> None:
        super().__init__(folder, "events", depends_on=depends_on)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of events, in the order of the logits."""
        return tuple(self.configuration["kinds"])

    def logits(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return calibrated logits (n, kinds) for feature maps (n, channels, height, width). 0 is the threshold."""
        return np.asarray(pool_maps(maps) @ self._parameters["heads.weight"].T + self._parameters["heads.bias"])

    def lower_scenes(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (n, kinds) of one video, without the part that belongs to its scene.

        Some heads also recognise scenes: a street corner may look like an accident all day. The lower quartile of the
        video is the logit of its scene. What it exceeds the logit of an ordinary scene by is subtracted.
        """
        lowered = logits.copy()
        for kind, ordinary in self.configuration["ordinary_scenes"].items():
            column = lowered[:, self.kinds.index(kind)]
            column -= max(0.0, float(np.quantile(column, _SCENE_QUANTILE)) - ordinary)
        return lowered

    @property
    def searched_kinds(self) -> tuple[str, ...]:
        """The kinds of the last dimensions of a vector."""
        return tuple(self.configuration["search"]["kinds"])

    def visible_events(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the events (n, searched kinds) of images, from their logits (n, kinds).

        0.5 for a clear event, near 0 for ordinary images. Always 0 for a kind whose images the heads do not tell apart
        well enough. A sentence about such a kind has small scores everywhere, so that no moment stands out.
        """
        options = self.configuration["search"]
        columns = [self.kinds.index(kind) for kind in self.searched_kinds]
        evidence = (logits[:, columns] - options["even_logit"]) / options["logit_scale"]
        events = options["image_length"] / (1 + np.exp(-evidence))
        events[:, [kind in options["text_only"] for kind in self.searched_kinds]] = 0
        return np.asarray(events, np.float32)

    def described_events(self, sentences: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the events (n, searched kinds) of texts, from their sentence vectors (n, 384). At most 0.85 long."""
        weight, bias = self._parameters["words.weight"], self._parameters["words.bias"]
        events = 1 / (1 + np.exp(-(sentences @ weight.T + bias)))
        length = np.linalg.norm(events, axis=1, keepdims=True)
        return np.asarray(self.configuration["search"]["text_length"] * events / np.maximum(length, 1), np.float32)

    @cached_property
    def _parameters(self) -> dict[str, NDArray[np.float32]]:
        """All tensors, read without torch: a search command does not import it."""
        return {name: value.astype(np.float32) for name, value in load_file(self.tensors).items()}


def append_events(vectors: Vectors, events: NDArray[np.float32]) -> Vectors:
    """Append events (n, kinds) to unit vectors (n, dim) so that their norm stays 1."""
    rest = np.sqrt(1 - np.square(events).sum(axis=1, keepdims=True))
    return np.asarray(np.hstack([rest * vectors, events]), np.float32)


def pool_maps(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return mean and maximum (n, 2 * channels) of feature maps (n, channels, height, width)."""
    return np.hstack([maps.mean(axis=(2, 3)), maps.max(axis=(2, 3))])


def smooth_logits(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits (n, ...) of consecutive clips, smoothed over time."""
    margins = [(SMOOTHED_CLIPS // 2, SMOOTHED_CLIPS // 2), *[(0, 0)] * (logits.ndim - 1)]
    windows = sliding_window_view(np.pad(logits, margins, "edge"), SMOOTHED_CLIPS, axis=0)
    return np.asarray(windows.mean(axis=-1))
