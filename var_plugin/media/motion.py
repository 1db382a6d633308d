"""Motion images: what changes within a quarter of a second after a frame, as an RGB image for an image network.

A motion image holds three differences of consecutive gray images, one per colour channel, around mid-gray. Static areas
are gray. A moving object leaves coloured edges, and the order of their colours encodes its direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
"""A gray image (side, side) uint8."""

STEP = 0.08
"""Seconds between consecutive gray images: two frames at 25 frames per second."""

_DIFFERENCES = 3
_AMPLIFICATION = 2
# Frames further apart than this are not compared.
_MAX_GAP_SECONDS = 0.6


def motion_image(grays: Sequence[Gray]) -> NDArray[np.uint8]:
    """Return the motion image (side, side, 3) uint8 of one to four gray images in order of time.

    Missing images repeat the last one.
    """
    padded = [*grays] + [grays[-1]] * (_DIFFERENCES + 1 - len(grays))
    # In place, one channel at a time: several times as fast as one array of all differences.
    image = np.empty((*grays[0].shape, _DIFFERENCES), np.uint8)
    for channel, (earlier, later) in enumerate(pairwise(padded)):
        difference = np.subtract(later, earlier, dtype=np.int16)
        difference *= _AMPLIFICATION
        difference += 128
        image[..., channel] = difference.clip(0, 255)
    return image


@dataclass
class _PendingFrame:
    """A selected frame whose gray images are not yet complete."""

    time: float
    image: NDArray[np.uint8]
    grays: list[Gray] = field(default_factory=list)


class MotionImageBuilder:
    """Holds selected frames until the frames that follow them are decoded, and adds motion images.

    Args:
        to_gray: converts a decoded frame to a gray image.
    """

    def __init__(self, to_gray: Callable[[VideoFrame], Gray]) -> None:
        self._to_gray = to_gray
        self._pending: list[_PendingFrame] = []

    def select(self, time: float, image: NDArray[np.uint8]) -> None:
        """Add a selected frame. Pass the same frame to `update` next."""
        self._pending.append(_PendingFrame(time, image))

    def update(self, time: float, frame: VideoFrame) -> Iterator[tuple[float, NDArray[np.uint8], NDArray[np.uint8]]]:
        """Add a decoded frame. Yield time, image and motion image of the selected frames that are now complete."""
        gray: Gray | None = None
        for pending in list(self._pending):
            is_late = time - pending.time > _MAX_GAP_SECONDS
            # A frame may come slightly early.
            if not is_late and time - pending.time >= STEP * len(pending.grays) - STEP / 4:
                gray = self._to_gray(frame) if gray is None else gray
                pending.grays.append(gray)
            if is_late or len(pending.grays) > _DIFFERENCES:
                self._pending.remove(pending)
                yield self._complete(pending)

    def flush(self) -> Iterator[tuple[float, NDArray[np.uint8], NDArray[np.uint8]]]:
        """Yield the frames that are incomplete at the end of the video."""
        for pending in self._pending:
            yield self._complete(pending)
        self._pending = []

    @staticmethod
    def _complete(pending: _PendingFrame) -> tuple[float, NDArray[np.uint8], NDArray[np.uint8]]:
        return pending.time, pending.image, motion_image(pending.grays)
