from __future__ import annotations

import json
from typing import Any

import pytest

from var_plugin.errors import InvalidInputError
from var_plugin.web.same_origin import MAX_HEADERS, Message, Receive, SameOriginMiddleware, Scope, Send, normalize_host

Header = tuple[str, str]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every request with CORS headers and cookies, as a careless library does."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept", "headers": [(b"access-control-allow-origin", b"*")]})
        return
    headers = [
        (b"Access-Control-Allow-Origin", b"https://evil.example"),
        (b"access-control-allow-credentials", b"true"),
        (b"set-cookie", b"token=1; HttpOnly; SameSite=None; Secure"),
        (b"set-cookie", b"other=2; Path=/; samesite=strict"),
        (b"set-cookie", b"plain=3"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"footage"})


async def send_request(
    *headers: Header,
    method: str = "GET",
    path: str = "/v1/videos",
    kind: str = "http",
    server: tuple[str, int] = ("10.0.0.7", 8000),
    **options: Any,
) -> list[Message]:
    scope: Scope = {
        "type": kind,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "server": server,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }
    if kind == "http":
        scope["method"] = method
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    await SameOriginMiddleware(application, **options)(scope, receive, send)
    return messages


async def status(*headers: Header, **options: Any) -> int:
    return int((await send_request(*headers, **options))[0]["status"])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.2:8000",
        "[::1]",
        "[::1]:8000",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.7:8000",
    ],
)
async def test_loopback_names_and_the_address_of_the_connection_are_accepted(host: str) -> None:
    assert await status(("Host", host)) == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.1", 421),
        ("2130706433", 421),
        ("0x7f000001", 421),
        ("10.0.0.8", 421),
        ("[fe80::1]", 421),
        ("", 400),
        ("localhost@evil.example", 400),
        ("evil.example/localhost", 400),
        ("localhost, evil.example", 400),
        ("localhost:80a", 400),
        ("localhost:99999", 400),
        ("::1", 400),
        ("[localhost]", 400),
        ("[127.0.0.1]", 400),
        ("[::1", 400),
        ("lo\tcalhost", 400),
        ("localhost\x00", 400),
        ("löcalhost", 400),
    ],
)
async def test_other_host_names_are_refused(host: str, expected: int) -> None:
    assert await status(("Host", host)) == expected


async def test_a_request_needs_exactly_one_host() -> None:
    assert await status() == 400
    assert await status(("Host", "localhost"), ("Host", "localhost")) == 400
    assert await status(("Host", "localhost"), ("Host", "evil.example")) == 400


async def test_name_of_the_connection_is_not_trusted_as_host() -> None:
    assert await status(("Host", "evil.example"), server=("evil.example", 80)) == 421


async def test_forwarded_host_headers_are_ignored() -> None:
    forwarded = [("X-Forwarded-Host", "localhost"), ("Forwarded", "host=localhost")]
    assert await status(("Host", "evil.example"), *forwarded) == 421


async def test_allowed_hosts_and_the_listen_address_are_accepted() -> None:
    allowed = {"listen_host": "cameras.local", "allowed_hosts": ["Cameras.Example.org", "2001:db8::0:1", "192.0.2.7"]}
    for host in ("cameras.local:8000", "cameras.example.org", "[2001:db8::1]:443", "192.0.2.7"):
        assert await status(("Host", host), **allowed) == 200
    assert await status(("Host", "other.example.org"), **allowed) == 421


async def test_refusal_is_one_line_and_names_the_option() -> None:
    start, body, _ = await send_request(("Host", "evil.example:80"))
    assert start["status"] == 421
    assert body["body"].decode().count("\n") == 1
    assert "--allow-host evil.example" in body["body"].decode()
    assert (await send_request(("Host", "evil.example"), method="HEAD"))[1]["body"] == b""


async def test_body_of_a_refusal_can_be_customised() -> None:
    def render(code: int, reason: str) -> tuple[str, bytes]:
        return "application/json", json.dumps({"status": code, "reason": reason}).encode()

    _, body, _ = await send_request(("Host", "evil.example"), render=render)
    assert json.loads(body["body"])["status"] == 421


