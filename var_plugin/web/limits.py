"""API keys and limits on request bodies, for the HTTP server and the MCP server."""

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
    """Limits on the size and the transfer time of a request body."""

    max_bytes: int
    """Maximum size of the body (else 413)."""
    grace_seconds: float = 10.0
    """Time until the minimum rate applies (else 408)."""
    min_rate: float = 16 * 1024
    """Minimum average rate after the grace time, in bytes per second (else 408)."""
    max_seconds: float = 600.0
    """Maximum time for the whole body (else 408)."""


class ClientDisconnectedError(Exception):
    """The client closed the connection before the request was complete."""


class LimitsMiddleware:
    """ASGI middleware that enforces API keys and body limits.

    The body is read completely before the request is passed on, so that a slow client does not occupy the application.

    Args:
        app: the wrapped application.
        api_keys: keys accepted as `Authorization: Bearer KEY`. Empty: no key is required.
        limits: limits on request bodies.
    """

    def __init__(self, app: ASGIApp, *, api_keys: Collection[str], limits: BodyLimits) -> None:
        self._app, self._api_keys, self._limits = app, api_keys, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI request. A refused one gets 401, 408, 413 or 415."""
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
    """Check that a server without API keys listens on a loopback address only.

    Raises:
        InvalidInputError: there is no key, and other machines can reach `host`.
    """
    if not api_keys and not is_loopback(host):
        raise InvalidInputError(
            f"cannot listen on {host}: other machines could use the server without authentication",
            why="no API key is set",
            fix="set VAR_PLUGIN_API_KEYS, or listen on 127.0.0.1",
        )


def parse_keys(text: str) -> frozenset[str]:
    """Parse a comma-separated list of API keys."""
    return frozenset(filter(None, (key.strip() for key in text.split(","))))


def check_key(headers: Headers, api_keys: Collection[str]) -> None:
    """Check that a request has one of the API keys. Without `api_keys` every request is accepted.

    Raises:
        RefusedRequestError: 401, the request has no valid key.
    """
    if not api_keys:
        return
    values = header_values(headers, b"authorization")
    scheme, _, key = (values[0] if len(values) == 1 else b"").partition(b" ")
    # Compare with every key, each in constant time, against timing attacks.
    matches = [hmac.compare_digest(api_key.encode(), key.strip()) for api_key in api_keys]
    if scheme.lower() != b"bearer" or not any(matches):
        raise RefusedRequestError(
            401, "no valid API key: send it as 'Authorization: Bearer KEY'", [(b"www-authenticate", b"Bearer")]
        )


def check_body_headers(headers: Headers, max_bytes: int) -> None:
    """Check the declared length and encoding of a request body.

    Raises:
        RefusedRequestError: 413, the declared length is above the limit; 415, the body is compressed.
    """
    # A compressed body can decompress to a thousand times its size.
    if any(value.strip().lower() != b"identity" for value in header_values(headers, b"content-encoding")):
        raise RefusedRequestError(415, "requests with a Content-Encoding are not accepted; send the body uncompressed")
    if declared_length(headers) > max_bytes:
        raise too_large(max_bytes)


def declared_length(headers: Headers) -> float:
    """Return the value of `Content-Length`: 0 if the header is absent, infinity if it is not a number."""
    values = header_values(headers, b"content-length")
    lengths = [int(value) if value.isdigit() and len(value) < _MAX_DIGITS else math.inf for value in values]
    return max(lengths, default=0)


def too_large(max_bytes: int) -> RefusedRequestError:
    """Return the error for a body above the limit."""
    return RefusedRequestError(413, f"the request is larger than {max_bytes} bytes")


async def read_body(
    scope: Scope, receive: Receive, limits: BodyLimits, reserve: Callable[[int], None] | None = None
) -> bytes:
    """Read the body of a request.

    Args:
        scope: ASGI scope of the request.
        receive: ASGI receive function.
        limits: limits on size and time.
        reserve: called with the size of each part in bytes before the part is stored. May raise.

    Raises:
        RefusedRequestError: 408, 413 or 415.
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
            raise RefusedRequestError(408, "the request body arrives too slowly") from None
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
    """Return a `receive` function that returns the body once, and then the messages of `receive`."""
    is_sent = False

    async def replay() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
