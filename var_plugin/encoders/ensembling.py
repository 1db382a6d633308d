"""Zero-shot ensembling: several prompts per text and several crops per image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from var_plugin.encoders.base import ImageArray, ImageEncoder, TextEncoder, Vectors, l2_normalize

CropCount = Literal[1, 5, 10]
"""1: the centre crop. 5: the four corners and the centre. 10: those and their mirror images."""

# Ratio of image size to crop size: 256 / 224 pixels, as in AlexNet's ten crops and in the features of UCF-Crime.
_MARGIN = 8 / 7


class PromptedText:
    """Encode every text with several prompts and mean-pool the vectors; a `TextEncoder`.

    Args:
        text: encodes the prompts.
        prompts: templates with `{}` in place of the text, such as "a photo of {}."; at least one.
    """

    def __init__(self, text: TextEncoder, prompts: Sequence[str]) -> None:
        self._text, self._prompts = text, tuple(prompts)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return L2-normalised vectors (n, dim) float32."""
        worded = [prompt.replace("{}", text) for text in texts for prompt in self._prompts]
        return _means(self._text.encode(worded), len(self._prompts))


class CroppedImages:
    """Encode crops of every image and mean-pool the vectors; an `ImageEncoder`.

    Args:
        images: encodes the crops.
        crops: number of crops per image.
    """

    def __init__(self, images: ImageEncoder, crops: CropCount) -> None:
        self._images, self._crops = images, crops

    @property
    def size(self) -> tuple[int, int]:
        """Size (height, width) of the whole images in pixels, 8/7 of the crop size."""
        height, width = self._images.size
        return round(height * _MARGIN), round(width * _MARGIN)

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return L2-normalised vectors (n, dim) float32 for RGB images of `size`."""
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
