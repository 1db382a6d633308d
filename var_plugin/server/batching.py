"""Dynamic batching: what came in while the encoder was busy is encoded together next.

Nobody waits for a batch to fill: an idle encoder takes a lone request at once, a busy one finds its next batch waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from var_plugin.encoders.base import Vectors
from var_plugin.server.pools import Pool


@dataclass(frozen=True)
class _Job:
    """Items of one request, and where their vectors go."""

    items: Sequence[Any]
    answer: asyncio.Future[Vectors]


class Batcher:
    """Encodes the items of concurrent requests together, in a thread, one batch at a time, in order of arrival.

    Args:
        encode: from a list of items to vectors (len(items), dim) float32.
        pool: runs `encode`.
        max_items: items per batch; a request with more is encoded in parts.
        observe: is told the size of each batch.
    """

    def __init__(
        self, encode: Callable[[list[Any]], Vectors], pool: Pool, *, max_items: int, observe: Callable[[int], None]
    ) -> None:
        self._pool = pool
        self._encode, self._max_items, self._observe = encode, max_items, observe
        self._waiting: deque[_Job] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def encode(self, items: Sequence[Any]) -> Vectors:
        """Return (len(items), dim) float32; there is at least one item.

        Raises:
            Whatever encoding these items raises; the items of other requests have no part in it.
        """
        future = asyncio.get_running_loop().create_future
        parts = [items[start : start + self._max_items] for start in range(0, len(items), self._max_items)]
        jobs = [_Job(part, future()) for part in parts]
        self._waiting.extend(jobs)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return np.concatenate(await asyncio.gather(*(job.answer for job in jobs)))

    async def _work(self) -> None:
        while self._waiting:
            if batch := self._next_batch():
                await self._answer(batch)

    def _next_batch(self) -> list[_Job]:
        batch: list[_Job] = []
        room = self._max_items
        while self._waiting and len(self._waiting[0].items) <= room:
            job = self._waiting.popleft()
            if not job.answer.cancelled():  # else the client has gone
                batch.append(job)
                room -= len(job.items)
        return batch

    async def _run(self, batch: list[_Job], items: list[Any]) -> Vectors:
        """Encode in a thread; cancel it when no client of the batch waits any more."""
        encoding = asyncio.ensure_future(self._pool.run(self._encode, items))

        def check(_: asyncio.Future[Vectors]) -> None:
            if all(job.answer.cancelled() for job in batch):
                encoding.cancel()

        for job in batch:
            job.answer.add_done_callback(check)
        try:
            return await encoding
        finally:
            for job in batch:
                job.answer.remove_done_callback(check)

    async def _answer(self, batch: list[_Job]) -> None:
        items = [item for job in batch for item in job.items]
        self._observe(len(items))
        try:
            vectors = await self._run(batch, items)
        except asyncio.CancelledError:
            if not all(job.answer.done() for job in batch):  # the batcher itself is cancelled
                raise
            return
        except Exception as error:
            if len(batch) > 1:  # one bad item must not fail its neighbours
                for job in batch:
                    await self._answer([job])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        ends = np.cumsum([len(job.items) for job in batch])
        for job, part in zip(batch, np.split(vectors, ends[:-1]), strict=True):
            if not job.answer.done():
                job.answer.set_result(part)
