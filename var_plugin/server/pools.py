"""Thread pools of the server, one per kind of work, so that slow work does not delay fast work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from var_plugin.media.sandbox.client import Cancellation

P = ParamSpec("P")
R = TypeVar("R")


class ThreadPool:
    """Runs functions in threads. If the caller is cancelled, queued work is dropped and running decoding is stopped.

    Args:
        name: name of the threads.
        threads: number of threads.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, function: Callable[P, R], *args: P.args, **keywords: P.kwargs) -> R:
        """Run a function in a thread and return its result."""
        cancellation = Cancellation()

        def work() -> R:
            with cancellation:
                return function(*args, **keywords)

        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await future
        except asyncio.CancelledError:
            cancellation.cancel()
            raise

    def close(self) -> None:
        """Drop all queued work."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class ThreadPools:
    """The thread pools of one server."""

    def __init__(self) -> None:
        self.reads = ThreadPool("reads", 4)
        """Short reads of the index."""
        self.searches = ThreadPool("searches", 4)
        """Text searches."""
        self.media_searches = ThreadPool("media-searches", 2)
        """Image, audio and video searches, which encode media first."""
        self.media = ThreadPool("media", 2)
        """Decoding of media in requests."""
        self.thumbnails = ThreadPool("thumbnails", 2)
        """Decoding of thumbnails of indexed videos."""
        self.json = ThreadPool("json", 2)
        """Parsing and serialisation of large JSON documents."""
        self.health = ThreadPool("health", 1)
        """Health check of the index."""
        self._encoders: list[ThreadPool] = []

    def add_encoder(self) -> ThreadPool:
        """Add a pool with one thread for an encoder."""
        pool = ThreadPool("encoder", 1)
        self._encoders.append(pool)
        return pool

    def close(self) -> None:
        """Drop all queued work of all pools."""
        pools = (self.reads, self.searches, self.media_searches, self.media, self.thumbnails, self.json, self.health)
        for pool in (*pools, *self._encoders):
            pool.close()
