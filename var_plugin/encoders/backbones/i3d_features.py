"""I3D clip features: RGB and optical flow of sixteen frames at 24 fps, as in the anomaly data sets.

Frames are scaled to 340 × 256 pixels and centre-cropped to 224 × 224, as for the published features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import ModelOptions
from var_plugin.encoders.backbones.i3d import FRAMES, SIDE, FlowMethod, OpticalFlow
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.convert import checkpoint, inference, load_fastest
from var_plugin.media.decoded import Frame

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T", bound=np.generic)

RATE = 24.0
"""Frames per second."""

_HEIGHT, _WIDTH = 256, 340


class I3dFeatures:
    """Extract I3D-RGB features (1024), and optionally append I3D-Flow features (1024); a `ClipFeatureExtractor`.

    Args:
        flow: optical flow method. None: no Flow features.
        options: folder of models, device and dtype.

    Raises:
        MissingDependencyError: OpenCV is not installed.
        MissingWeightsError: a network is not converted yet.
    """

    size = (_HEIGHT, _WIDTH)
    motion_size = None
    fps = RATE
    stride = FRAMES

    def __init__(self, flow: FlowMethod | None, options: ModelOptions) -> None:
        self._options = options
        self._flow = OpticalFlow(flow) if flow else None
        self.frames_per_clip = FRAMES + 1 if flow else FRAMES
        names = ["i3d-rgb", "i3d-flow"] if flow else ["i3d-rgb"]
        self.fingerprint = " ".join([*(checkpoint(name, options).fingerprint for name in names), flow or ""])
        """Identifies the networks and the flow method."""

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return (n, 1024 or 2048) float32."""
        images = [frame.image for frame in frames]
        count = (len(images) - self.frames_per_clip) // self.stride + 1
        rgb = np.stack([_centre_crop(image) for image in images[: count * FRAMES]]).astype(np.float32) / 127.5 - 1
        features = _features(self._rgb_network, rgb, self._options)
        if self._flow is None:
            return features
        return np.hstack([features, _features(self._flow_network, _centre_crop(self._flow(images)), self._options)])

    @cached_property
    def _rgb_network(self) -> Callable[[Tensor], Tensor]:
        return load_fastest("i3d-rgb", self._options)

    @cached_property
    def _flow_network(self) -> Callable[[Tensor], Tensor]:
        return load_fastest("i3d-flow", self._options)


def _features(network: Callable[[Tensor], Tensor], frames: NDArray[np.float32], options: ModelOptions) -> Vectors:
    """Return (n, 1024) float32 for 16·n frames (height, width, channels)."""
    import torch

    clips = torch.from_numpy(frames.reshape(-1, FRAMES, *frames.shape[1:])).permute(0, 4, 1, 2, 3)
    with inference(options) as device:
        return np.asarray(network(clips.to(device)).float().numpy(force=True))


def _centre_crop(images: NDArray[T]) -> NDArray[T]:
    """Return the centre 224 × 224 of (…, 256, 340, channels)."""
    top, left = (_HEIGHT - SIDE) // 2, (_WIDTH - SIDE) // 2
    return images[..., top : top + SIDE, left : left + SIDE, :]