@pytest.mark.parametrize("host", ["https://cameras.example.org", "cameras.example.org:443", "", "a b", "a/b", "[::1"])
def test_allowed_host_must_be_a_name_or_an_address(host: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a host name"):
        normalize_host(host)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("LOCALHOST:8000", "HTTP://localhost:8000"),
        ("[::1]:8000", "http://[0::1]:8000"),
        ("localhost", "http://localhost:80"),
        ("localhost:443", "https://localhost"),
        ("localhost", "https://localhost"),  # behind a proxy with TLS
    ],
)
async def test_origin_equal_to_the_host_is_accepted(host: str, origin: str) -> None:
    assert await status(("Host", host), ("Origin", origin), method="POST") == 200


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://localhost:3000",
        "http://127.0.0.1:8000",
        "https://localhost:8443",
        "null",
        "",
        "file://",
        "chrome-extension://abcdef",
        "http://localhost:8000@evil.example",
        "http://localhost:8000/",
        "localhost:8000",
    ],
)
async def test_other_origins_are_refused(origin: str, method: str) -> None:
    assert await status(("Host", "localhost:8000"), ("Origin", origin), method=method) == 403


async def test_one_foreign_origin_among_several_is_refused() -> None:
    origins = [("Origin", "http://localhost:8000"), ("Origin", "http://evil.example")]
    assert await status(("Host", "localhost:8000"), *origins) == 403


def fetch(site: str, mode: str, destination: str) -> list[Header]:
    return [
        ("Host", "localhost"),
        ("Sec-Fetch-Site", site),
        ("Sec-Fetch-Mode", mode),
        ("Sec-Fetch-Dest", destination),
    ]


async def test_other_sites_may_only_link_to_the_server() -> None:
    for site in ("cross-site", "same-site", "anything"):
        assert await status(*fetch(site, "navigate", "document")) == 200
        assert await status(*fetch(site, "navigate", "document"), method="POST") == 403
        assert await status(*fetch(site, "navigate", "iframe")) == 403
        assert await status(*fetch(site, "no-cors", "image")) == 403
        assert await status(*fetch(site, "cors", "empty")) == 403
    for site in ("same-origin", "none"):
        assert await status(*fetch(site, "cors", "empty"), method="POST") == 200


async def test_allowed_frame_ancestors_may_embed_the_page() -> None:
    options = {"frame_ancestors": ["https://huggingface.co"]}
    start, _ = await send_request(*fetch("cross-site", "navigate", "iframe"), **options)
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"content-security-policy"] == b"frame-ancestors 'self' https://huggingface.co"
    assert b"x-frame-options" not in headers
    assert await status(*fetch("cross-site", "cors", "empty"), **options) == 403


async def test_websockets_are_checked_too() -> None:
    own = [("Host", "localhost"), ("Origin", "http://localhost")]
    (accepted,) = await send_request(*own, kind="websocket")
    assert accepted["type"] == "websocket.accept"
    assert b"access-control-allow-origin" not in dict(accepted["headers"])
    for headers in (
        [("Host", "evil.example")],
        [("Host", "localhost"), ("Origin", "http://evil.example")],
        [("Host", "localhost"), ("Origin", "null")],
        fetch("cross-site", "websocket", "websocket"),
        fetch("cross-site", "navigate", "document"),
    ):
        (closed,) = await send_request(*headers, kind="websocket")
        assert (closed["type"], closed["code"]) == ("websocket.close", 1008)


async def test_responses_are_not_readable_by_other_origins() -> None:
    start, body = await send_request(("Host", "localhost"))
    assert body["body"] == b"footage"
    assert not [name for name, _ in start["headers"] if name.lower().startswith(b"access-control-")]
    assert [value for name, value in start["headers"] if name == b"set-cookie"] == [
        b"token=1; HttpOnly; Secure; SameSite=Lax",
        b"other=2; Path=/; samesite=strict",
        b"plain=3; SameSite=Lax",
    ]


async def test_responses_and_refusals_carry_security_headers() -> None:
    for host in ("localhost", "evil.example"):
        headers = dict((await send_request(("Host", host)))[0]["headers"])
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert headers[b"x-frame-options"] == b"SAMEORIGIN"
        assert headers[b"content-security-policy"] == b"frame-ancestors 'self'"
        assert headers[b"referrer-policy"] == b"same-origin"
        assert headers[b"cross-origin-resource-policy"] == b"same-origin"


async def test_absolute_request_target_is_refused() -> None:
    assert await status(("Host", "localhost"), path="http://evil.example/v1/videos") == 400


async def test_size_of_headers_and_request_target_is_limited() -> None:
    assert await status(("Host", "localhost"), path="/" + "a" * 20_000) == 414
    assert await status(("Host", "localhost"), ("Cookie", "a" * 70_000)) == 431
    assert await status(("Host", "localhost"), *[("X-A", "a")] * MAX_HEADERS) == 431


async def test_lifespan_messages_are_passed_on() -> None:
    scopes: list[Scope] = []

    async def record(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    await SameOriginMiddleware(record)({"type": "lifespan"}, receive, send)
    assert scopes == [{"type": "lifespan"}]
