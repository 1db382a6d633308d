"""What the lite ALAN learns from, as features: fights and ordinary life, still scenes, moving cameras, cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from recipes.lite.cctv_fights import FightClip, read_cctv_fights
from recipes.lite.flickr8k import read_flickr8k, read_image
from recipes.lite.synthetic_motion import cut, moving_camera, still
from var_plugin.encoders.backbones.motion import SIDE, MotionBackbone
from var_plugin.encoders.base import ImageArray, Vectors
from var_plugin.encoders.lite.image_text import LiteImageEncoder
from var_plugin.media.frames import FrameReader

RATE = 4
"""Samples per second of the clips: twice what is looked at when footage is indexed, so with two phases."""

_IMAGES, _CUTS = 400, 500


@dataclass(frozen=True)
class Samples:
    """n moments, in order of time where they belong to one clip."""

    objects: Vectors
    """(n, d) vectors of the images in the `scene` space."""
    motion: Vectors
    """(n, 5120) features of `MotionBackbone`, or what was made of them."""

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Samples:
        return Samples(self.objects[rows], self.motion[rows])


@dataclass(frozen=True)
class Examples:
    """Everything to learn from."""

    clips: tuple[FightClip, ...]
    samples: tuple[Samples, ...]
    """Of each clip, `RATE` a second."""
    still: Samples
    camera: Samples
    cuts: Samples
    cut_between: NDArray[np.int64]
    """(cuts, 2) indices of the clips before and after."""


def read_examples(fights: Path, flickr8k: Path, encoder: LiteImageEncoder) -> Examples:
    """Decode and embed; takes some minutes. Images come from the training part of Flickr8k."""
    reader = _Reader(encoder)
    clips = read_cctv_fights(fights)
    samples, edges = [], []
    for clip in tqdm(clips, desc="clips"):
        frames = list(FrameReader(clip.path, rate=RATE, size=encoder.size, motion=SIDE))
        samples.append(reader([f.image for f in frames], [f.motion for f in frames if f.motion is not None]))
        edges.append((frames[0].image, frames[-1].image))
    random = np.random.default_rng(0)
    images = [read_image(path) for path in read_flickr8k(flickr8k)["train"].paths[:_IMAGES]]
    scenes = [*images, *(first for first, _ in edges)]
    between = random.integers(0, len(clips), (_CUTS, 2))
    return Examples(
        clips=tuple(clips),
        samples=tuple(samples),
        still=reader(scenes, [still(image, SIDE, random) for image in scenes]),
        camera=reader(scenes, [moving_camera(image, SIDE, random) for image in scenes]),
        cuts=reader(
            [edges[before][1] for before, _ in between],
            [cut(edges[before][1], edges[after][0], SIDE, random) for before, after in between],
        ),
        cut_between=between,
    )


def cached_examples(fights: Path, flickr8k: Path, encoder: LiteImageEncoder, file: Path) -> Examples:
    """Read the examples' features from `file` if it is there, else compute and keep them."""
    if not file.exists():
        examples = read_examples(fights, flickr8k, encoder)
        parts = {"still": examples.still, "camera": examples.camera, "cuts": examples.cuts}
        parts |= {f"clip{number}": samples for number, samples in enumerate(examples.samples)}
        arrays = {f"{name}.objects": part.objects for name, part in parts.items()}
        arrays |= {f"{name}.motion": part.motion for name, part in parts.items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, cut_between=examples.cut_between, **arrays)  # type: ignore[arg-type]
    clips = read_cctv_fights(fights)
    with np.load(file) as kept:

        def part(name: str) -> Samples:
            return Samples(kept[f"{name}.objects"], kept[f"{name}.motion"])

        return Examples(
            clips=tuple(clips),
            samples=tuple(part(f"clip{number}") for number in range(len(clips))),
            still=part("still"), camera=part("camera"), cuts=part("cuts"), cut_between=kept["cut_between"],
        )  # fmt: skip


class _Reader:
    def __init__(self, encoder: LiteImageEncoder) -> None:
        self._encoder, self._motion = encoder, MotionBackbone()

    def __call__(self, images: Sequence[ImageArray], motions: Sequence[ImageArray]) -> Samples:
        sized = [_resized(image, self._encoder.size) for image in images]
        return Samples(self._encoder.encode(sized), self._motion.features(motions))


def _resized(image: ImageArray, size: tuple[int, int]) -> ImageArray:
    from PIL import Image

    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))
