"""Fetching by URL, against a real server on loopback, whose address is not public."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.server.conftest import MODEL
from var_plugin.errors import InvalidInputError
from var_plugin.server import fetch
from var_plugin.server.fetch import Fetcher, is_public


class Site(BaseHTTPRequestHandler):
    """A few pages, and the list of requested paths."""

    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        port = self.server.server_address[1]
        redirects = {
            "/moved": "/image",
            "/loop": "/loop",
            "/metadata": "http://169.254.169.254/latest/meta-data/",
            "/elsewhere": f"http://localhost:{port}/image",
            "/file": "file:///etc/passwd",
        }
        if self.path in redirects:
            self.send_response(302)
            self.send_header("Location", redirects[self.path])
            self.end_headers()
        elif self.path == "/image":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 100)
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def site() -> Iterator[str]:
    Site.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "is_public", lambda address: address == "127.0.0.1" or is_public(address))


async def test_host_must_be_allowed(site: str) -> None:
    with pytest.raises(InvalidInputError, match="does not allow that host"):
        await Fetcher([], 1000).fetch(f"http://{site}/image")
    assert Site.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_allowed_host_with_private_address_is_refused(site: str, host: str) -> None:
    port = site.partition(":")[2]
    with pytest.raises(InvalidInputError, match="its address is not public"):
        await Fetcher([f"{host}:{port}"], 1000).fetch(f"http://{host}:{port}/image")
    assert Site.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/",
        "//example.org/",
        "../../etc/passwd",
        "http://",
        "http://a:b/",
        "gopher://a",
    ],
)
async def test_other_urls_than_http_are_refused(url: str) -> None:
    with pytest.raises(InvalidInputError):
        await Fetcher(["example.org", "a", ""], 1000).fetch(url)


@pytest.mark.usefixtures("loopback_is_public")
async def test_redirects_of_an_allowed_public_host_are_followed(site: str) -> None:
    assert await Fetcher([site], 100).fetch(f"http://{site}/moved") == b"x" * 100
    assert Site.requests == ["/moved", "/image"]


@pytest.mark.usefixtures("loopback_is_public")
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/metadata", "does not allow that host"),
        ("/elsewhere", "does not allow that host"),
        ("/file", "not a URL to fetch"),
        ("/loop", "more than 3 redirects"),
        ("/missing", "status 404"),
    ],
)
async def test_every_redirect_is_checked(site: str, path: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        await Fetcher([site], 1000).fetch(f"http://{site}{path}")
    assert "/image" not in Site.requests


@pytest.mark.usefixtures("loopback_is_public")
async def test_redirect_to_an_allowed_private_address_is_refused(site: str) -> None:
    with pytest.raises(InvalidInputError, match="is not public"):
        await Fetcher([site, "169.254.169.254"], 1000).fetch(f"http://{site}/metadata")


@pytest.mark.usefixtures("loopback_is_public")
async def test_size_of_a_fetched_file_is_limited(site: str) -> None:
    with pytest.raises(InvalidInputError, match="the limit is 99 bytes"):
        await Fetcher([site], 99).fetch(f"http://{site}/image")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    ],
)  # fmt: skip
def test_addresses_inside_a_network_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


def test_the_server_fetches_nothing_by_default(serving: Callable[..., str], site: str) -> None:
    body = {"model": MODEL, "input": f"http://{site}/image", "modality": "image"}
    response = httpx.post(f"{serving()}/v1/embeddings", json=body)
    assert response.status_code == 400
    assert "does not allow that host" in response.json()["error"]["message"]
    assert Site.requests == []


@pytest.mark.usefixtures("loopback_is_public")
def test_limits_and_modalities_are_checked_before_anything_is_fetched(serving: Callable[..., str], site: str) -> None:
    def status(*inputs: object, **fields: object) -> int:
        body = {"model": MODEL, "input": [image, *inputs], **fields}
        return httpx.post(f"{address}/v1/embeddings", json=body).status_code

    address = serving(fetch_hosts=[site])
    image = {"type": "image_url", "image_url": {"url": f"http://{site}/image"}}
    assert status(*[image] * 32) == 413, "33 media files"
    assert status("red " * 10_000) == 413, "a long text"
    assert status({"type": "audio_url", "audio_url": {"url": f"http://{site}/image"}}) == 400, "a space without audio"
    assert Site.requests == []
    assert status() == 400, "the file is no image"
    assert Site.requests == ["/image"]
