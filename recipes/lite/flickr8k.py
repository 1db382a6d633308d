"""Read Flickr8k (Hodosh, Young and Hockenmaier 2013), images with five captions each, and split it into parts."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from var_plugin.encoders.base import ImageArray
from var_plugin.errors import MediaNotFoundError

Part = Literal["train", "validation", "test"]

CAPTIONS = 5
_HELD_OUT = 1000  # images in each of validation and test


@dataclass(frozen=True)
class CaptionedImages:
    """Images and their captions, five per image, in the same order."""

    paths: tuple[Path, ...]
    captions: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __add__(self, other: CaptionedImages) -> CaptionedImages:
        return CaptionedImages(self.paths + other.paths, self.captions + other.captions)


def read_flickr8k(folder: Path) -> dict[Part, CaptionedImages]:
    """Read `captions.csv` (columns image, caption) and split by image.

    Images are sorted by the hash of their file names. The first 1,000 are the test part, the next 1,000 the validation
    part, the rest the training part.

    Raises:
        MediaNotFoundError: the folder has no `captions.csv`.
    """
    table = folder / "captions.csv"
    if not table.is_file():
        raise MediaNotFoundError(
            f"no {table}", why="the folder does not contain Flickr8k", fix="see recipes/lite/README.md"
        )
    captions: dict[str, list[str]] = defaultdict(list)
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            captions[row["image"]].append(row["caption"])
    names = sorted(captions, key=lambda name: hashlib.sha256(name.encode()).hexdigest())

    def part(members: Sequence[str]) -> CaptionedImages:
        return CaptionedImages(
            tuple(folder / "images" / name for name in members),
            tuple(tuple(captions[name][:CAPTIONS]) for name in members),
        )

    return {
        "test": part(names[:_HELD_OUT]),
        "validation": part(names[_HELD_OUT : 2 * _HELD_OUT]),
        "train": part(names[2 * _HELD_OUT :]),
    }


def read_image(path: Path) -> ImageArray:
    """Return (height, width, 3) uint8 RGB."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def random_view(image: ImageArray, random: np.random.Generator) -> ImageArray:
    """Return the image randomly cropped, mirrored and changed in brightness and colour, at its own size.

    More is cropped from the height than from the width: camera frames of 16:9 are squeezed into a square, so objects in
    them are narrower than in Flickr8k.
    """
    height, width = image.shape[:2]
    crop_height, crop_width = random.uniform(0.7, 1) * height, random.uniform(0.8, 1) * width
    top, left = random.uniform(0, height - crop_height), random.uniform(0, width - crop_width)
    box = (left, top, left + crop_width, top + crop_height)
    crop = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box), np.float32)
    light = random.uniform(0.7, 1.3) * random.uniform(0.95, 1.05, 3)
    view = np.clip(crop * light, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(view[:, ::-1]) if random.random() < 0.5 else view
