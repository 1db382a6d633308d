"""The models that the server offers, one per space of the suite, and the batchers in front of their encoders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from var_plugin.encoders.base import Space, Vectors
from var_plugin.encoders.suite import Suite
from var_plugin.errors import UnknownSuiteError
from var_plugin.server.batching import Batcher
from var_plugin.server.contents import Content, Contents
from var_plugin.server.metrics import Metrics
from var_plugin.types import Modality


class Encoding:
    """Turns contents into vectors, batched over all requests.

    Args:
        suite: what encodes.
        contents: opens media.
        metrics: are told the sizes of batches.
        max_batch: items encoded together.
    """

    def __init__(self, suite: Suite, contents: Contents, metrics: Metrics, max_batch: int) -> None:
        self.suite = suite
        self.spaces: dict[str, Space] = {f"{suite.name}/{name}": space for name, space in suite.spaces.items()}
        """The spaces by model id."""
        self._contents, self._metrics, self._max_batch = contents, metrics, max_batch
        self._batchers: dict[tuple[str, Modality], Batcher] = {}

    def space(self, model: str) -> Space:
        """Return the space of a model.

        Raises:
            UnknownSuiteError: there is no such model.
        """
        if model not in self.spaces:
            raise UnknownSuiteError(
                f"there is no model '{model}'", why=f"this server has {', '.join(self.spaces)}", fix="choose one"
            )
        return self.spaces[model]

    async def encode(self, contents: Sequence[Content], space: Space) -> Vectors:
        """Return (len(contents), dim) float32, in the order given; errors as `Contents.opened` and `Suite.encode`."""
        vectors = np.empty((len(contents), space.dim), np.float32)
        async with self._contents.opened(contents, self.suite, space.name) as items:
            for modality in dict.fromkeys(content.modality for content in contents):
                places = [place for place, content in enumerate(contents) if content.modality == modality]
                vectors[places] = await self._batcher(space, modality).encode([items[place] for place in places])
        return vectors

    def _batcher(self, space: Space, modality: Modality) -> Batcher:
        # One queue per encoder: a long video does not hold up texts.
        key = (space.name, modality)
        if key not in self._batchers:
            self._batchers[key] = Batcher(
                partial(self._encode, modality, space.name),
                max_items=self._max_batch if modality in ("text", "image") else 1,
                observe=self._metrics.batches.labels(space.name, modality).observe,
            )
        return self._batchers[key]

    def _encode(self, modality: Modality, space: str, items: list[Any]) -> Vectors:
        return self.suite.encode(modality, items, space=space)
