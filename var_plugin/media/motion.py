"""Motion images: what changes within a quarter of a second after a frame, as an image that an image network can see.

Three differences of neighbouring grey images, one per colour channel, around mid-grey. What stands still is grey;
what moves leaves coloured edges, whose order of colours is its direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
"""(side, side) uint8."""

STEP = 0.08
"""Seconds between neighbouring images: two frames at 25 frames a second."""

_DIFFERENCES = 3
_AMPLIFICATION = 2
# Where no frame comes for longer, nothing can be said about motion.
_LONGEST_WAIT = 0.6


def motion_image(greys: Sequence[Gray]) -> NDArray[np.uint8]:
    """Return (side, side, 3) uint8 from up to four grey images in order of time; missing ones repeat the last."""
    shown = [*greys] + [greys[-1]] * (_DIFFERENCES + 1 - len(greys))
    # Channel by channel and in place: several times as fast as with an array of all differences.
    image = np.empty((*greys[0].shape, _DIFFERENCES), np.uint8)
    for channel, (earlier, later) in enumerate(pairwise(shown)):
        difference = np.subtract(later, earlier, dtype=np.int16)
        difference *= _AMPLIFICATION
        difference += 128
        image[..., channel] = difference.clip(0, 255)
    return image


@dataclass
class _Waiting:
    time: float
    image: NDArray[np.uint8]
    greys: list[Gray] = field(default_factory=list)


class MotionImageBuilder:
    """Holds each chosen frame back until the frames that follow it were seen.

    Args:
        grey: makes a decoded frame a grey image.
    """

    def __init__(self, grey: Callable[[VideoFrame], Gray]) -> None:
        self._grey = grey
        self._waiting: list[_Waiting] = []

    def choose(self, time: float, image: NDArray[np.uint8]) -> None:
        """Remember a chosen frame; the same frame is to be passed to `see` next."""
        self._waiting.append(_Waiting(time, image))

    def see(self, time: float, frame: VideoFrame) -> Iterator[tuple[float, NDArray[np.uint8], NDArray[np.uint8]]]:
        """Take in a decoded frame; yield time, image and motion image of the chosen ones that are complete now."""
        grey: Gray | None = None
        for waiting in list(self._waiting):
            late = time - waiting.time > _LONGEST_WAIT
            # A frame may come a little early.
            if not late and time - waiting.time >= STEP * len(waiting.greys) - STEP / 4:
                grey = self._grey(frame) if grey is None else grey
                waiting.greys.append(grey)
            if late or len(waiting.greys) > _DIFFERENCES:
                self._waiting.remove(waiting)
                yield self._complete(waiting)

    def rest(self) -> Iterator[tuple[float, NDArray[np.uint8], NDArray[np.uint8]]]:
        """Yield those that the end of the video left incomplete."""
        for waiting in self._waiting:
            yield self._complete(waiting)
        self._waiting = []

    @staticmethod
    def _complete(waiting: _Waiting) -> tuple[float, NDArray[np.uint8], NDArray[np.uint8]]:
        return waiting.time, waiting.image, motion_image(waiting.greys)
