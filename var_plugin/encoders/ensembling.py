"""Zero-shot ensembling around a model: several prompts per text, several crops per image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from var_plugin.encoders.base import ImageArray, ImageEncoder, TextEncoder, Vectors, l2_normalize

CropCount = Literal[1, 5, 10]
"""The centre; the four corners and the centre; those and their mirror images."""

# Crops of 224 pixels out of 256: so the ten crops have been cut since AlexNet, and the features of UCF-Crime were.
_MARGIN = 8 / 7


class PromptedText:
    """Encode every text with several prompts and mean-pool the vectors; a `TextEncoder`.

    Args:
        text: what reads one wording.
        prompts: wordings with `{}` for the text, such as "a photo of {}."; at least one.
    """

    def __init__(self, text: TextEncoder, prompts: Sequence[str]) -> None:
        self._text, self._prompts = text, tuple(prompts)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 of length one."""
        worded = [prompt.replace("{}", text) for text in texts for prompt in self._prompts]
        return _means(self._text.encode(worded), len(self._prompts))


class CroppedImages:
    """Encode crops of every image and mean-pool the vectors; an `ImageEncoder`.

    Args:
        images: what looks at one crop.
        crops: how many.
    """

    def __init__(self, images: ImageEncoder, crops: CropCount) -> None:
        self._images, self._crops = images, crops

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the whole images: one seventh more than the crops."""
        height, width = self._images.size
        return round(height * _MARGIN), round(width * _MARGIN)

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32 of length one for `size` RGB images."""
        cropped = [crop for image in images for crop in self._cut(image)]
        return _means(self._images.encode(cropped), self._crops)

    def _cut(self, image: ImageArray) -> Iterator[ImageArray]:
        height, width = self._images.size
        bottom, right = image.shape[0] - height, image.shape[1] - width
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)] if self._crops > 1 else []
        for top, left in [(bottom // 2, right // 2), *corners]:
            crop = image[top : top + height, left : left + width]
            yield np.ascontiguousarray(crop)
            if self._crops == 10:
                yield np.ascontiguousarray(crop[:, ::-1])


def _means(vectors: Vectors, each: int) -> Vectors:
    return l2_normalize(vectors.reshape(-1, each, vectors.shape[-1]).mean(axis=1))
