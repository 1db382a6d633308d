"""API keys and limits of request bodies, for the HTTP server and the MCP server."""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from var_plugin.config import is_loopback
from var_plugin.errors import InvalidInputError
from var_plugin.web.same_origin import (
    ASGIApp,
    Headers,
    Message,
    Receive,
    RefusedRequestError,
    Scope,
    Send,
    header_values,
    send_refusal,
)

_MAX_DIGITS = 19


@dataclass(frozen=True)
class BodyLimits:
    """How large and how slow the body of a request may be."""

    max_bytes: int
    """Size of the body (413)."""
    grace_seconds: float = 10.0
    """Time for the first bytes (408)."""
    min_rate: float = 16 * 1024
    """Bytes per second, on average, after that time (408)."""
    max_seconds: float = 600.0
    """Time for the whole body (408)."""


class ClientDisconnectedError(Exception):
    """The client closed the connection before its request was complete."""


class LimitsMiddleware:
    """ASGI middleware that passes on requests that hold an API key and whose body keeps to the limits.

    The body is read before the request is passed on, so that a slow client occupies nothing behind the middleware.

    Args:
        app: the application behind it.
        api_keys: any of them is accepted as `Authorization: Bearer KEY`; none: no key is needed.
        limits: limits of a body.
    """

    def __init__(self, app: ASGIApp, *, api_keys: Collection[str], limits: BodyLimits) -> None:
        self._app, self._api_keys, self._limits = app, api_keys, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with 401, 408, 413 or 415."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            check_key(scope["headers"], self._api_keys)
            body = await read_body(scope, receive, self._limits) if scope["type"] == "http" else b""
        except RefusedRequestError as refusal:
            await send_refusal(refusal, scope, send, receive=receive)
        except ClientDisconnectedError:
            return
        else:
            await self._app(scope, replay_body(body, receive) if scope["type"] == "http" else receive, send)


def check_listen_address(host: str, api_keys: Collection[str]) -> None:
    """Refuse to listen beyond this machine without a key.

    Raises:
        InvalidInputError: there is no key, and other machines could reach the address.
    """
    if not api_keys and not is_loopback(host):
        raise InvalidInputError(
            f"the server at {host} would be open to other machines",
            why="no API key is set",
            fix="set VAR_PLUGIN_API_KEYS, or listen on 127.0.0.1",
        )


def parse_keys(text: str) -> frozenset[str]:
    """Return the keys of a list that is separated by commas."""
    return frozenset(filter(None, (key.strip() for key in text.split(","))))


def check_key(headers: Headers, api_keys: Collection[str]) -> None:
    """Raise 401 unless there is no key at all, or the request holds one of them."""
    if not api_keys:
        return
    values = header_values(headers, b"authorization")
    scheme, _, key = (values[0] if len(values) == 1 else b"").partition(b" ")
    # Every key is compared, in constant time each.
    matches = [hmac.compare_digest(known.encode(), key.strip()) for known in api_keys]
    if scheme.lower() != b"bearer" or not any(matches):
        raise RefusedRequestError(
            401, "no valid API key: send it as 'Authorization: Bearer KEY'", [(b"www-authenticate", b"Bearer")]
        )


def check_body_headers(headers: Headers, max_bytes: int) -> None:
    """Raise 413 for a declared length beyond the limit, and 415 for a compressed body."""
    # A compressed body may be a thousand times larger inside.
    if any(value.strip().lower() != b"identity" for value in header_values(headers, b"content-encoding")):
        raise RefusedRequestError(415, "requests are accepted without Content-Encoding only")
    if declared_length(headers) > max_bytes:
        raise too_large(max_bytes)


def declared_length(headers: Headers) -> float:
    """Return what `Content-Length` declares: 0 without one, infinity where it is not a number."""
    values = header_values(headers, b"content-length")
    lengths = [int(value) if value.isdigit() and len(value) < _MAX_DIGITS else math.inf for value in values]
    return max(lengths, default=0)


def too_large(max_bytes: int) -> RefusedRequestError:
    """Return the error for a body beyond the limit."""
    return RefusedRequestError(413, f"the request is larger than {max_bytes} bytes")


async def read_body(
    scope: Scope, receive: Receive, limits: BodyLimits, reserve: Callable[[int], None] | None = None
) -> bytes:
    """Return the body of a request.

    Args:
        scope: the request.
        receive: gives its messages.
        limits: size and time.
        reserve: called with the size of each part before it is kept; may raise.

    Raises:
        RefusedRequestError: 413, 415 or 408.
        ClientDisconnectedError: the client closed the connection.
    """
    check_body_headers(scope["headers"], limits.max_bytes)
    body = bytearray()
    start = time.monotonic()
    while True:
        allowed = min(limits.max_seconds, limits.grace_seconds + len(body) / limits.min_rate)
        try:
            async with asyncio.timeout(start + allowed - time.monotonic()):
                message = await receive()
        except TimeoutError:
            raise RefusedRequestError(408, "the body of the request arrives too slowly") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        part = message.get("body", b"")
        if len(body) + len(part) > limits.max_bytes:
            raise too_large(limits.max_bytes)
        if reserve:
            reserve(len(part))
        body += part
        if not message.get("more_body", False):
            return bytes(body)


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body once, and then what the client does next."""
    is_sent = False

    async def replay() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
