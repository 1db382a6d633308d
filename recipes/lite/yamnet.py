"""Load Google's YAMNet (Plakal and Ellis 2019; Apache-2.0; a MobileNet v1), the teacher of the `sound` space, in torch.

The weights are read from the TensorFlow Lite file, which needs `ai-edge-litert`. YAMNet is used for training only and
is not shipped. Batch normalisation is folded into the convolutions. The activations are not quantized, unlike those of
the file.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from var_plugin.encoders.base import AudioArray, Vectors
from var_plugin.errors import MissingDependencyError

CLASSES = 521
WIDTH = 1_024
"""Features per window."""

# (output channels, stride) of the depthwise separable blocks.
_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1_024, 2), (WIDTH, 1),
)  # fmt: skip
_STEM = 32

_FIRST_WEIGHT, _TENSORS_PER_LAYER, _LAYERS = 33, 3, 27
"""Indices of tensors in the file. Each layer is a weight, a bias and an output."""
_EMBEDDING, _CLASSIFIER_WEIGHT, _CLASSIFIER_BIAS = 115, 116, 117


class Yamnet:
    """YAMNet's TensorFlow Lite file."""

    def __init__(self, model: Path) -> None:
        """Load the file.

        Raises:
            MissingDependencyError: `ai-edge-litert` is not installed.
        """
        try:
            from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError as error:
            raise MissingDependencyError(
                "YAMNet's file cannot be read",
                why="the package ai-edge-litert is not installed",
                fix='run: pip install "var-plugin[train]"',
            ) from error
        self._network = Interpreter(str(model), num_threads=1, experimental_preserve_all_tensors=True)
        self._network.allocate_tensors()
        self._details = {tensor["index"]: tensor for tensor in self._network.get_tensor_details()}
        self._input = self._network.get_input_details()[0]["index"]
        self._scores = self._network.get_output_details()[0]["index"]

    def __call__(self, window: AudioArray) -> tuple[Vectors, Vectors]:
        """Map one window of samples (15600,) to its class scores (521,) in 0…1 and its embedding (1024,)."""
        self._network.set_tensor(self._input, np.asarray(window, np.float32))
        self._network.invoke()
        return self._network.get_tensor(self._scores).ravel(), self._values(_EMBEDDING).ravel()

    def trunk(self) -> YamnetTrunk:
        """Return the network without the classifier as a torch module with the file's weights."""
        trunk = YamnetTrunk()
        state: dict[str, Tensor] = {}
        for layer in range(_LAYERS):
            index = _FIRST_WEIGHT + _TENSORS_PER_LAYER * layer
            weight = self._values(index)  # (outputs, height, width, inputs); depthwise (1, height, width, outputs)
            channels_first = (3, 0, 1, 2) if layer % 2 else (0, 3, 1, 2)
            state[f"layers.{layer}.weight"] = torch.from_numpy(weight.transpose(channels_first).copy())
            state[f"layers.{layer}.bias"] = torch.from_numpy(self._values(index + 1))
        trunk.load_state_dict(state)
        return trunk.eval()

    def classifier(self) -> tuple[Tensor, Tensor]:
        """Return weight (521, 1024) and bias (521,) of the classifier, whose sigmoid gives the scores."""
        return torch.from_numpy(self._values(_CLASSIFIER_WEIGHT)), torch.from_numpy(self._values(_CLASSIFIER_BIAS))

    def _values(self, tensor: int) -> NDArray[np.float32]:
        """Return the dequantized values of a tensor."""
        values: NDArray[Any] = self._network.get_tensor(tensor).astype(np.float32)
        scheme = self._details[tensor]["quantization_parameters"]
        shape = [1] * values.ndim
        shape[scheme["quantized_dimension"]] = -1
        zeros, scales = (scheme[name].astype(np.float32).reshape(shape) for name in ("zero_points", "scales"))
        return np.asarray((values - zeros) * scales, np.float32)


def read_class_names(class_map: Path) -> list[str]:
    """Return the names of the 521 AudioSet classes in the order of the scores."""
    with class_map.open(newline="", encoding="utf-8") as lines:
        return [row["display_name"] for row in csv.DictReader(lines)]


class YamnetTrunk(nn.Module):
    """YAMNet without its classifier."""

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
        """Map log-mel windows (batch, 96, 64) to non-negative features (batch, 1024)."""
        return self.maps(log_mel, [len(self.layers) - 1])[0].mean((2, 3))

    def maps(self, log_mel: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Map log-mel windows (batch, 96, 64) to the outputs of the given layers, (batch, channels, height, width)."""
        x, outputs = log_mel[:, None].contiguous(memory_format=torch.channels_last), []
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in layers:
                outputs.append(x)
        return outputs


class _Convolution(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding on even sizes, followed by ReLU6."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        before, after = (0, 1) if stride == 2 else (kernel // 2, kernel // 2)
        self._same = (before, after, before, after)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name in the base class)
        """Convolve (batch, channels, height, width)."""
        return F.relu6(super().forward(F.pad(input, self._same)))
