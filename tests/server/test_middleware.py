from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import httpx
import pytest

from tests.colors import suite_with
from tests.server.conftest import KEY, MODEL, AnyWords, any_word_suite
from var_plugin.encoders.base import Vectors

BODY = {"model": MODEL, "input": "red"}


@pytest.mark.parametrize(
    "authorization", [None, "Bearer", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer \xe9"]
)
def test_request_without_valid_key_gets_401(server: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    for method, path in (("POST", "/v1/embeddings"), ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/nothing")):
        response = httpx.request(method, server + path, headers=headers, json=BODY if method == "POST" else None)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["error"]["type"] == "authentication_error"


def test_health_and_openapi_need_no_key(server: str) -> None:
    for path in ("/health/live", "/health/ready", "/openapi.json"):
        assert httpx.get(server + path).status_code in (200, 503)  # the encoders may still load


def response_before_the_body(address: str, length: int) -> tuple[int, dict[str, str]]:
    """Declare a body, send none of it, and return the status and the error of the response."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)
    connection.putrequest("POST", "/v1/embeddings")
    connection.putheader("Content-Length", str(length))
    connection.endheaders()
    response = connection.getresponse()
    return response.status, json.loads(response.read())["error"]


def test_body_declared_too_large_is_refused_before_it_arrives(serving: Callable[..., str]) -> None:
    address = serving(max_body_bytes=1000)
    status, error = response_before_the_body(address, 1001)
    assert (status, error["message"]) == (413, "the request is larger than 1000 bytes")
    assert httpx.post(f"{address}/v1/embeddings", json=BODY).status_code == 200


def test_keys_are_checked_before_a_body_is_read(serving: Callable[..., str]) -> None:
    status, error = response_before_the_body(serving(api_keys=frozenset({KEY})), 10)
    assert (status, error["type"]) == (401, "authentication_error")


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/embeddings/files"])
def test_body_without_declared_length_is_limited(serving: Callable[..., str], path: str) -> None:
    def parts() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
        for _ in range(100):
            yield b"red " * 25

    kind = "multipart/form-data; boundary=x" if path.endswith("files") else "application/json"
    response = httpx.post(serving(max_body_bytes=1000) + path, content=parts(), headers={"Content-Type": kind})
    assert response.status_code == 413


def test_compressed_body_is_not_decompressed(serving: Callable[..., str]) -> None:
    bomb = gzip.compress(b"red " * 10_000_000)
    response = httpx.post(f"{serving()}/v1/embeddings", content=bomb, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 415


def test_a_body_nested_too_deep_is_refused(serving: Callable[..., str]) -> None:
    headers = {"Content-Type": "application/json"}
    response = httpx.post(f"{serving()}/v1/embeddings", content=b"[" * 200_000, headers=headers)
    assert response.status_code == 400


class BlockingEncoder(AnyWords):
    """Text encoder that blocks until `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.go.wait(30)
        return super().encode(texts)


async def test_requests_above_the_concurrency_limit_get_429(serving: Callable[..., str]) -> None:
    encoder = BlockingEncoder()
    address = serving(suite_with(encoder), max_in_progress=2)
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        accepted = [asyncio.create_task(client.post("/v1/embeddings", json=BODY)) for _ in range(2)]
        await asyncio.sleep(0.5)
        refused = await client.post("/v1/embeddings", json=BODY)
        live = await client.get("/health/live")
        encoder.go.set()
        responses = await asyncio.gather(*accepted)
        again = await client.post("/v1/embeddings", json=BODY)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert live.status_code == 200
    assert [response.status_code for response in [*responses, again]] == [200, 200, 200]


def test_unknown_routes_and_methods_get_the_same_error_body(serving: Callable[..., str]) -> None:
    address = serving(any_word_suite())
    for method, path, status in (("GET", "/v1/embeddings", 405), ("GET", "/v2", 404), ("DELETE", "/v1/models", 405)):
        response = httpx.request(method, address + path)
        assert response.status_code == status
        assert response.json()["error"].keys() == {"message", "type", "param", "code"}


def test_requests_with_a_foreign_host_or_origin_are_refused(server: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    for path in ("/v1/videos", "/health/live", "/openapi.json"):
        other_host = httpx.get(server + path, headers=headers | {"Host": "evil.example"})
        assert other_host.status_code == 421
        assert other_host.json()["error"]["type"] == "invalid_request_error"
        assert httpx.get(server + path, headers=headers | {"Origin": "http://evil.example"}).status_code == 403
        assert httpx.get(server + path, headers=headers | {"Origin": server}).status_code == 200


def test_a_host_can_be_allowed(serving: Callable[..., str]) -> None:
    address = serving(allowed_hosts=frozenset({"cameras.example.org"}))
    assert httpx.get(f"{address}/v1/models", headers={"Host": "cameras.example.org"}).status_code == 200
    assert httpx.get(f"{address}/v1/models", headers={"Host": "cameras.example.com"}).status_code == 421


def connection(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def post_head(path: str, length: int, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def test_incomplete_bodies_do_not_count_as_requests_in_progress(serving: Callable[..., str]) -> None:
    address = serving(max_in_progress=2)
    with ExitStack() as stack:
        for _ in range(4):
            slow = stack.enter_context(connection(address))
            slow.sendall(post_head("/v1/embeddings", 1000) + b"{")
        assert httpx.post(f"{address}/v1/embeddings", json=BODY).status_code == 200


def test_bodies_of_all_requests_share_one_memory_budget(serving: Callable[..., str]) -> None:
    address = serving(memory_bytes=6 * 2**20, max_body_bytes=2**20)
    with connection(address) as slow:
        slow.sendall(post_head("/v1/embeddings", 900_000) + b'{"input": "' + b"a" * 700_000)
        with connection(address) as other:
            other.sendall(post_head("/v1/embeddings", 900_000) + b'{"input": "' + b"a" * 500_000)
            response = other.recv(10_000)
    assert b" 429 " in response.splitlines()[0]
    assert b"retry-after: 1" in response.lower()
    assert httpx.post(f"{address}/v1/embeddings", json=BODY | {"input": "red " * 8000}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/v1/embeddings", 2000),
        ("POST", "/v1/search", 2000),
        ("POST", "/v1/embeddings/files", 500_000),
        ("POST", "/nothing", 64 * 1024),
        ("GET", "/v1/models", 64 * 1024),
    ],
)
def test_each_route_has_its_own_body_limit(serving: Callable[..., str], method: str, path: str, limit: int) -> None:
    address = serving(max_json_bytes=2000, max_body_bytes=500_000)
    assert httpx.request(method, address + path, content=b" " * limit).status_code != 413
    assert httpx.request(method, address + path, content=b" " * (limit + 1)).status_code == 413


def eventually(condition: Callable[[], bool]) -> bool:
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.05)
    return False


class RecordingEncoder(BlockingEncoder):
    """Blocking text encoder that records the texts."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return super().encode(texts)


def test_work_of_disconnected_clients_is_dropped(serving: Callable[..., str]) -> None:
    encoder = RecordingEncoder()
    address = serving(suite_with(encoder), max_in_progress=8)
    assert eventually(lambda: len(encoder.texts) == 1)  # warm-up
    body = json.dumps(BODY).encode()
    clients = [connection(address) for _ in range(4)]
    for client in clients:
        client.sendall(post_head("/v1/embeddings", len(body)) + body)
    assert eventually(lambda: "in_flight 5.0" in httpx.get(f"{address}/metrics").text)
    for client in clients:
        client.close()
    assert eventually(lambda: httpx.get(f"{address}/v1/models").status_code == 200)
    assert eventually(lambda: "in_flight 1.0" in httpx.get(f"{address}/metrics").text)
    encoder.go.set()
    assert httpx.post(f"{address}/v1/embeddings", json=BODY | {"input": "blue"}).status_code == 200
    assert encoder.texts.count("red") < 4, "only the batch in progress is encoded"


def test_methods_and_paths_of_clients_do_not_become_metric_labels(serving: Callable[..., str]) -> None:
    address = serving()
    for number in range(20):
        httpx.request(f"METHOD{number}", f"{address}/path{number}")
    lines = [line for line in httpx.get(f"{address}/metrics").text.splitlines() if "METHOD" in line or "/path" in line]
    assert lines == []
