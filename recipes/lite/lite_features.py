"""Compute the outputs of the frozen trunks for Flickr8k once and cache them as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from recipes.lite.flickr8k import CAPTIONS, CaptionedImages, random_view, read_image
from var_plugin.config import settings
from var_plugin.encoders.backbones.efficientnet_lite import OUTPUTS, EfficientNetLite
from var_plugin.encoders.backbones.minilm import WIDTH, MiniLM

MAX_TOKENS = 32  # Flickr8k's captions have 14 on average; one in a thousand is truncated

_BATCH = 64


@dataclass(frozen=True)
class Features:
    """Arrays for `n` images, in their order.

    Attributes:
        trunk: (views, n, 192, 7, 7) float16; the first view is the unmodified image.
        logits: (views, n, 1000) float16, logits of the original backbone.
        states: (n, captions, 32, 384) float16.
        mask: (n, captions, 32) bool, true on tokens.
    """

    trunk: NDArray[np.float16]
    logits: NDArray[np.float16]
    states: NDArray[np.float16]
    mask: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.states)


def cached_features(data: CaptionedImages, *, views: int, folder: Path, name: str) -> Features:
    """Return the features of `data` with `views` views per image, computed once and cached in `folder`."""
    files = {array: folder / f"{name}-{views}-{array}.npy" for array in ("trunk", "logits", "states", "mask")}
    if not all(file.exists() for file in files.values()):
        folder.mkdir(parents=True, exist_ok=True)
        arrays = _image_features(data, views, name) | _text_features(data, name)
        for array, file in files.items():
            np.save(file, arrays[array])
    return Features(**{array: np.load(file) for array, file in files.items()})


def join(parts: Sequence[Features]) -> Features:
    """Concatenate the features of several parts."""
    return Features(
        trunk=np.concatenate([part.trunk for part in parts], axis=1),
        logits=np.concatenate([part.logits for part in parts], axis=1),
        states=np.concatenate([part.states for part in parts]),
        mask=np.concatenate([part.mask for part in parts]),
    )


def _image_features(data: CaptionedImages, views: int, name: str) -> dict[str, NDArray[Any]]:
    backbone = EfficientNetLite(settings().cache)
    trunk = np.empty((views, len(data), *OUTPUTS["trunk"]), np.float16)
    logits = np.empty((views, len(data), *OUTPUTS["logits"]), np.float16)
    for start in tqdm(range(0, len(data), _BATCH), desc=f"{name}: images"):
        rows = slice(start, min(start + _BATCH, len(data)))
        images = [read_image(path) for path in data.paths[rows]]
        for view in range(views):
            random = np.random.default_rng((start, view))
            views_of_batch = images if view == 0 else [random_view(image, random) for image in images]
            trunk[view, rows], logits[view, rows] = backbone.features(views_of_batch, ["trunk", "logits"])
    return {"trunk": trunk, "logits": logits}


def _text_features(data: CaptionedImages, name: str) -> dict[str, NDArray[Any]]:
    import torch

    model = MiniLM()
    captions = [caption for per_image in data.captions for caption in per_image]
    states = np.zeros((len(captions), MAX_TOKENS, WIDTH), np.float16)
    mask = np.zeros((len(captions), MAX_TOKENS), np.bool_)
    by_length = sorted(range(len(captions)), key=lambda caption: len(captions[caption]))  # less padding per batch
    with torch.inference_mode():
        for start in tqdm(range(0, len(captions), _BATCH), desc=f"{name}: captions"):
            rows = by_length[start : start + _BATCH]
            batch_states, batch_mask = model.trunk([captions[row] for row in rows])
            length = min(batch_states.shape[1], MAX_TOKENS)
            states[rows, :length] = batch_states[:, :length].numpy()
            mask[rows, :length] = batch_mask[:, :length].numpy()
    shape = (len(data), CAPTIONS, MAX_TOKENS)
    return {"states": states.reshape(*shape, WIDTH), "mask": mask.reshape(shape)}
