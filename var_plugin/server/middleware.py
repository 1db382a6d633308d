"""Admission of requests: API keys, a bounded number at once, bounded bodies, and an end when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from var_plugin.server.errors import render_error
from var_plugin.server.memory import MemoryBudget, OverBudgetError
from var_plugin.server.options import ServerOptions
from var_plugin.web.limits import BodyLimits, ClientDisconnectedError, check_body_headers, check_key, read_body
from var_plugin.web.same_origin import RefusedRequestError, send_refusal

OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/openapi.json"})
"""What answers without a key, and also when the server is full."""

RETRY_AFTER_SECONDS = 1

_SMALL_BODY_BYTES = 64 * 1024
# Bodies that are being received occupy no place among the requests in progress, but their number is bounded, too.
_RECEIVED_PER_PLACE = 4
# A JSON body, its strings and the media in them exist side by side; so do an upload and its files.
_COPIES = 3


class Gate:
    """ASGI middleware that enforces API keys, concurrency and limits of bodies.

    A request occupies a place from the end of its body to the end of its answer. It is cancelled when its client
    leaves.

    Args:
        app: the application behind it.
        options: keys and limits.
        bodies: memory for the bodies of all requests.
    """

    def __init__(self, app: ASGIApp, options: ServerOptions, bodies: MemoryBudget) -> None:
        self._app, self._options, self._bodies = app, options, bodies
        self._in_flight = self._receiving = 0
        self._body_bytes: Mapping[str, int] = {
            "/v1/embeddings": options.json_bytes,
            "/v1/search": options.json_bytes,
            "/v1/embeddings/files": options.max_body_bytes,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with 401, 408, 413, 415 or 429."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
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
        self._check_places()
        with self._bodies.opened() as memory:

            def reserve(size: int) -> None:
                try:
                    memory.add(size * _COPIES)
                except OverBudgetError:
                    raise _busy("the server holds as many bytes of requests as it can") from None

            self._receiving += 1
            try:
                body = await read_body(scope, receive, limits, reserve)
            finally:
                self._receiving -= 1
            self._check_places()
            self._in_flight += 1
            try:
                await self._answer(body, scope, receive, send)
            finally:
                self._in_flight -= 1

    def _check_places(self) -> None:
        places = self._options.max_in_flight
        if self._in_flight >= places or self._receiving >= places * _RECEIVED_PER_PLACE:
            raise _busy("the server is working on as many requests as it can")

    async def _answer(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application until it has answered or the client has left."""
        leaving = asyncio.create_task(_disconnected(receive))
        is_sent = False

        async def replay() -> Message:
            nonlocal is_sent
            if is_sent:
                return await asyncio.shield(leaving)
            is_sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def answer() -> None:
            await self._app(scope, replay, send)

        answering = asyncio.create_task(answer())
        try:
            await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            answering.cancel()  # no effect where it has ended
        with suppress(asyncio.CancelledError):
            await answering


async def _disconnected(receive: Receive) -> Message:
    """Wait until the client leaves."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return message


def _busy(reason: str) -> RefusedRequestError:
    return RefusedRequestError(429, reason, [(b"retry-after", str(RETRY_AFTER_SECONDS).encode())])
