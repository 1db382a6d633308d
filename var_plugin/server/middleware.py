"""Admission control: API keys, limits on concurrency and body size, cancellation when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from var_plugin.server.errors import render_error
from var_plugin.server.memory import MemoryBudget, MemoryBudgetExceededError
from var_plugin.server.options import ServerOptions
from var_plugin.web.limits import BodyLimits, ClientDisconnectedError, check_body_headers, check_key, read_body
from var_plugin.web.same_origin import RefusedRequestError, send_refusal

PUBLIC_PATHS = frozenset({"/health/live", "/health/ready", "/openapi.json"})
"""Paths that need no API key and are served at full capacity, too."""

RETRY_AFTER_SECONDS = 1

_SMALL_BODY_BYTES = 64 * 1024
# Requests whose body is still arriving do not count as in progress. Their number is limited separately.
_RECEIVING_PER_SLOT = 4
# A JSON body, its strings and the decoded media exist at the same time, as do an upload and its files.
_COPIES_PER_BODY = 3


class AdmissionMiddleware:
    """ASGI middleware that enforces API keys, concurrency and body-size limits.

    A request is in progress from the end of its body to the end of its response. It is cancelled when the client
    disconnects.

    Args:
        app: the wrapped application.
        options: API keys and limits.
        bodies: memory budget for the bodies of all requests.
    """

    def __init__(self, app: ASGIApp, options: ServerOptions, bodies: MemoryBudget) -> None:
        self._app, self._options, self._bodies = app, options, bodies
        self._in_progress = self._receiving = 0
        self._body_bytes: Mapping[str, int] = {
            "/v1/embeddings": options.json_bytes,
            "/v1/search": options.json_bytes,
            "/v1/embeddings/files": options.max_body_bytes,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI request. A refused one gets 401, 408, 413, 415 or 429."""
        if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            await self._admit(scope, receive, send)
        except RefusedRequestError as refusal:
            await send_refusal(refusal, scope, send, render_error, receive)
        except ClientDisconnectedError:
            return

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits = BodyLimits(self._body_bytes.get(scope["path"], _SMALL_BODY_BYTES))
        check_key(scope["headers"], self._options.api_keys)
        check_body_headers(scope["headers"], limits.max_bytes)
        self._check_capacity()
        with self._bodies.track() as memory:

            def reserve(size: int) -> None:
                try:
                    memory.add(size * _COPIES_PER_BODY)
                except MemoryBudgetExceededError:
                    raise _at_capacity("the server is at its memory limit for requests") from None

            self._receiving += 1
            try:
                body = await read_body(scope, receive, limits, reserve)
            finally:
                self._receiving -= 1
            self._check_capacity()
            self._in_progress += 1
            try:
                await self._run_app(body, scope, receive, send)
            finally:
                self._in_progress -= 1

    def _check_capacity(self) -> None:
        slots = self._options.max_in_progress
        if self._in_progress >= slots or self._receiving >= slots * _RECEIVING_PER_SLOT:
            raise _at_capacity("the server is at its limit of concurrent requests")

    async def _run_app(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application until it has responded or the client has disconnected."""
        disconnect = asyncio.create_task(_wait_for_disconnect(receive))
        is_sent = False

        async def replay() -> Message:
            nonlocal is_sent
            if is_sent:
                return await asyncio.shield(disconnect)
            is_sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def respond() -> None:
            await self._app(scope, replay, send)

        response = asyncio.create_task(respond())
        try:
            await asyncio.wait([response, disconnect], return_when=asyncio.FIRST_COMPLETED)
        finally:
            disconnect.cancel()
            response.cancel()  # no effect if it is complete
        with suppress(asyncio.CancelledError):
            await response


async def _wait_for_disconnect(receive: Receive) -> Message:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return message


def _at_capacity(reason: str) -> RefusedRequestError:
    return RefusedRequestError(429, reason, [(b"retry-after", str(RETRY_AFTER_SECONDS).encode())])
