"""Fixed images, audio and texts from formulas, independent of the random numbers of any library."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from var_plugin.media.decoded import SAMPLE_RATE, Frame

TEXTS = ["a red car", "a blue dog barks"]


def image(height: int, width: int, *, shift: float = 0.0) -> NDArray[np.uint8]:
    """Return an image of waves that differ per colour, shifted to the right by `shift` pixels."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [np.sin((x - shift) / 5), np.cos((x - shift + y) / 7), np.sin((x - shift - 2 * y) / 11)]
    return np.rint(np.stack(waves, axis=2) * 127.0 + 127.5).astype(np.uint8)


def frames(count: int, height: int, width: int, *, rate: float, motion: int | None = None) -> list[Frame]:
    """Return frames that move two pixels per frame, with motion images of size `motion` if given."""
    return [
        Frame(
            number / rate,
            image(height, width, shift=2.0 * number),
            motion=image(motion, motion, shift=3.0 * number) if motion else None,
        )
        for number in range(count)
    ]


def sound(samples: int) -> NDArray[np.float32]:
    """Return a tone that rises from 200 Hz at 400 Hz per second, and a 1,250 Hz tone of varying loudness."""
    time = np.arange(samples) / SAMPLE_RATE
    rising = np.sin(2 * np.pi * (200 * time + 200 * time**2))
    swelling = np.sin(2 * np.pi * 1_250 * time) * np.sin(2 * np.pi * 3 * time)
    return (0.3 * rising + 0.2 * swelling).astype(np.float32)
