"""Run an ASGI application with uvicorn, with limits on request headers, slow clients and the shutdown time."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.logging import DefaultFormatter
from uvicorn.protocols.http.h11_impl import H11Protocol

from var_plugin.web.same_origin import MAX_HEADER_BYTES, MAX_TARGET_BYTES, ASGIApp

GRACE_SECONDS = 20
"""Time for requests to finish after SIGTERM. Then they are cancelled."""

EXIT_SECONDS = 1.0
"""Time between the end of the grace period and the forced exit of the process."""

HEADER_SECONDS = 15.0
"""Time for a client to send the headers of a request."""

STALL_SECONDS = 30.0
"""Time in which a client must read at least part of a pending response."""


class BoundedH11Protocol(H11Protocol):
    """Close connections whose client sends request headers or reads a response too slowly."""

    _header_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timers of a new connection."""
        super().connection_made(transport)
        self._header_timer = self.loop.call_later(HEADER_SECONDS, transport.close)
        self._stall_timer = self.loop.call_later(STALL_SECONDS, self._check_reading)

    def resume_writing(self) -> None:
        """Record that the client has read data."""
        self._unread = 0
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Stop the header timer when the headers are complete. Start it when a new request begins."""
        super().data_received(data)
        is_responding = self.cycle is not None and not self.cycle.response_complete
        if is_responding:
            self._stop_header_timer()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._stop_header_timer()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        super().connection_lost(exc)

    def _check_reading(self) -> None:
        unread = self.transport.get_write_buffer_size()
        if 0 < self._unread <= unread:
            self.transport.abort()
            return
        self._unread = unread
        self._stall_timer = self.loop.call_later(STALL_SECONDS, self._check_reading)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class EscapingFormatter(DefaultFormatter):
    """Escape control characters, so that a client cannot forge log lines or control the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the log line of a record."""
        record.message = _escaped(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return a traceback, indented so that none of its lines looks like a log line."""
        return "\n".join(f"    {_escaped(line)}" for line in super().formatException(ei).split("\n"))


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"default": {"()": EscapingFormatter, "fmt": "%(levelprefix)s %(message)s", "use_colors": False}},
    "handlers": {"default": {"formatter": "default", "class": "logging.StreamHandler", "stream": "ext://sys.stderr"}},
    "loggers": {
        "uvicorn": {"handlers": ["default"], "level": "INFO", "propagate": False},
        "var_plugin": {"handlers": ["default"], "level": "WARNING", "propagate": False},
    },
    "root": {"handlers": ["default"], "level": "WARNING"},
}
"""Logging configuration: everything goes to stderr through `EscapingFormatter`."""


def _escaped(text: str) -> str:
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


class BoundedServer(uvicorn.Server):
    """Exit within `GRACE_SECONDS` + `EXIT_SECONDS` after a signal, even if threads are still running."""

    def __init__(self, config: uvicorn.Config, cleanup: Callable[[], None]) -> None:
        super().__init__(config)
        self._cleanup = cleanup
        self._deadline: threading.Timer | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the shutdown and the timer for the forced exit."""
        if self._deadline is None:
            self._deadline = threading.Timer(GRACE_SECONDS + EXIT_SECONDS, self._exit, [sig])
            self._deadline.daemon = True
            self._deadline.start()
        super().handle_exit(sig, frame)

    def _exit(self, sig: int) -> None:
        # Python cannot stop a thread. A normal exit would wait for it.
        try:
            sys.stderr.write(f"WARNING:  Work did not finish within {GRACE_SECONDS} s of the signal; exiting now.\n")
            self._cleanup()
        finally:
            os._exit(128 + sig)


def run_app(app: ASGIApp, *, host: str, port: int, cleanup: Callable[[], None] = lambda: None, **options: Any) -> None:
    """Run an ASGI application until a signal arrives.

    Requests in progress have `GRACE_SECONDS` to finish. Then they are cancelled. If threads are still running
    `EXIT_SECONDS` later, the process exits without waiting for them. `app` must therefore tolerate interrupted writes.

    The HTTP parser is h11, not httptools, because h11 limits the header size and detects absolute request targets.

    Args:
        app: the application to run.
        host: address to listen on.
        port: port to listen on.
        cleanup: called before a forced exit.
        options: passed to `uvicorn.Config`.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=BoundedH11Protocol,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES + MAX_TARGET_BYTES,
        access_log=False,
        server_header=False,
        log_config=LOGGING,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **options,
    )
    BoundedServer(config, cleanup).run()
