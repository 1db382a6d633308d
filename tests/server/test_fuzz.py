from __future__ import annotations

from tests.server.fuzz import MEGABYTES, fuzz
from var_plugin.api import Index


async def test_no_body_makes_the_server_fail(footage: Index) -> None:
    outcome = await fuzz(footage, inputs=150, seed=1)
    assert outcome.failures == []
    assert outcome.grown < MEGABYTES
    assert {200, 400, 413} <= set(outcome.statuses)
