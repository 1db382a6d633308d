from __future__ import annotations

import asyncio

import pytest

from var_plugin.server.memory import MemoryBudget, MemoryBudgetExceededError


async def test_reservation_is_released_after_its_block() -> None:
    budget = MemoryBudget(10)
    for _ in range(3):
        with budget.track() as reservation:
            reservation.add(6)
            reservation.add(4)
            with pytest.raises(MemoryBudgetExceededError):
                reservation.add(1)
    with pytest.raises(RuntimeError), budget.track() as reservation:
        reservation.add(10)
        raise RuntimeError
    budget.acquire(10)


async def test_waiting_reservations_are_admitted_in_order() -> None:
    budget = MemoryBudget(10)
    admitted: list[str] = []
    go = asyncio.Event()

    async def hold(name: str, size: int) -> None:
        async with budget.reserve(size):
            admitted.append(name)
            await go.wait()

    tasks = [asyncio.create_task(hold(name, size)) for name, size in (("a", 6), ("b", 6), ("c", 1), ("d", 100))]
    await asyncio.sleep(0)
    assert admitted == ["a"]
    go.set()
    await asyncio.gather(*tasks)
    assert admitted == ["a", "b", "c", "d"]


async def test_reservation_can_shrink() -> None:
    budget = MemoryBudget(10)
    async with budget.reserve(10) as reservation:
        reservation.shrink(3)
        reservation.shrink(5)
        async with budget.reserve(7):
            with pytest.raises(MemoryBudgetExceededError):
                budget.acquire(1)
    budget.acquire(10)


async def test_cancelled_reservations_release_their_bytes() -> None:
    budget = MemoryBudget(10)

    async def hold() -> None:
        async with budget.reserve(10):
            await asyncio.Event().wait()

    first, second, third = (asyncio.create_task(hold()) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()
    await asyncio.sleep(0)
    third.cancel()
    await asyncio.gather(first, second, third, return_exceptions=True)
    budget.acquire(10)
