"""What must not be fetched, and that the rest is: against a real server on loopback, which is never public."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.server.conftest import MODEL
from var_plugin.errors import InvalidInputError
from var_plugin.server import fetch as fetching
from var_plugin.server.fetch import Fetcher, is_public


class Site(BaseHTTPRequestHandler):
    """A few pages, and a list of who asked for them."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
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
    Site.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def loopback_counts_as_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1" or is_public(address))


async def test_nothing_is_fetched_unless_the_host_is_allowed(site: str) -> None:
    with pytest.raises(InvalidInputError, match="does not allow that host"):
        await Fetcher([], 1000).fetch(f"http://{site}/image")
    assert Site.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_allowed_name_that_leads_inside_is_refused(site: str, host: str) -> None:
    port = site.partition(":")[2]
    with pytest.raises(InvalidInputError, match="its address is not public"):
        await Fetcher([f"{host}:{port}"], 1000).fetch(f"http://{host}:{port}/image")
    assert Site.asked == []


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
async def test_only_the_web_is_fetched(url: str) -> None:
    with pytest.raises(InvalidInputError):
        await Fetcher(["example.org", "a", ""], 1000).fetch(url)


@pytest.mark.usefixtures("loopback_counts_as_public")
async def test_an_allowed_public_host_is_fetched_through_redirects(site: str) -> None:
    assert await Fetcher([site], 100).fetch(f"http://{site}/moved") == b"x" * 100
    assert Site.asked == ["/moved", "/image"]


@pytest.mark.usefixtures("loopback_counts_as_public")
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
    assert "/image" not in Site.asked


@pytest.mark.usefixtures("loopback_counts_as_public")
async def test_a_redirect_to_an_allowed_name_inside_is_refused(site: str) -> None:
    with pytest.raises(InvalidInputError, match="is not public"):
        await Fetcher([site, "169.254.169.254"], 1000).fetch(f"http://{site}/metadata")


@pytest.mark.usefixtures("loopback_counts_as_public")
async def test_a_file_is_read_up_to_the_limit(site: str) -> None:
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
    asked = {"model": MODEL, "input": f"http://{site}/image", "modality": "image"}
    answer = httpx.post(f"{serving()}/v1/embeddings", json=asked)
    assert answer.status_code == 400
    assert "does not allow that host" in answer.json()["error"]["message"]
    assert Site.asked == []
