"""Google's YAMNet (Apache-2.0) out of its TensorFlow Lite file: the trunk that is shipped, and its classifier.

The classifier is the teacher of the `sound` space. Reading the file, and running it to compare, needs `ai-edge-litert`;
nothing of it is needed afterwards.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from var_plugin.encoders.backbones.yamnet import YamnetTrunk
from var_plugin.encoders.base import Sound, Vectors
from var_plugin.errors import MissingDependencyError

CLASSES = 521

_FIRST_WEIGHT, _TENSORS_PER_LAYER, _LAYERS = 33, 3, 27
"""Each layer is a weight, a bias and an output, one layer after the other."""
_EMBEDDING, _CLASSIFIER_WEIGHT, _CLASSIFIER_BIAS = 115, 116, 117


class Yamnet:
    """The TensorFlow Lite file, opened."""

    def __init__(self, model: Path) -> None:
        """Load the file.

        Raises:
            MissingDependencyError: the interpreter is not installed.
        """
        try:
            from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError as error:
            raise MissingDependencyError(
                "YAMNet cannot be read",
                why="the package ai-edge-litert is not installed",
                fix='run: pip install "var-plugin[train]"',
            ) from error
        self._network = Interpreter(str(model), num_threads=1, experimental_preserve_all_tensors=True)
        self._network.allocate_tensors()
        self._details = {tensor["index"]: tensor for tensor in self._network.get_tensor_details()}
        self._input = self._network.get_input_details()[0]["index"]
        self._scores = self._network.get_output_details()[0]["index"]

    def __call__(self, window: Sound) -> tuple[Vectors, Vectors]:
        """Map one window, (15600,) samples, to its class scores (521,) in 0…1 and its embedding (1024,)."""
        self._network.set_tensor(self._input, np.asarray(window, np.float32))
        self._network.invoke()
        return self._network.get_tensor(self._scores).ravel(), self._values(_EMBEDDING).ravel()

    def trunk(self) -> YamnetTrunk:
        """Return everything below the classifier as a torch module, with the weights of the file."""
        trunk = YamnetTrunk()
        state: dict[str, Tensor] = {}
        for layer in range(_LAYERS):
            place = _FIRST_WEIGHT + _TENSORS_PER_LAYER * layer
            weight = self._values(place)  # (outputs, height, width, inputs); depthwise (1, height, width, outputs)
            channels_first = (3, 0, 1, 2) if layer % 2 else (0, 3, 1, 2)
            state[f"layers.{layer}.weight"] = torch.from_numpy(weight.transpose(channels_first).copy())
            state[f"layers.{layer}.bias"] = torch.from_numpy(self._values(place + 1))
        trunk.load_state_dict(state)
        return trunk.eval()

    def classifier(self) -> tuple[Tensor, Tensor]:
        """Return weight (521, 1024) and bias (521,); the sigmoid of their result is the scores."""
        return torch.from_numpy(self._values(_CLASSIFIER_WEIGHT)), torch.from_numpy(self._values(_CLASSIFIER_BIAS))

    def _values(self, tensor: int) -> NDArray[np.float32]:
        """Return what the integers of a tensor stand for."""
        found: NDArray[Any] = self._network.get_tensor(tensor).astype(np.float32)
        scheme = self._details[tensor]["quantization_parameters"]
        shape = [1] * found.ndim
        shape[scheme["quantized_dimension"]] = -1
        zeros, scales = (scheme[name].astype(np.float32).reshape(shape) for name in ("zero_points", "scales"))
        return np.asarray((found - zeros) * scales, np.float32)


def read_class_names(class_map: Path) -> list[str]:
    """Return the names of the 521 AudioSet classes in the order of the scores."""
    with class_map.open(newline="", encoding="utf-8") as lines:
        return [row["display_name"] for row in csv.DictReader(lines)]
