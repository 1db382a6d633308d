"""A budget of bytes that all requests share."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.exceptions import HTTPException


class OverBudgetError(HTTPException):
    """The budget has no room for what a request needs."""

    def __init__(self) -> None:
        super().__init__(429, "the server holds as many bytes of requests as it can", {"Retry-After": "1"})


class Reservation:
    """Bytes of a budget that one request holds."""

    def __init__(self, budget: MemoryBudget, size: int = 0) -> None:
        self._budget, self._size = budget, size

    def add(self, size: int) -> None:
        """Hold more bytes, at once.

        Raises:
            OverBudgetError: there is no room for them.
        """
        self._budget.take(size)
        self._size += size

    def shrink(self, size: int) -> None:
        """Hold at most so many bytes from now on."""
        if size < self._size:
            self._budget.give_back(self._size - size)
            self._size = size


class MemoryBudget:
    """Counts bytes; used on the event loop only.

    Args:
        total: bytes that all requests may hold together.
    """

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextmanager
    def opened(self) -> Iterator[Reservation]:
        """Give a reservation without bytes, and take back what it holds in the end."""
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            reservation.shrink(0)

    @asynccontextmanager
    async def reserved(self, size: int) -> AsyncIterator[Reservation]:
        """Wait for so many bytes, in order of arrival. More than the whole budget waits for the whole budget."""
        size = min(size, self._total)
        if self._waiting or size > self._free:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # its bytes were taken already
                    self.give_back(size)
                self._admit()
                raise
        else:
            self.take(size)
        reservation = Reservation(self, size)
        try:
            yield reservation
        finally:
            reservation.shrink(0)

    def take(self, size: int) -> None:
        """Take bytes, at once.

        Raises:
            OverBudgetError: there is no room for them.
        """
        if size > self._free:
            raise OverBudgetError
        self._free -= size

    def give_back(self, size: int) -> None:
        """Free bytes, and let those in who wait for them."""
        self._free += size
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.cancelled():
                if size > self._free:
                    return
                self._free -= size
                turn.set_result(None)
            self._waiting.popleft()
