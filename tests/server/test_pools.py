from __future__ import annotations

import asyncio
import threading

import pytest

from tests.films import Film
from var_plugin.media.sandbox.client import Cancellation, DecodingCancelledError, Frames
from var_plugin.server.pools import ThreadPool


async def test_queued_work_is_dropped_if_its_caller_is_cancelled() -> None:
    pool = ThreadPool("test", 1)
    go, ran = threading.Event(), []
    busy = asyncio.create_task(pool.run(go.wait))
    await asyncio.sleep(0)
    dropped = asyncio.create_task(pool.run(ran.append, "dropped"))
    await asyncio.sleep(0)
    dropped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dropped
    go.set()
    await busy
    await pool.run(ran.append, "later")
    assert ran == ["later"]


async def test_decoding_stops_if_its_caller_is_cancelled(film: Film) -> None:
    path = film(seconds=10, fps=5)
    pool = ThreadPool("test", 1)
    started, ended = threading.Event(), threading.Event()

    def decode() -> None:
        with pytest.raises(DecodingCancelledError):
            while True:
                for _ in Frames(path):
                    started.set()
        ended.set()

    task = asyncio.create_task(pool.run(decode))
    while not started.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, 20)
    assert await pool.run(lambda: len([*Frames(path)])) > 0, "other decoding is not affected"


def test_cancelled_block_does_not_start_decoding(film: Film) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with cancellation, pytest.raises(DecodingCancelledError):
        list(Frames(film(seconds=1)))
