"""YAMNet's network (Plakal and Ellis 2019; Google, Apache-2.0; a MobileNet v1): log-mel windows to features, in torch.

Batch normalisations are folded into the convolutions. The weights are kept as the published TensorFlow Lite file keeps
them, as 8-bit integers with a scale per output channel; the activations, unlike there, are not rounded.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 1_024
"""Features per window."""

# (output channels, stride) of the depthwise separable blocks.
_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1_024, 2), (WIDTH, 1),
)  # fmt: skip
_STEM = 32


class YamnetTrunk(nn.Module):
    """All of YAMNet below its classifier."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Convolution(1, _STEM, kernel=3, stride=2)]
        inputs = _STEM
        for outputs, stride in _BLOCKS:
            layers.append(_Convolution(inputs, inputs, kernel=3, stride=stride, groups=inputs))
            layers.append(_Convolution(inputs, outputs, kernel=1))
            inputs = outputs
        self.layers = nn.Sequential(*layers)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Map log-mel windows (batch, 96, 64) to features (batch, 1024), none below zero."""
        x = log_mel[:, None].contiguous(memory_format=torch.channels_last)
        features: Tensor = self.layers(x).mean((2, 3))
        return features


class _Convolution(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding on even sizes, and ReLU6."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        before, after = (0, 1) if stride == 2 else (kernel // 2, kernel // 2)
        self._same = (before, after, before, after)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name in the base class)
        """Convolve (batch, channels, height, width)."""
        return F.relu6(super().forward(F.pad(input, self._same)))


def quantised(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights as 8-bit integers with a scale per output channel; biases as they are."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if not name.endswith(".weight"):
            found[name] = value
            continue
        scale = value.abs().amax((1, 2, 3)).clamp_min(1e-12) / 127
        found[name] = (value / scale[:, None, None, None]).round().to(torch.int8).contiguous()
        found[f"{name}.scale"] = scale
    return found


def dequantised(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `quantised`: return the state of a `YamnetTrunk`."""
    return {
        name: value.float() * tensors[f"{name}.scale"][:, None, None, None] if name.endswith(".weight") else value
        for name, value in tensors.items()
        if not name.endswith(".scale")
    }
