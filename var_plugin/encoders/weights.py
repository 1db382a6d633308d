"""Trained weights of one space in a folder: `<space>.safetensors` and `<space>.json`, read on first use."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from var_plugin.encoders.base import LogisticCalibrator, ScoreStatistics
from var_plugin.errors import MissingWeightsError
from var_plugin.types import Modality

if TYPE_CHECKING:
    from torch import Tensor

LITE = Path(__file__).parent / "lite" / "weights"
"""Folder of the weights in the wheel. It also holds their model cards."""

_NOT_FINGERPRINTED = ("score_statistics", "calibrators", "recipe", "folds")
"""Keys of the configuration that do not affect the vectors and are not part of the fingerprint."""


class WeightFolder:
    """The weights of one space.

    Args:
        folder: folder of the files.
        space: name of the files without their ending.
        depends_on: identifies everything else that affects the vectors, such as pinned backbones.
    """

    def __init__(self, folder: Path, space: str, *, depends_on: str) -> None:
        self._folder, self._space, self._depends_on = folder, space, depends_on

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """Content of the JSON file: dimensions, architecture, score statistics, calibrators."""
        return dict(json.loads(self._file("json").read_text()))

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 over weights, configuration and backbones."""
        digest = hashlib.sha256(self._depends_on.encode())
        digest.update(self.tensors.read_bytes())
        stored = {name: value for name, value in self.configuration.items() if name not in _NOT_FINGERPRINTED}
        digest.update(json.dumps(stored, sort_keys=True).encode())
        return digest.hexdigest()[:16]

    def score_statistics(self) -> dict[Modality, ScoreStatistics]:
        """Return the statistics of the similarity to unrelated content, per query modality."""
        return {
            modality: ScoreStatistics(**numbers) for modality, numbers in self.configuration["score_statistics"].items()
        }

    def calibrators(self) -> dict[Modality, LogisticCalibrator]:
        """Return the calibrators per query modality; empty if none is fitted."""
        fitted = self.configuration.get("calibrators", {})
        return {modality: LogisticCalibrator(**numbers) for modality, numbers in fitted.items()}

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors with the prefix `name.`, without the prefix. Floating-point tensors become float32."""
        prefix = f"{name}."
        return {
            key.removeprefix(prefix): value.float() if value.is_floating_point() else value
            for key, value in self._tensors.items()
            if key.startswith(prefix)
        }

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        return dict(load_file(self.tensors))

    @property
    def tensors(self) -> Path:
        """Path of the weights file.

        Raises:
            MissingWeightsError: the file does not exist.
        """
        return self._file("safetensors")

    def _file(self, ending: str) -> Path:
        path = self._folder / f"{self._space}.{ending}"
        if not path.is_file():
            raise MissingWeightsError(
                f"{path} does not exist",
                why="the installation is incomplete",
                fix="run: pip install --force-reinstall var-plugin",
            )
        return path
