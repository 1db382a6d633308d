"""ASGI middleware that keeps other web sites and foreign host names away from a server of this package.

A browser sends requests of any web site to any address, also to addresses that only this machine reaches. Two checks
stop that: the `Host` header must name this server (against DNS rebinding), and where the browser says which site
sends a request, that site must be this server's own (against cross-site requests). The page, the HTTP server and the
MCP server use the same middleware.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any, NamedTuple

from var_plugin.errors import InvalidInputError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Render = Callable[[int, str], tuple[str, bytes]]
"""Returns the media type and the body of a refusal, from its status and its reason."""

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_TARGET_BYTES = 16 * 1024

_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_][A-Za-z0-9._-]{0,253})(?::(?P<port>\d{0,5}))?")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#@]+)", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAME_SITE = re.compile(rb";\s*samesite\s*(=\s*[^;]*)?(?=;|$)", re.IGNORECASE)
_OWN_SITES = frozenset({b"same-origin", b"none"})
_POLICY_VIOLATION = 1008
_CLOSE_REASON = 120
_DROP_SECONDS = 5.0
_DROP_BYTES = 64 << 20


class Authority(NamedTuple):
    """The host and the port of a `Host` header or an origin; the host is in its canonical form."""

    host: str
    port: int | None


class RefusedRequestError(Exception):
    """A request that is not passed on.

    Args:
        status: HTTP status of the answer.
        reason: one line for the client.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, reason: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, tuple(headers)


def plain_text(status: int, reason: str) -> tuple[str, bytes]:
    """Format a refusal as one line of text."""
    return "text/plain; charset=utf-8", f"{reason}\n".encode()


async def send_refusal(
    refusal: RefusedRequestError, scope: Scope, send: Send, render: Render = plain_text, receive: Receive | None = None
) -> None:
    """Answer a request that is not passed on, and close its connection; close a WebSocket before it is accepted.

    With `receive`, a part of the body is read and dropped before the connection is closed: a client that still sends
    its body could lose the answer.
    """
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": refusal.reason[:_CLOSE_REASON]})
        return
    media_type, body = render(refusal.status, refusal.reason)
    headers = [
        (b"content-type", media_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # the rest of the request is not read
        *refusal.headers,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body, "more_body": True})
    if receive and _sends_body(scope["headers"]):
        with suppress(TimeoutError):
            await asyncio.wait_for(_drop_body(receive), _DROP_SECONDS)
    await send({"type": "http.response.body", "body": b""})


def _sends_body(headers: Headers) -> bool:
    has_body = header_values(headers, b"content-length") not in ([], [b"0"])
    has_body = has_body or bool(header_values(headers, b"transfer-encoding"))
    return has_body and not header_values(headers, b"expect")  # such a client waits for the answer first


async def _drop_body(receive: Receive) -> None:
    dropped = 0
    while dropped < _DROP_BYTES:
        message = await receive()
        dropped += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


