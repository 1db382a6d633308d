"""What is refused before anything is read: requests without a key, too many at once, too large, or packed."""

from __future__ import annotations

import hmac
import math

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from var_plugin.server.errors import error_response
from var_plugin.server.options import ServerOptions

OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/openapi.json"})
"""What answers without a key, and also when the server is full."""

_RETRY_AFTER_SECONDS = 1


class Gate:
    """Lets through who holds a key, as many at once and as much each as the options say."""

    def __init__(self, app: ASGIApp, options: ServerOptions) -> None:
        self._app, self._options = app, options
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with 401, 413, 415 or 429."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            self._check(Headers(scope=scope))
        except HTTPException as error:
            refusal = error_response(error.status_code, error.detail, headers=error.headers)
            await refusal(scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self._app(scope, self._bounded(receive), send)
        finally:
            self._in_flight -= 1

    def _check(self, headers: Headers) -> None:
        if self._options.api_keys and not self._has_key(headers.get("authorization", "")):
            raise HTTPException(
                401, "no valid API key: send it as 'Authorization: Bearer KEY'", {"WWW-Authenticate": "Bearer"}
            )
        if self._in_flight >= self._options.max_in_flight:
            raise HTTPException(
                429, "the server is working on as many requests as it can", {"Retry-After": str(_RETRY_AFTER_SECONDS)}
            )
        # A packed body could be a thousand times larger inside.
        if headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "requests are taken without Content-Encoding")
        if _declared_length(headers) > self._options.max_body_bytes:
            raise self._too_large()

    def _has_key(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        # Every key is compared, in constant time each.
        matches = [hmac.compare_digest(key.encode(), given.strip().encode()) for key in self._options.api_keys]
        return scheme.lower() == "bearer" and any(matches)

    def _bounded(self, receive: Receive) -> Receive:
        """Count what is really sent: a length may be missing or a lie."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._options.max_body_bytes:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the request is larger than {self._options.max_body_bytes} bytes")


def _declared_length(headers: Headers) -> float:
    length = headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else math.inf
