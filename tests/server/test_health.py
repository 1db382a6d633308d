from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.colors import suite_with
from tests.server.conftest import KEY, MODEL
from tests.server.test_errors import FailingEncoder
from tests.server.test_middleware import BlockingEncoder
from var_plugin.errors import MissingWeightsError


def eventually_ready(address: str) -> bool:
    for _ in range(100):
        if httpx.get(f"{address}/health/ready").status_code == 200:
            return True
        time.sleep(0.05)
    return False


def test_server_is_live_before_it_is_ready(serving: Callable[..., str]) -> None:
    encoder = BlockingEncoder()
    address = serving(suite_with(encoder))
    assert httpx.get(f"{address}/health/live").json() == {"status": "live"}
    response = httpx.get(f"{address}/health/ready")
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "the encoders are loading"
    encoder.go.set()
    assert eventually_ready(address)


@pytest.mark.parametrize("error", [MissingWeightsError("none"), RuntimeError("anything")])
def test_server_whose_encoders_fail_is_live_but_not_ready(serving: Callable[..., str], error: Exception) -> None:
    address = serving(suite_with(FailingEncoder(error)))
    assert httpx.get(f"{address}/health/live").status_code == 200
    time.sleep(0.2)
    assert "cannot load the encoders" in httpx.get(f"{address}/health/ready").json()["error"]["message"]


def test_metrics_are_valid_prometheus_text(server: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    httpx.post(f"{server}/v1/embeddings", json={"model": MODEL, "input": ["red", "blue"]}, headers=headers)
    httpx.get(f"{server}/v1/videos/00", headers=headers)
    text = httpx.get(f"{server}/metrics", headers=headers).text
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    post = (("method", "POST"), ("route", "/v1/embeddings"), ("status", "200"))
    assert samples[("var_plugin_requests_total", *post)] >= 1
    missing = (("method", "GET"), ("route", "/v1/videos/{video_id}"), ("status", "404"))
    assert samples[("var_plugin_requests_total", *missing)] >= 1
    assert samples[("var_plugin_request_seconds_count", ("route", "/v1/embeddings"))] >= 1
    assert samples[("var_plugin_batch_items_sum", ("modality", "text"), ("space", "scene"))] >= 2
    assert samples[("var_plugin_requests_in_flight",)] == 1
