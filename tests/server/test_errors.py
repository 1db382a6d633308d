from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import httpx
import pytest

from tests.colors import suite_with
from tests.server.conftest import MODEL
from var_plugin import errors
from var_plugin.encoders.base import Vectors
from var_plugin.server.errors import STATUS


def test_every_error_of_the_package_has_a_status() -> None:
    assert set(STATUS) == set(errors.error_classes())
    assert set(STATUS.values()) <= {400, 404, 413, 500, 503}


class FailingEncoder:
    """Text encoder that always fails with the given error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def encode(self, texts: Sequence[str]) -> Vectors:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.MissingWeightsError("no file /secret/weights", fix="get it"), 503, "missing_weights_error"),
        (RuntimeError("at /secret/place"), 500, "runtime_error"),
    ],
)
def test_details_of_internal_errors_are_only_logged(
    serving: Callable[..., str], caplog: pytest.LogCaptureFixture, error: Exception, status: int, code: str
) -> None:
    address = serving(suite_with(FailingEncoder(error)))
    with caplog.at_level(logging.ERROR):
        response = httpx.post(f"{address}/v1/embeddings", json={"model": MODEL, "input": "red"})
    assert response.status_code == status
    body = response.json()["error"]
    assert (body["type"], body["code"]) == ("server_error", code)
    assert "secret" not in response.text
    reference = body["message"].rpartition(" ")[2]
    assert any(reference in record.getMessage() for record in caplog.records)
    assert "/secret/" in caplog.text
