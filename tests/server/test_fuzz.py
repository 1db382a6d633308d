from __future__ import annotations

from tests.server.fuzz import MEGABYTES, fuzz
from var_plugin.api import Index


async def test_random_bodies_never_cause_a_server_error(footage: Index) -> None:
    outcome = await fuzz(footage, inputs=150, seed=1)
    assert outcome.failures == []
    assert outcome.memory_growth < MEGABYTES
    assert {200, 400, 413} <= set(outcome.statuses)
