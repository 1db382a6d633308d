"""Synthesize motion images of static scenes, moving cameras and cuts, which are not events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from var_plugin.encoders.base import ImageArray
from var_plugin.media.motion import Gray, motion_image

_IMAGES = 4  # in a motion image


def still(image: ImageArray, side: int, random: np.random.Generator) -> ImageArray:
    """Return the motion image of a static scene, with sensor noise and flicker."""
    grey = _grey(image, side)
    noise, flicker = random.uniform(0, 4), random.uniform(0, 2)
    return _motion([grey + random.normal(0, flicker) + random.normal(0, noise, grey.shape) for _ in range(_IMAGES)])


def moving_camera(image: ImageArray, side: int, random: np.random.Generator) -> ImageArray:
    """Return the motion image of a camera that pans, zooms or shakes in front of a static scene."""
    grey = Image.fromarray(image).convert("L")
    shaking = random.random() < 0.3
    shift, zoom = random.uniform(-0.03, 0.03, 2), random.uniform(-0.03, 0.03) * (random.random() < 0.4)
    greys = []
    for step in range(_IMAGES):
        if shaking:
            shift = random.uniform(-0.02, 0.02, 2)
        scale = 0.7 * (1 + zoom * step)
        left, top = np.clip(0.15 + shift * step, 0, 1 - scale)
        box = (left * grey.width, top * grey.height, (left + scale) * grey.width, (top + scale) * grey.height)
        greys.append(np.asarray(grey.resize((side, side), Image.Resampling.BILINEAR, box=box), np.float32))
    return _motion(greys)


def cut(before: ImageArray, after: ImageArray, side: int, random: np.random.Generator) -> ImageArray:
    """Return the motion image of a cut to another scene."""
    first, second = _grey(before, side), _grey(after, side)
    switch = random.integers(1, _IMAGES)
    return _motion([first if step < switch else second for step in range(_IMAGES)])


def _grey(image: ImageArray, side: int) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(image).convert("L").resize((side, side), Image.Resampling.BILINEAR), np.float32)


def _motion(greys: Sequence[NDArray[np.floating]]) -> ImageArray:
    rounded: list[Gray] = [np.clip(np.rint(grey), 0, 255).astype(np.uint8) for grey in greys]
    return motion_image(rounded)
