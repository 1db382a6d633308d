"""Google's YAMNet (Apache-2.0), the teacher of the `sound` space: what it makes of a window of sound.

Used in training only, never shipped: a TensorFlow Lite file and the list of its classes, run by `ai-edge-litert`.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from var_plugin.encoders.base import Sound, Vectors
from var_plugin.errors import MissingDependencyError

CLASSES = 521
EMBEDDING_WIDTH = 1024

_EMBEDDING_LAYER = "tower0/network/layer28/reduce_mean"


class Yamnet:
    """The teacher; loads at construction."""

    def __init__(self, model: Path) -> None:
        """Load the network from its `.tflite` file.

        Raises:
            MissingDependencyError: the interpreter is not installed.
        """
        try:
            from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            raise MissingDependencyError(
                "the teacher YAMNet cannot run",
                why="the package ai-edge-litert is not installed",
                fix="run: pip install ai-edge-litert",
            ) from error
        self._network = Interpreter(str(model), num_threads=1, experimental_preserve_all_tensors=True)
        self._network.allocate_tensors()
        self._input = self._network.get_input_details()[0]["index"]
        self._scores = self._network.get_output_details()[0]["index"]
        (self._embedding,) = (
            tensor["index"] for tensor in self._network.get_tensor_details() if tensor["name"] == _EMBEDDING_LAYER
        )

    def __call__(self, window: Sound) -> tuple[Vectors, Vectors]:
        """Map one window, (15600,) samples, to its class scores (521,) in 0…1 and its embedding (1024,)."""
        self._network.set_tensor(self._input, np.asarray(window, np.float32))
        self._network.invoke()
        return self._network.get_tensor(self._scores).ravel(), self._network.get_tensor(self._embedding).ravel()


def read_class_names(class_map: Path) -> list[str]:
    """Return the names of the 521 AudioSet classes in the order of the scores."""
    with class_map.open(newline="", encoding="utf-8") as lines:
        return [row["display_name"] for row in csv.DictReader(lines)]
