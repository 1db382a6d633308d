from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from var_plugin.encoders.base import Vectors
from var_plugin.errors import InvalidInputError
from var_plugin.server.batching import Batcher
from var_plugin.server.pools import ThreadPool


class Encoder:
    """Squares numbers once `go` is set. Fails for negative ones."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, items: list[Any]) -> Vectors:
        self.go.wait(10)
        self.batches.append(items)
        if min(items) < 0:
            raise InvalidInputError("a negative number")
        return np.array([[item * item] for item in items], np.float32)


async def test_single_request_is_encoded_at_once() -> None:
    encoder = Encoder()
    batcher = Batcher(encoder, ThreadPool("encoder", 1), max_items=8, observe=lambda _: None)
    assert (await batcher.encode([2, 3])).tolist() == [[4], [9]]
    assert encoder.batches == [[2, 3]]


async def test_requests_that_arrive_during_a_batch_form_the_next_batch() -> None:
    encoder, sizes = Encoder(), []
    batcher = Batcher(encoder, ThreadPool("encoder", 1), max_items=8, observe=sizes.append)
    encoder.go.clear()
    first = asyncio.create_task(batcher.encode([1]))
    await asyncio.sleep(0.05)
    others = [asyncio.create_task(batcher.encode([n, n])) for n in (2, 3, 4)]
    await asyncio.sleep(0.05)
    encoder.go.set()
    assert (await first).tolist() == [[1]]
    assert [(await other).tolist() for other in others] == [[[4], [4]], [[9], [9]], [[16], [16]]]
    assert encoder.batches == [[1], [2, 2, 3, 3, 4, 4]]
    assert sizes == [1, 6]


async def test_batches_respect_max_items_and_the_order_of_arrival() -> None:
    encoder = Encoder()
    batcher = Batcher(encoder, ThreadPool("encoder", 1), max_items=3, observe=lambda _: None)
    long, short = await asyncio.gather(batcher.encode([1, 2, 3, 4, 5]), batcher.encode([6]))
    assert long.ravel().tolist() == [1, 4, 9, 16, 25]
    assert short.tolist() == [[36]]
    assert encoder.batches == [[1, 2, 3], [4, 5, 6]]


async def test_failing_request_does_not_fail_others_in_its_batch() -> None:
    batcher = Batcher(Encoder(), ThreadPool("encoder", 1), max_items=8, observe=lambda _: None)
    good, bad, other = await asyncio.gather(
        batcher.encode([1]), batcher.encode([-1]), batcher.encode([2]), return_exceptions=True
    )
    assert isinstance(good, np.ndarray)
    assert isinstance(other, np.ndarray)
    assert isinstance(bad, InvalidInputError)


async def test_cancelled_request_is_not_encoded() -> None:
    encoder = Encoder()
    batcher = Batcher(encoder, ThreadPool("encoder", 1), max_items=8, observe=lambda _: None)
    encoder.go.clear()
    first = asyncio.create_task(batcher.encode([1]))
    await asyncio.sleep(0.05)
    cancelled = asyncio.create_task(batcher.encode([2]))
    last = asyncio.create_task(batcher.encode([3]))
    await asyncio.sleep(0.05)
    cancelled.cancel()
    encoder.go.set()
    await asyncio.gather(first, last)
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert encoder.batches == [[1], [3]]
