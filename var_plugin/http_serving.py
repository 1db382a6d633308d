"""Running an ASGI application with uvicorn, with limits on slow and oversized request headers and on the shutdown."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from var_plugin.http_gate import MAX_HEADER_BYTES, MAX_TARGET_BYTES, ASGIApp

GRACE_SECONDS = 20
"""Time that requests have to end after SIGTERM; then they are cancelled."""

HEADER_SECONDS = 15.0
"""Time that a client has to send the headers of a request."""


class BoundedH11Protocol(H11Protocol):
    """Closes a connection whose client does not send the headers of a request in time."""

    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._header_timer = self.loop.call_later(HEADER_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        """Stop the timer when the headers are complete; start it when a new request begins."""
        super().data_received(data)
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering:
            self._stop_timer()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


def run_app(app: ASGIApp, *, host: str, port: int, **options: Any) -> None:
    """Serve until a signal comes. Requests in progress have `GRACE_SECONDS` to end, then they are cancelled.

    h11 is used rather than httptools: it bounds the size of headers and tells absolute request targets apart.

    Args:
        app: what answers.
        host: address to listen at.
        port: port to listen at.
        options: passed on to `uvicorn.run`.
    """
    uvicorn.run(
        app,
        host=host,
        port=port,
        http=BoundedH11Protocol,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES + MAX_TARGET_BYTES,
        access_log=False,
        server_header=False,
        use_colors=False,  # `escaping.SafeStream` shows escape sequences as text
        timeout_graceful_shutdown=GRACE_SECONDS,
        **options,
    )
