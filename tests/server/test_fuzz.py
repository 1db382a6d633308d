from __future__ import annotations

from tests.server.fuzz import MEGABYTES, PATHS, fuzz
from var_plugin.api import Index
from var_plugin.server.application import build_app


async def test_random_bodies_never_cause_a_server_error(footage: Index) -> None:
    outcome = await fuzz(footage, inputs=150, seed=6)
    assert outcome.failures == []
    assert outcome.memory_growth < MEGABYTES
    assert {200, 400, 413} <= set(outcome.statuses)


def test_every_route_with_a_body_is_fuzzed(footage: Index) -> None:
    routes = build_app(footage.suite, footage).openapi()["paths"]
    assert {path for path, methods in routes.items() if methods.keys() - {"get"}} == set(PATHS)
