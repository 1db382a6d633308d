"""The OpenAPI description of the server is complete, and all responses conform to it."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.server.conftest import KEY, MODEL
from var_plugin.api import Index
from var_plugin.server.application import build_app
from var_plugin.server.options import ServerOptions

HOST = {"Host": "localhost"}
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.fixture
def description(footage: Index) -> schemathesis.BaseSchema:
    app = build_app(footage.suite, footage, ServerOptions(api_keys=frozenset({KEY})))
    return schemathesis.openapi.from_asgi("/openapi.json", app, headers=HOST)


def test_responses_to_generated_requests_conform_to_the_schema(description: schemathesis.BaseSchema) -> None:
    headers = {"Authorization": f"Bearer {KEY}", **HOST}
    for operation in (result.ok() for result in description.get_all_operations()):

        @given(case=operation.as_strategy())
        @settings(max_examples=60, suppress_health_check=list(HealthCheck), derandomize=True)
        def holds(case: schemathesis.Case) -> None:
            if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
                case.body["model"] = MODEL  # other names fail at the first check
            if isinstance(case.body, dict) and isinstance(case.body.get("text"), str):
                case.body = {name: part for name, part in case.body.items() if name not in ("image", "audio", "video")}
            if isinstance(case.body, dict) and case.body.get("modality") == "text":
                case.body.pop("dimensions", None)  # a random number rarely equals that of the model
            case.call_and_validate(headers=headers, checks=CHECKS)

        holds()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/embeddings", {"model": MODEL, "input": ["red", "green"]}),
        ("POST", "/v1/search", {"text": "red", "k": 3}),
        ("POST", "/v1/anomalies", {"k": 3}),
        ("GET", "/v1/videos", None),
        ("GET", "/v1/models", None),
    ],
)
def test_successful_responses_conform_to_the_schema(
    description: schemathesis.BaseSchema, method: str, path: str, body: dict[str, object] | None
) -> None:
    """Generated requests rarely succeed. These do."""
    case = description[path][method].Case(**({} if body is None else {"body": body, "media_type": "application/json"}))
    response = case.call_and_validate(headers={"Authorization": f"Bearer {KEY}", **HOST}, checks=CHECKS)
    assert response.status_code == 200


def test_every_operation_is_described(footage: Index) -> None:
    paths = build_app(footage.suite, footage).openapi()["paths"]
    operations = {(method, path): operation for path, methods in paths.items() for method, operation in methods.items()}
    assert set(operations) == {
        ("get", "/health/live"), ("get", "/health/ready"), ("get", "/metrics"),
        ("post", "/v1/embeddings"), ("post", "/v1/embeddings/files"), ("get", "/v1/models"),
        ("get", "/v1/models/{model}"), ("post", "/v1/search"), ("post", "/v1/anomalies"), ("get", "/v1/videos"),
        ("get", "/v1/videos/{video_id}"), ("get", "/v1/videos/{video_id}/thumbnail"),
    }  # fmt: skip
    for (_, path), operation in operations.items():
        assert operation["summary"]
        assert operation["description"]
        assert {"400", "401", "413", "429", "5XX"} <= set(operation["responses"])
        assert "422" not in operation["responses"]
        assert bool(operation.get("security")) == path.startswith("/v1/")
        for parameter in operation.get("parameters", []):
            assert parameter.get("description") or parameter["name"] == "model"
