"""Encode the inputs of requests in batches. A model of the server is a space of the suite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from var_plugin.encoders.base import Space, Vectors
from var_plugin.encoders.suite import Suite
from var_plugin.errors import UnknownSuiteError
from var_plugin.server.batching import Batcher
from var_plugin.server.inputs import Content, InputReader
from var_plugin.server.metrics import Metrics
from var_plugin.server.pools import ThreadPools
from var_plugin.server.schemas import MAX_INPUTS
from var_plugin.types import Modality

# Number of inputs of one request that are decoded at the same time. It limits the memory of a request.
_DECODED_TOGETHER = {"text": MAX_INPUTS, "image": 8, "audio": 1, "video": 1}


class BatchEncoder:
    """Encodes inputs, batched over all requests.

    Args:
        suite: the encoders.
        reader: decodes media.
        metrics: records batch sizes.
        pools: thread pools for the encoders.
        max_batch: maximum number of texts or images per batch. Audio and video are encoded one at a time.
    """

    def __init__(self, suite: Suite, reader: InputReader, metrics: Metrics, pools: ThreadPools, max_batch: int) -> None:
        self.suite = suite
        self.spaces: dict[str, Space] = {f"{suite.name}/{name}": space for name, space in suite.spaces.items()}
        """Spaces by model id, such as `lite/scene`."""
        self._reader, self._metrics, self._pools, self._max_batch = reader, metrics, pools, max_batch
        self._batchers: dict[tuple[str, Modality], Batcher] = {}

    def space(self, model: str) -> Space:
        """Return the space of a model.

        Raises:
            UnknownSuiteError: the server has no such model.
        """
        if model not in self.spaces:
            raise UnknownSuiteError(
                f"there is no model '{model}'", why=f"this server has {', '.join(self.spaces)}", fix="choose one"
            )
        return self.spaces[model]

    async def encode(self, contents: Sequence[Content], space: Space) -> Vectors:
        """Encode contents into one space.

        Returns:
            float32 (len(contents), dim), in the order of `contents`.

        Raises:
            VarPluginError: as `InputReader.decode` and `Suite.encode`.
        """
        vectors = np.empty((len(contents), space.dim), np.float32)
        for positions in _groups(contents):
            group = [contents[position] for position in positions]
            async with self._reader.decode(group, self.suite, space.name) as items:
                vectors[positions] = await self._batcher(space, group[0].modality).encode(items)
        return vectors

    def _batcher(self, space: Space, modality: Modality) -> Batcher:
        # One queue per encoder, so that a long video does not delay texts.
        key = (space.name, modality)
        if key not in self._batchers:
            self._batchers[key] = Batcher(
                partial(self._encode, modality, space.name),
                self._pools.add_encoder(),
                max_items=self._max_batch if modality in ("text", "image") else 1,
                observe=self._metrics.batches.labels(space.name, modality).observe,
            )
        return self._batchers[key]

    def _encode(self, modality: Modality, space: str, items: list[Any]) -> Vectors:
        return self.suite.encode(modality, items, space=space)


def _groups(contents: Sequence[Content]) -> Iterator[list[int]]:
    """Yield the positions of contents that are decoded and encoded together."""
    for modality in dict.fromkeys(content.modality for content in contents):
        positions = [position for position, content in enumerate(contents) if content.modality == modality]
        size = _DECODED_TOGETHER[modality]
        for start in range(0, len(positions), size):
            yield positions[start : start + size]
