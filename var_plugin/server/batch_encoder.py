"""The models that the server offers, one per space of the suite, and the batchers in front of their encoders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from var_plugin.encoders.base import Space, Vectors
from var_plugin.encoders.suite import Suite
from var_plugin.errors import UnknownSuiteError
from var_plugin.server.batching import Batcher
from var_plugin.server.inputs import Content, Contents
from var_plugin.server.metrics import Metrics
from var_plugin.server.pools import Pools
from var_plugin.server.schemas import MAX_INPUTS
from var_plugin.types import Modality

# Media are decoded and encoded in parts, so that a request holds a few of them decoded at a time.
_OPENED_AT_ONCE = {"text": MAX_INPUTS, "image": 8, "audio": 1, "video": 1}


class Encoding:
    """Turns contents into vectors, batched over all requests.

    Args:
        suite: what encodes.
        contents: opens media.
        metrics: count the sizes of batches.
        pools: where batches are encoded.
        max_batch: items encoded together.
    """

    def __init__(self, suite: Suite, contents: Contents, metrics: Metrics, pools: Pools, max_batch: int) -> None:
        self.suite = suite
        self._pools = pools
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
        for places in _groups(contents):
            async with self._contents.opened([contents[place] for place in places], self.suite, space.name) as items:
                vectors[places] = await self._batcher(space, contents[places[0]].modality).encode(items)
        return vectors

    def _batcher(self, space: Space, modality: Modality) -> Batcher:
        # One queue per encoder: a long video does not hold up texts.
        key = (space.name, modality)
        if key not in self._batchers:
            self._batchers[key] = Batcher(
                partial(self._encode, modality, space.name),
                self._pools.encoder(),
                max_items=self._max_batch if modality in ("text", "image") else 1,
                observe=self._metrics.batches.labels(space.name, modality).observe,
            )
        return self._batchers[key]

    def _encode(self, modality: Modality, space: str, items: list[Any]) -> Vectors:
        return self.suite.encode(modality, items, space=space)


def _groups(contents: Sequence[Content]) -> Iterator[list[int]]:
    """Yield the places of contents that are opened and encoded together."""
    for modality in dict.fromkeys(content.modality for content in contents):
        places = [place for place, content in enumerate(contents) if content.modality == modality]
        size = _OPENED_AT_ONCE[modality]
        for start in range(0, len(places), size):
            yield places[start : start + size]
