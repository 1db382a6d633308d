"""Optical flow between neighbouring frames, as I3D's flow network was trained on it: TV-L1, cut off at 20 pixels.

OpenCV computes it, on the CPU. RAFT would run on a GPU, but comes with torchvision, whose wheels are tied to one torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import Picture
from var_plugin.extras import require

Method = Literal["tvl1", "dis"]

_LARGEST = 20.0


class OpticalFlow:
    """Computes flow by "tvl1" (Zach et al. 2007; what the network knows) or "dis" (Kroeger et al. 2016; far faster).

    Raises:
        MissingDependencyError: OpenCV with its contributed modules is not installed.
    """

    def __init__(self, method: Method) -> None:
        require("i3d", "cv2")
        self._method = method

    def __call__(self, pictures: Sequence[Picture]) -> NDArray[np.float32]:
        """Return (n - 1, height, width, 2) in -1…1, right and down, for n pictures (height, width, 3) in order."""
        import cv2

        greys = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
        flows = [self._between(earlier, later) for earlier, later in pairwise(greys)]
        return np.asarray(np.clip(np.stack(flows), -_LARGEST, _LARGEST) / _LARGEST, np.float32)

    def _between(self, earlier: NDArray[np.uint8], later: NDArray[np.uint8]) -> NDArray[np.float32]:
        if np.array_equal(earlier, later):  # a repeated frame
            return np.zeros((*earlier.shape, 2), np.float32)
        flow: NDArray[np.float32] = self._algorithm.calc(earlier, later, None)
        return flow

    @cached_property
    def _algorithm(self) -> Any:
        import cv2

        opencv: Any = cv2  # its stubs lack both
        if self._method == "tvl1":
            return opencv.optflow.DualTVL1OpticalFlow_create()
        return opencv.DISOpticalFlow_create(opencv.DISOPTICAL_FLOW_PRESET_MEDIUM)
