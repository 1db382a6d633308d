"""A memory budget shared by all requests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.exceptions import HTTPException


class MemoryBudgetExceededError(HTTPException):
    """The memory budget has no room for a request."""

    def __init__(self) -> None:
        super().__init__(429, "the server is at its memory limit for requests", {"Retry-After": "1"})


class Reservation:
    """Bytes of a budget that one request holds."""

    def __init__(self, budget: MemoryBudget, size: int = 0) -> None:
        self._budget, self._size = budget, size

    def add(self, size: int) -> None:
        """Acquire more bytes, without waiting.

        Raises:
            MemoryBudgetExceededError: the budget has no room for them.
        """
        self._budget.acquire(size)
        self._size += size

    def shrink(self, size: int) -> None:
        """Release all bytes above `size`."""
        if size < self._size:
            self._budget.release(self._size - size)
            self._size = size


class MemoryBudget:
    """Counts bytes. It is not thread-safe: use it on the event loop only.

    Args:
        total: maximum number of bytes that all requests hold together.
    """

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextmanager
    def track(self) -> Iterator[Reservation]:
        """Yield an empty reservation. Its bytes are released after the block."""
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            reservation.shrink(0)

    @asynccontextmanager
    async def reserve(self, size: int) -> AsyncIterator[Reservation]:
        """Wait until `size` bytes are free, in order of arrival. A size above the budget waits for the whole budget."""
        size = min(size, self._total)
        if self._queue or size > self._free:
            admission = asyncio.get_running_loop().create_future()
            self._queue.append((size, admission))
            try:
                await admission
            except asyncio.CancelledError:
                if admission.done() and not admission.cancelled():  # the bytes are already acquired
                    self.release(size)
                self._admit()
                raise
        else:
            self.acquire(size)
        reservation = Reservation(self, size)
        try:
            yield reservation
        finally:
            reservation.shrink(0)

    def acquire(self, size: int) -> None:
        """Acquire bytes, without waiting.

        Raises:
            MemoryBudgetExceededError: the budget has no room for them.
        """
        if size > self._free:
            raise MemoryBudgetExceededError
        self._free -= size

    def release(self, size: int) -> None:
        """Release bytes and admit waiting reservations."""
        self._free += size
        self._admit()

    def _admit(self) -> None:
        while self._queue:
            size, admission = self._queue[0]
            if not admission.cancelled():
                if size > self._free:
                    return
                self._free -= size
                admission.set_result(None)
            self._queue.popleft()
