"""ASGI middleware against DNS rebinding and cross-site requests.

A browser lets any web site send requests to any address, including addresses that only this machine can reach. Two
checks prevent abuse. The `Host` header must name this server (DNS rebinding). The `Origin` and `Sec-Fetch-Site`
headers, if present, must name this server's own site (cross-site requests).
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
"""Takes the status and the reason of a refusal; returns the media type and the body of the response."""

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_TARGET_BYTES = 16 * 1024

_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_][A-Za-z0-9._-]{0,253})(?::(?P<port>\d{0,5}))?")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#@]+)", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAME_SITE = re.compile(rb";\s*samesite\s*(=\s*[^;]*)?(?=;|$)", re.IGNORECASE)
_TRUSTED_FETCH_SITES = frozenset({b"same-origin", b"none"})
_POLICY_VIOLATION = 1008
_MAX_CLOSE_REASON_LENGTH = 120
_MAX_DISCARD_SECONDS = 5.0
_MAX_DISCARD_BYTES = 64 << 20


class Authority(NamedTuple):
    """Host (in canonical form) and port of a `Host` header or an origin."""

    host: str
    port: int | None


class RefusedRequestError(Exception):
    """A middleware refuses a request.

    Args:
        status: HTTP status of the response.
        reason: one line for the client.
        headers: additional headers of the response.
    """

    def __init__(self, status: int, reason: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, tuple(headers)


def plain_text(status: int, reason: str) -> tuple[str, bytes]:
    """Return the content type and the body of a refusal: its reason as one line of plain text."""
    return "text/plain; charset=utf-8", f"{reason}\n".encode()


async def send_refusal(
    refusal: RefusedRequestError, scope: Scope, send: Send, render: Render = plain_text, receive: Receive | None = None
) -> None:
    """Send the response to a refused request and close its connection. A WebSocket is closed before it is accepted.

    Args:
        refusal: status, reason and headers of the response.
        scope: ASGI scope of the request.
        send: ASGI send function.
        render: formats the body of the response.
        receive: ASGI receive function. If given, up to 64 MiB of the request body are read and discarded before the
            connection is closed. Otherwise a client that is still sending could lose the response.
    """
    if scope["type"] == "websocket":
        await send(
            {"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": refusal.reason[:_MAX_CLOSE_REASON_LENGTH]}
        )
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
            await asyncio.wait_for(_discard_body(receive), _MAX_DISCARD_SECONDS)
    await send({"type": "http.response.body", "body": b""})


def _sends_body(headers: Headers) -> bool:
    has_body = header_values(headers, b"content-length") not in ([], [b"0"])
    has_body = has_body or bool(header_values(headers, b"transfer-encoding"))
    return has_body and not header_values(headers, b"expect")  # with Expect, the client waits for a response first


async def _discard_body(receive: Receive) -> None:
    discarded = 0
    while discarded < _MAX_DISCARD_BYTES:
        message = await receive()
        discarded += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


class SameOriginMiddleware:
    """Pass on requests that name this server in `Host` and do not come from another web site.

    `Host` may always be a loopback address, `localhost`, the address that the server listens on, or the address that
    the connection was made to, with any port. A refused request gets 400, 403, 414, 421 or 431. A refused WebSocket
    is closed before it is accepted.

    Responses get security headers. CORS headers are removed, so that other origins cannot read responses. Cookies
    become `SameSite=Lax` unless they are stricter.

    Args:
        app: the wrapped application.
        listen_host: address or name that the server listens on.
        allowed_hosts: additional names for `Host`, such as the public name of a reverse proxy.
        frame_ancestors: origins whose pages may embed this one in a frame, such as `https://huggingface.co`.
        render: formats the body of a refusal. Default: plain text.

    Raises:
        InvalidInputError: a value in `allowed_hosts` is neither a host name nor an address.
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
        if not self._frame_ancestors:  # X-Frame-Options cannot hold a list of origins
            self._security_headers.append((b"x-frame-options", b"SAMEORIGIN"))
        self._content_policy = (b"content-security-policy", ancestors.encode())

    def allow_host(self, host: str) -> None:
        """Accept an additional name in `Host`.

        Raises:
            InvalidInputError: `host` is neither a host name nor an address.
        """
        self._hosts.add(normalize_host(host))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except RefusedRequestError as refusal:
            await send_refusal(refusal, scope, self._secured(send), self._render, receive)
        else:
            await self._app(scope, receive, self._secured(send))

    def _check(self, scope: Scope) -> None:
        headers: Headers = scope["headers"]
        target = scope.get("raw_path") or scope["path"].encode()
        if len(target) + len(scope.get("query_string", b"")) > MAX_TARGET_BYTES:
            raise RefusedRequestError(414, f"the request target is longer than {MAX_TARGET_BYTES} bytes")
        if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            raise RefusedRequestError(431, f"the headers exceed {MAX_HEADERS} lines or {MAX_HEADER_BYTES} bytes")
        if not target.startswith(b"/") and target != b"*":
            raise RefusedRequestError(400, "the request target is an absolute URL; this server is not a proxy")
        host = self._checked_authority(scope)
        _check_origin(headers, host)
        self._check_fetch_site(scope)

    def _checked_authority(self, scope: Scope) -> Authority:
        values = header_values(scope["headers"], b"host")
        if len(values) != 1:
            raise RefusedRequestError(400, "the request must have exactly one Host header")
        authority = parse_authority(values[0].decode("latin-1"))
        if authority is None:
            raise RefusedRequestError(400, "the Host header must be a host name with an optional port")
        if not self._names_this_server(authority.host, scope):
            raise RefusedRequestError(
                421,
                f"this server does not serve the host '{authority.host}'; behind a proxy, start it with "
                f"--allow-host {authority.host}",
            )
        return authority

    def _names_this_server(self, host: str, scope: Scope) -> bool:
        if host in self._hosts:
            return True
        address = _address(host)
        if address is None:
            return False
        # Only names can be rebound. If the server listens on all addresses, the local address of the connection is one
        # of its own.
        local = scope.get("server")
        return address.is_loopback or (local is not None and str(_address(str(local[0]))) == host)

    def _check_fetch_site(self, scope: Scope) -> None:
        headers = scope["headers"]
        if _TRUSTED_FETCH_SITES.issuperset(header_values(headers, b"sec-fetch-site")):
            return
        # Links from other sites are allowed. Other requests from them are not.
        destinations = [b"document", b"iframe"] if self._frame_ancestors else [b"document"]
        is_navigation = (
            scope.get("method") in ("GET", "HEAD")
            and header_values(headers, b"sec-fetch-mode") == [b"navigate"]
            and header_values(headers, b"sec-fetch-dest") in [[destination] for destination in destinations]
        )
        if not is_navigation:
            raise RefusedRequestError(403, "the request comes from another web site")

    def _secured(self, send: Send) -> Send:
        async def send_secured(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                message = {**message, "headers": self._secured_headers(message.get("headers", ()))}
            await send(message)

        return send_secured

    def _secured_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        secured: Headers = []
        for name, value in headers:
            lower = name.lower()
            if lower.startswith(b"access-control-"):
                continue
            secured.append((name, _same_site_cookie(value) if lower == b"set-cookie" else value))
        names = {name.lower() for name, _ in secured}
        secured += [header for header in self._security_headers if header[0] not in names]
        secured.append(self._content_policy)  # browsers enforce all policies of a response
        return secured


def parse_authority(text: str) -> Authority | None:
    """Parse `host`, `host:port`, `[address]` or `[address]:port`. Return None for anything else."""
    match = _AUTHORITY.fullmatch(text.strip(" \t"))
    host = _canonical(match["host"]) if match else None
    if match is None or host is None:
        return None
    port = int(match["port"]) if match["port"] else None
    return Authority(host, port) if port is None or port < 65536 else None


def normalize_host(text: str) -> str:
    """Return a host name or an address in canonical form.

    Raises:
        InvalidInputError: `text` is neither a host name nor an address.
    """
    is_bare_ipv6 = text.count(":") > 1 and not text.startswith("[")
    authority = parse_authority(f"[{text}]" if is_bare_ipv6 else text)
    if authority is None or authority.port is not None:
        raise InvalidInputError(
            f"'{text}' is not a host name",
            why="it must be a name or an address",
            fix="leave out the scheme and the port",
        )
    return authority.host


def _canonical(host: str) -> str | None:
    """Return a name in lower case without final dot, or an address in shortest form. None: malformed."""
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
                403, "the request comes from another web site or from a document without an origin"
            )
        default = _DEFAULT_PORTS[match["scheme"].lower()]
        if authority.host != host.host or (authority.port or default) != (host.port or default):
            raise RefusedRequestError(
                403,
                f"the request comes from another web site, '{authority.host}'; a proxy must forward the Host header "
                "unchanged",
            )


def header_values(headers: Headers, name: bytes) -> list[bytes]:
    """Return the values of all headers called `name`, which is in lower case."""
    return [value for key, value in headers if key.lower() == name]


def _same_site_cookie(cookie: bytes) -> bytes:
    """Return a `Set-Cookie` value with at least `SameSite=Lax`."""
    policy = _SAME_SITE.search(cookie)
    if policy and policy[0].partition(b"=")[2].strip().lower() in (b"lax", b"strict"):
        return cookie
    return _SAME_SITE.sub(b"", cookie) + b"; SameSite=Lax"