class SameOriginMiddleware:
    """Pass a request on only if it names this server and does not come from another web site.

    Loopback addresses, `localhost`, the address that the server listens at and the address that a connection arrived
    at are always accepted in `Host`, with any port. A refused request is answered with 400, 403, 414, 421 or 431; a
    refused WebSocket is closed before it is accepted.

    Responses never allow other origins to read them (no CORS), their cookies are not sent by other sites
    (`SameSite=Lax`, never `None`), and they carry security headers.

    Args:
        app: the application behind the gate.
        listen_host: address or name that the server listens at.
        allowed_hosts: further names that `Host` may hold, such as the one that a reverse proxy serves.
        frame_ancestors: origins whose pages may show this one in a frame, such as `https://huggingface.co`.
        render: formats a refusal; default: plain text.

    Raises:
        InvalidInputError: an allowed host is not a host name or an address.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        listen_host: str = "127.0.0.1",
        allowed_hosts: Iterable[str] = (),
        frame_ancestors: Iterable[str] = (),
        render: Render = plain_text,
    ) -> None:
        self._app = app
        self._hosts = {"localhost"}
        self._frame_ancestors = tuple(frame_ancestors)
        self._render = render
        for host in (listen_host, *allowed_hosts):
            self.allow_host(host)
        ancestors = " ".join(["frame-ancestors 'self'", *self._frame_ancestors])
        self._security_headers: Headers = [
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]
        if not self._frame_ancestors:  # the older header knows no list of origins
            self._security_headers.append((b"x-frame-options", b"SAMEORIGIN"))
        self._content_policy = (b"content-security-policy", ancestors.encode())

    def allow_host(self, host: str) -> None:
        """Accept one more name in `Host`.

        Raises:
            InvalidInputError: it is not a host name or an address.
        """
        self._hosts.add(normalize_host(host))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except RefusedRequestError as refusal:
            await send_refusal(refusal, scope, self._guarded(send), self._render, receive)
        else:
            await self._app(scope, receive, self._guarded(send))

    def _check(self, scope: Scope) -> None:
        headers: Headers = scope["headers"]
        target = scope.get("raw_path") or scope["path"].encode()
        if len(target) + len(scope.get("query_string", b"")) > MAX_TARGET_BYTES:
            raise RefusedRequestError(414, f"the address of the request is longer than {MAX_TARGET_BYTES} bytes")
        if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            raise RefusedRequestError(431, f"the headers exceed {MAX_HEADERS} lines or {MAX_HEADER_BYTES} bytes")
        if not target.startswith(b"/") and target != b"*":
            raise RefusedRequestError(400, "the request names an absolute address, as a request to a proxy does")
        host = self._checked_authority(scope)
        _check_origin(headers, host)
        self._check_fetch_site(scope)

    def _checked_authority(self, scope: Scope) -> Authority:
        values = header_values(scope["headers"], b"host")
        if len(values) != 1:
            raise RefusedRequestError(400, "the request needs exactly one Host header")
        authority = parse_authority(values[0].decode("latin-1"))
        if authority is None:
            raise RefusedRequestError(400, "the Host header is not a host name with an optional port")
        if not self._names_this_server(authority.host, scope):
            raise RefusedRequestError(
                421,
                f"this server does not answer requests for the host '{authority.host}'; behind a proxy, start it with "
                f"--allow-host {authority.host}",
            )
        return authority

    def _names_this_server(self, host: str, scope: Scope) -> bool:
        if host in self._hosts:
            return True
        address = _address(host)
        if address is None:
            return False
        # An address cannot be rebound, as a name can. Where the server listens at all addresses, the one that the
        # connection arrived at is this server's.
        reached = scope.get("server")
        return address.is_loopback or (reached is not None and str(_address(str(reached[0]))) == host)

    def _check_fetch_site(self, scope: Scope) -> None:
        headers = scope["headers"]
        if _OWN_SITES.issuperset(header_values(headers, b"sec-fetch-site")):
            return
        # Following a link to the page is fine, using it from another site is not.
        destinations = [b"document", b"iframe"] if self._frame_ancestors else [b"document"]
        is_navigation = (
            scope.get("method") in ("GET", "HEAD")
            and header_values(headers, b"sec-fetch-mode") == [b"navigate"]
            and header_values(headers, b"sec-fetch-dest") in [[destination] for destination in destinations]
        )
        if not is_navigation:
            raise RefusedRequestError(403, "the request comes from another web site")

    def _guarded(self, send: Send) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                message = {**message, "headers": self._guarded_headers(message.get("headers", ()))}
            await send(message)

        return guarded

    def _guarded_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        guarded: Headers = []
        for name, value in headers:
            lower = name.lower()
            if lower.startswith(b"access-control-"):
                continue
            guarded.append((name, _same_site_cookie(value) if lower == b"set-cookie" else value))
        present = {name.lower() for name, _ in guarded}
        guarded += [header for header in self._security_headers if header[0] not in present]
        guarded.append(self._content_policy)  # several policies hold together
        return guarded


def parse_authority(text: str) -> Authority | None:
    """Return the host and the port of `host`, `host:port`, `[address]` or `[address]:port`; None for anything else."""
    match = _AUTHORITY.fullmatch(text.strip(" \t"))
    host = _canonical(match["host"]) if match else None
    if match is None or host is None:
        return None
    port = int(match["port"]) if match["port"] else None
    return Authority(host, port) if port is None or port < 65536 else None


def normalize_host(text: str) -> str:
    """Return a host name or an address in its canonical form.

    Raises:
        InvalidInputError: it is neither.
    """
    is_bare_ipv6 = text.count(":") > 1 and not text.startswith("[")
    authority = parse_authority(f"[{text}]" if is_bare_ipv6 else text)
    if authority is None or authority.port is not None:
        raise InvalidInputError(
            f"'{text}' is not a host name",
            why="a name or an address is needed",
            fix="leave out the scheme and the port",
        )
    return authority.host


def _canonical(host: str) -> str | None:
    """Return a name in lower case without its final dot, an address in its shortest form; None: it is malformed."""
    is_literal = host.startswith("[")
    bare = host.removeprefix("[").removesuffix("]")
    address = _address(bare)
    if address is not None:
        return str(address) if is_literal == (":" in bare) else None
    return None if is_literal else bare.lower().removesuffix(".")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _check_origin(headers: Headers, host: Authority) -> None:
    for origin in header_values(headers, b"origin"):
        match = _ORIGIN.fullmatch(origin.decode("latin-1").strip(" \t"))
        authority = parse_authority(match["authority"]) if match else None
        if match is None or authority is None:
            raise RefusedRequestError(
                403, "the request comes from another web site, or from a document without an origin"
            )
        default = _DEFAULT_PORTS[match["scheme"].lower()]
        if authority.host != host.host or (authority.port or default) != (host.port or default):
            raise RefusedRequestError(
                403,
                f"the request comes from another web site, '{authority.host}'; a proxy must pass on the Host header "
                "as the browser sends it",
            )


def header_values(headers: Headers, name: bytes) -> list[bytes]:
    """Return the values of all headers of a name, given in lower case."""
    return [value for key, value in headers if key.lower() == name]


def _same_site_cookie(cookie: bytes) -> bytes:
    """Return a Set-Cookie header whose cookie other sites cannot use."""
    policy = _SAME_SITE.search(cookie)
    if policy and policy[0].partition(b"=")[2].strip().lower() in (b"lax", b"strict"):
        return cookie
    return _SAME_SITE.sub(b"", cookie) + b"; SameSite=Lax"
