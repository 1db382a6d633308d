"""What published zero-shot protocols do around a model: several wordings of a text, several crops of a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from var_plugin.encoders.base import Picture, PictureEncoder, TextEncoder, Vectors, unit

CropCount = Literal[1, 5, 10]
"""The centre; the four corners and the centre; those and their mirror images."""

# Crops of 224 pixels out of 256: so the ten crops have been cut since AlexNet, and the features of UCF-Crime were.
_MARGIN = 8 / 7


class PromptedText:
    """Reads every text in several wordings and takes the mean direction; a `TextEncoder`.

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


class CroppedPictures:
    """Looks at crops of every picture and takes the mean direction; a `PictureEncoder`.

    Args:
        pictures: what looks at one crop.
        crops: how many.
    """

    def __init__(self, pictures: PictureEncoder, crops: CropCount) -> None:
        self._pictures, self._crops = pictures, crops

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the whole pictures: one seventh more than the crops."""
        height, width = self._pictures.size
        return round(height * _MARGIN), round(width * _MARGIN)

    def encode(self, pictures: Sequence[Picture]) -> Vectors:
        """Return (n, dim) float32 of length one for `size` RGB pictures."""
        cropped = [crop for picture in pictures for crop in self._cut(picture)]
        return _means(self._pictures.encode(cropped), self._crops)

    def _cut(self, picture: Picture) -> Iterator[Picture]:
        height, width = self._pictures.size
        bottom, right = picture.shape[0] - height, picture.shape[1] - width
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)] if self._crops > 1 else []
        for top, left in [(bottom // 2, right // 2), *corners]:
            crop = picture[top : top + height, left : left + width]
            yield np.ascontiguousarray(crop)
            if self._crops == 10:
                yield np.ascontiguousarray(crop[:, ::-1])


def _means(vectors: Vectors, each: int) -> Vectors:
    return unit(vectors.reshape(-1, each, vectors.shape[-1]).mean(axis=1))
