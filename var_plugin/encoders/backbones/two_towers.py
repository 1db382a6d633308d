"""What CLIP-like models share: one network with a tower for texts and one for something else, in one space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from var_plugin.encoders.backbones.checkpoint import Checkpoint
from var_plugin.encoders.base import Vectors, unit
from var_plugin.encoders.weight_folder import in_batches


class TwoTowers(ABC):
    """A network and what prepares its inputs; each part loads at its first use."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension of the vectors."""

    @abstractmethod
    def tokens(self, texts: Sequence[str]) -> Any:
        """Return token ids and what else the text tower takes, prepared as in training."""

    @cached_property
    def model(self) -> Any:
        """The network."""
        return self.checkpoint.model()

    @cached_property
    def tokenizer(self) -> Any:
        """The model's own tokenizer."""
        return self.checkpoint.tokenizer()


class TextTower:
    """Sentences to the space of a model; satisfies `TextEncoder`."""

    def __init__(self, network: TwoTowers) -> None:
        self._network = network

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 of length one."""
        return in_batches(self._encode, texts, self._network.dim)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        model = self._network.model
        return pooled(model.get_text_features(**self._network.tokens(texts).to(model.device)))


def pooled(output: Any) -> Vectors:
    """Return what a tower ends in, (n, dim) float32 of length one: the projected features, not a hidden state."""
    return unit(output.pooler_output.float().numpy(force=True))
