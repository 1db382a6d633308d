"""Labelled images and frames for the event heads, and their features.

The collections are those of the folder DATA of `python -m recipes.lite.events`. Every item has the label of its
collection, and the source (scene, film, recording) by which the data are split.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from recipes.lite.cctv_fights import read_cctv_fights
from recipes.lite.flickr8k import read_flickr8k, read_image
from var_plugin.encoders.base import ImageArray, NoDetectorMixin
from var_plugin.encoders.clip_features import PerFrameMixin, embed_clips
from var_plugin.encoders.lite.events import pool_maps
from var_plugin.encoders.lite.image_text import LiteImageEncoder
from var_plugin.errors import MediaNotFoundError
from var_plugin.media.decoded import Frame

NORMAL = "normal"
FPS = 2.0
_IMAGES = ("accident_cctv", "fire_cctv", "fire_pictures", "weapon_cctv", "fall_pictures")
_ACCIDENT_FPS = 6.0
_PHOTOGRAPHS = 1_500
_ALREADY_GREY = "weapon_cctv"

Colour = Literal["colour", "grey"]


class Item(NamedTuple):
    """A labelled image or frame."""

    collection: str
    label: str
    source: str
    colour: Colour


@dataclass(frozen=True)
class Items:
    """n items with their features, as columns."""

    collections: NDArray[np.str_]
    labels: NDArray[np.str_]
    sources: NDArray[np.str_]
    colours: NDArray[np.str_]
    features: NDArray[np.float32]
    """(n, 2560), from `pool_maps`."""

    def __len__(self) -> int:
        return len(self.labels)

    def half(self, part: str) -> Items:
        """Return the items whose sources belong to a half."""
        rows = np.array([part_of(source) == part for source in self.sources])
        return Items(*(getattr(self, column.name)[rows] for column in fields(self)))


class PooledFrames(PerFrameMixin, NoDetectorMixin):
    """Encode frames as pooled feature maps.

    Args:
        images: the image encoder.
        colour: "grey" removes the colour of the frames.
    """

    def __init__(self, images: LiteImageEncoder, colour: Colour) -> None:
        self._images, self._colour = images, colour
        self.size = images.size

    def encode(self, frames: Sequence[Frame]) -> NDArray[np.float32]:
        """Return features (n, 2560)."""
        return self.pool([frame.image for frame in frames])

    def pool(self, images: Sequence[ImageArray]) -> NDArray[np.float32]:
        """Return features (n, 2560) of images (224, 224, 3)."""
        if self._colour == "grey":
            images = [make_grey(image) for image in images]
        return pool_maps(self._images.encode_with_maps(images)[1])


def make_grey(image: ImageArray) -> ImageArray:
    """Return an image without colour, (height, width, 3)."""
    return np.asarray(ImageOps.grayscale(Image.fromarray(image)).convert("RGB"))


def part_of(source: str) -> Literal["validation", "test"]:
    """Return the half to which a scene or source belongs. Its name includes the collection: `accident_cctv/test4`."""
    return ("validation", "test")[hashlib.sha256(source.encode()).digest()[-1] % 2]


def read_items(data: Path, images: LiteImageEncoder, cache: Path) -> Items:
    """Return all items in colour, and in grey if they have a colour.

    Args:
        data: folder of the collections.
        images: the image encoder.
        cache: file for the result. If it exists, it is read instead.

    Raises:
        MediaNotFoundError: a collection is missing.
    """
    if not cache.exists():
        items: list[Item] = []
        features: list[NDArray[np.float32]] = []
        for colour in ("colour", "grey"):
            encoder = PooledFrames(images, colour)
            for item, rows in (*_images(data, encoder, colour), *_videos(data, encoder, colour)):
                items.append(item)
                features.append(rows)
        columns = np.array(items)
        np.savez(cache, items=columns, features=np.stack(features).astype(np.float16))
    with np.load(cache) as stored:
        collections, labels, sources, colours = stored["items"].T
        return Items(collections, labels, sources, colours, stored["features"].astype(np.float32))


def _images(data: Path, encoder: PooledFrames, colour: Colour) -> Iterator[tuple[Item, NDArray[np.float32]]]:
    """Yield the labelled images, and photographs without events."""
    for name in _IMAGES:
        if colour == "grey" and name == _ALREADY_GREY:
            continue
        for row in _rows(data / name / "index.csv"):
            image = Image.open(data / name / row["file"]).convert("RGB")
            image = image.resize(encoder.size[::-1], Image.Resampling.BICUBIC)
            label = NORMAL if row["label"] in ("none", "person") else row["label"]
            shade: Colour = "grey" if name == _ALREADY_GREY else colour
            yield Item(name, label, f"{name}/{row['source']}", shade), encoder.pool([np.asarray(image)])[0]
    for path in read_flickr8k(data / "flickr8k")["train"].paths[:_PHOTOGRAPHS]:
        yield Item("flickr8k", NORMAL, f"flickr8k/{path.name}", colour), encoder.pool([read_image(path)])[0]


def _videos(data: Path, encoder: PooledFrames, colour: Colour) -> Iterator[tuple[Item, NDArray[np.float32]]]:
    """Yield frames of the videos."""

    def frames(
        name: str, source: str, file: Path, label: Callable[[float, float], str]
    ) -> Iterator[tuple[Item, NDArray[np.float32]]]:
        clips = embed_clips(file, encoder, fps=FPS)
        for start, end, features in zip(clips.times, [*clips.times[1:], clips.end], clips.vectors, strict=True):
            yield Item(name, label(start, end), f"{name}/{source}", colour), features

    for row in _rows(data / "accident_cctv" / "clips.csv"):
        yield from frames(
            "accident_cctv",
            row["scene"],
            data / "accident_cctv" / row["file"],
            accident_label(row["accident_per_frame"]),
        )
    for row in _rows(data / "fall_clips" / "index.csv"):
        file = data / "fall_clips" / row["file"]
        yield from frames("fall_clips", row["scene"], file, fall_label(row["authors_note"]))
    for row in _rows(data / "normal_clips" / "index.csv"):
        yield from frames("normal_clips", row["source"], data / "normal_clips" / row["file"], lambda *_: NORMAL)
    for clip in read_cctv_fights(data / "cctv_fights"):
        label = "fight" if clip.fight else NORMAL
        yield from frames("cctv_fights", clip.source, clip.path, lambda *_, label=label: label)


def accident_label(per_frame: str) -> Callable[[float, float], str]:
    """Return a function that labels a span in seconds by the majority of its frames, given as "0" and "1"."""

    def label(start: float, end: float) -> str:
        first = int(start * _ACCIDENT_FPS)
        frames = per_frame[first : max(first + 1, round(end * _ACCIDENT_FPS))]
        return "accident" if 2 * frames.count("1") >= max(1, len(frames)) else NORMAL

    return label


def fall_label(note: str) -> Callable[[float, float], str]:
    """Return a function that labels a span in seconds, from the times in a note such as "Falling (BW)[0.4 to 4]"."""
    spans = [(float(a), float(b)) for a, b in re.findall(r"[Ff]all\w*[^\[;]*\[([\d.]+) to ([\d.]+)\]", note)]

    def label(start: float, end: float) -> str:
        return "fall" if any(start < last and end > first for first, last in spans) else NORMAL

    return label


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        raise MediaNotFoundError(
            f"no {table}", why=f"the folder does not contain {table.parent.name}", fix="see recipes/lite/README.md"
        )
    with table.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
