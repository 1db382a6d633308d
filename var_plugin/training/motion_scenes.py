"""Motion pictures of what a detector of events must not fall for: still scenes, moving cameras, cuts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from var_plugin.encoders.base import Picture
from var_plugin.media.motion import Grey, motion_picture

_PICTURES = 4  # in a motion picture


def still(picture: Picture, side: int, random: np.random.Generator) -> Picture:
    """Nothing moves; there may be the noise of a sensor, and light that flickers."""
    grey = _grey(picture, side)
    noise, flicker = random.uniform(0, 4), random.uniform(0, 2)
    return _motion([grey + random.normal(0, flicker) + random.normal(0, noise, grey.shape) for _ in range(_PICTURES)])


def moving_camera(picture: Picture, side: int, random: np.random.Generator) -> Picture:
    """The camera turns, zooms or shakes before a still scene."""
    image = Image.fromarray(picture).convert("L")
    shaking = random.random() < 0.3
    shift, zoom = random.uniform(-0.03, 0.03, 2), random.uniform(-0.03, 0.03) * (random.random() < 0.4)
    greys = []
    for step in range(_PICTURES):
        if shaking:
            shift = random.uniform(-0.02, 0.02, 2)
        scale = 0.7 * (1 + zoom * step)
        left, top = np.clip(0.15 + shift * step, 0, 1 - scale)
        box = (left * image.width, top * image.height, (left + scale) * image.width, (top + scale) * image.height)
        greys.append(np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box), np.float32))
    return _motion(greys)


def cut(before: Picture, after: Picture, side: int, random: np.random.Generator) -> Picture:
    """The film goes on with another scene."""
    first, second = _grey(before, side), _grey(after, side)
    switch = random.integers(1, _PICTURES)
    return _motion([first if step < switch else second for step in range(_PICTURES)])


def _grey(picture: Picture, side: int) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(picture).convert("L").resize((side, side), Image.Resampling.BILINEAR), np.float32)


def _motion(greys: Sequence[NDArray[np.floating]]) -> Picture:
    rounded: list[Grey] = [np.clip(np.rint(grey), 0, 255).astype(np.uint8) for grey in greys]
    return motion_picture(rounded)
