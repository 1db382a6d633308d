"""Thread pools of the server, one per kind of work, so that slow work does not hold up what is quick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from var_plugin.media.sandbox.client import Cancellation

P = ParamSpec("P")
R = TypeVar("R")


class Pool:
    """Runs functions in threads of its own. Work whose caller is cancelled does not start, or its decoding is ended.

    Args:
        name: of the threads.
        threads: how many functions run at once.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, function: Callable[P, R], *args: P.args, **keywords: P.kwargs) -> R:
        """Return what the function returns."""
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
        """Drop what has not started."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class Pools:
    """The pools of one server."""

    def __init__(self) -> None:
        self.reads = Pool("reads", 4)
        """Reads of the index that take milliseconds."""
        self.searches = Pool("searches", 4)
        """Searches by text."""
        self.media_searches = Pool("media-searches", 2)
        """Searches by image, audio or video, which encode media first."""
        self.media = Pool("media", 2)
        """Decoding of what clients send."""
        self.thumbnails = Pool("thumbnails", 2)
        """Decoding of frames of the index."""
        self.documents = Pool("documents", 2)
        """Parsing and writing of large JSON documents."""
        self.health = Pool("health", 1)
        """The question whether the index answers."""
        self._encoders: list[Pool] = []

    def encoder(self) -> Pool:
        """Return a pool for one more encoder, which runs one batch at a time."""
        pool = Pool("encoder", 1)
        self._encoders.append(pool)
        return pool

    def close(self) -> None:
        """Drop what has not started in any pool."""
        own = (self.reads, self.searches, self.media_searches, self.media, self.thumbnails, self.documents, self.health)
        for pool in (*own, *self._encoders):
            pool.close()
