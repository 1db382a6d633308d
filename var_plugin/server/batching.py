"""Dynamic batching: items that arrive while the encoder is busy form its next batch.

An idle encoder starts at once. It does not wait for a batch to fill.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from var_plugin.encoders.base import Vectors
from var_plugin.server.pools import ThreadPool


@dataclass(frozen=True)
class _Job:
    """Items of one request and the future of their vectors."""

    items: Sequence[Any]
    vectors: asyncio.Future[Vectors]


class Batcher:
    """Encodes items of concurrent requests together, one batch at a time, in order of arrival.

    Args:
        encode: maps a list of items to float32 vectors (len(items), dim).
        pool: runs `encode`.
        max_items: maximum number of items per batch. A longer request is split into several batches.
        observe: called with the size of each batch.
    """

    def __init__(
        self,
        encode: Callable[[list[Any]], Vectors],
        pool: ThreadPool,
        *,
        max_items: int,
        observe: Callable[[int], None],
    ) -> None:
        self._pool = pool
        self._encode, self._max_items, self._observe = encode, max_items, observe
        self._queue: deque[_Job] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def encode(self, items: Sequence[Any]) -> Vectors:
        """Encode at least one item.

        Returns:
            float32 (len(items), dim).

        Raises:
            Exception: any error of encoding these items. Errors of other requests in the batch do not matter.
        """
        create_future = asyncio.get_running_loop().create_future
        parts = [items[start : start + self._max_items] for start in range(0, len(items), self._max_items)]
        jobs = [_Job(part, create_future()) for part in parts]
        self._queue.extend(jobs)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run_queue())
        return np.concatenate(await asyncio.gather(*(job.vectors for job in jobs)))

    async def _run_queue(self) -> None:
        while self._queue:
            if batch := self._next_batch():
                await self._run_batch(batch)

    def _next_batch(self) -> list[_Job]:
        batch: list[_Job] = []
        free = self._max_items
        while self._queue and len(self._queue[0].items) <= free:
            job = self._queue.popleft()
            if not job.vectors.cancelled():  # cancelled: the client has disconnected
                batch.append(job)
                free -= len(job.items)
        return batch

    async def _run_batch(self, batch: list[_Job]) -> None:
        """Encode a batch and set the result of its jobs. If it fails, encode the jobs one by one."""
        items = [item for job in batch for item in job.items]
        self._observe(len(items))
        try:
            vectors = await self._encode_in_thread(batch, items)
        except asyncio.CancelledError:
            if not all(job.vectors.done() for job in batch):  # the batcher itself is cancelled
                raise
            return
        except Exception as error:
            if len(batch) > 1:
                for job in batch:
                    await self._run_batch([job])
            elif not batch[0].vectors.done():
                batch[0].vectors.set_exception(error)
            return
        ends = np.cumsum([len(job.items) for job in batch])
        for job, part in zip(batch, np.split(vectors, ends[:-1]), strict=True):
            if not job.vectors.done():
                job.vectors.set_result(part)

    async def _encode_in_thread(self, batch: list[_Job], items: list[Any]) -> Vectors:
        """Encode in a thread. Cancel it when all jobs of the batch are cancelled."""
        encoding = asyncio.ensure_future(self._pool.run(self._encode, items))

        def cancel_if_unused(_: asyncio.Future[Vectors]) -> None:
            if all(job.vectors.cancelled() for job in batch):
                encoding.cancel()

        for job in batch:
            job.vectors.add_done_callback(cancel_if_unused)
        try:
            return await encoding
        finally:
            for job in batch:
                job.vectors.remove_done_callback(cancel_if_unused)
