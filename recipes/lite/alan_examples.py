"""Compute the features that the lite ALAN is trained on: fights, ordinary life, static scenes, moving cameras, cuts."""

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
from var_plugin.config import settings
from var_plugin.encoders.backbones.motion import SIDE, MotionBackbone
from var_plugin.encoders.base import ImageArray, Vectors
from var_plugin.encoders.lite.image_text import LiteImageEncoder
from var_plugin.media.frames import FrameReader

RATE = 4
"""Samples per second of the clips: twice the rate of indexing, so that there are two phases."""

_IMAGES, _CUTS = 400, 500


@dataclass(frozen=True)
class Samples:
    """n samples, in temporal order if they belong to one clip.

    Attributes:
        objects: (n, d), vectors of the images in the `scene` space.
        motion: (n, 5120), features of `MotionBackbone`, or a mapping of them.
    """

    objects: Vectors
    motion: Vectors

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Samples:
        return Samples(self.objects[rows], self.motion[rows])


@dataclass(frozen=True)
class Examples:
    """The training examples.

    Attributes:
        clips: the clips of cctv_fights.
        samples: the samples of each clip, `RATE` per second.
        still, camera, cuts: samples of static scenes, of moving cameras and of cuts.
        cut_between: (cuts, 2), indices of the clips before and after each cut.
    """

    clips: tuple[FightClip, ...]
    samples: tuple[Samples, ...]
    still: Samples
    camera: Samples
    cuts: Samples
    cut_between: NDArray[np.int64]


def read_examples(fights: Path, flickr8k: Path, encoder: LiteImageEncoder) -> Examples:
    """Decode and embed the examples, which takes minutes. The images are from the training part of Flickr8k."""
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
    """Return the features of the examples from `file`; compute and store them if it does not exist."""
    if not file.exists():
        examples = read_examples(fights, flickr8k, encoder)
        parts = {"still": examples.still, "camera": examples.camera, "cuts": examples.cuts}
        parts |= {f"clip{number}": samples for number, samples in enumerate(examples.samples)}
        arrays = {f"{name}.objects": part.objects for name, part in parts.items()}
        arrays |= {f"{name}.motion": part.motion for name, part in parts.items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, cut_between=examples.cut_between, **arrays)  # type: ignore[arg-type]
    clips = read_cctv_fights(fights)
    with np.load(file) as arrays:

        def part(name: str) -> Samples:
            return Samples(arrays[f"{name}.objects"], arrays[f"{name}.motion"])

        return Examples(
            clips=tuple(clips),
            samples=tuple(part(f"clip{number}") for number in range(len(clips))),
            still=part("still"), camera=part("camera"), cuts=part("cuts"), cut_between=arrays["cut_between"],
        )  # fmt: skip


class _Reader:
    def __init__(self, encoder: LiteImageEncoder) -> None:
        self._encoder, self._motion = encoder, MotionBackbone(settings().cache)

    def __call__(self, images: Sequence[ImageArray], motions: Sequence[ImageArray]) -> Samples:
        sized = [_resized(image, self._encoder.size) for image in images]
        return Samples(self._encoder.encode(sized), self._motion.features(motions))


def _resized(image: ImageArray, size: tuple[int, int]) -> ImageArray:
    from PIL import Image

    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))
