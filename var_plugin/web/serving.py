"""Running an ASGI application with uvicorn, with limits on slow and oversized request headers and on the shutdown."""

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
"""Time that requests have to end after SIGTERM; then they are cancelled."""

EXIT_SECONDS = 1.0
"""Time after the grace in which the process must end, whatever its threads do."""

HEADER_SECONDS = 15.0
"""Time that a client has to send the headers of a request."""


STALL_SECONDS = 30.0
"""Time in which a client must read something of an answer that waits for it."""


class BoundedH11Protocol(H11Protocol):
    """Closes a connection whose client sends the headers of a request, or reads an answer, too slowly."""

    _header_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._header_timer = self.loop.call_later(HEADER_SECONDS, transport.close)
        self._stall_timer = self.loop.call_later(STALL_SECONDS, self._check_reading)

    def resume_writing(self) -> None:
        """Note that the client reads."""
        self._unread = 0
        super().resume_writing()

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

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class EscapingFormatter(DefaultFormatter):
    """Escapes control characters: a client cannot forge lines of the log or control the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line of a record."""
        record.message = _escaped(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return a traceback, indented so that none of its lines looks like one of the log."""
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
"""Configuration of logging: everything goes to stderr through `EscapingFormatter`."""


def _escaped(text: str) -> str:
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


class BoundedServer(uvicorn.Server):
    """Ends the process after a signal within `GRACE_SECONDS` and `EXIT_SECONDS`, also while threads still work."""

    def __init__(self, config: uvicorn.Config, cleanup: Callable[[], None]) -> None:
        super().__init__(config)
        self._cleanup = cleanup
        self._deadline: threading.Timer | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the shutdown and its deadline."""
        if self._deadline is None:
            self._deadline = threading.Timer(GRACE_SECONDS + EXIT_SECONDS, self._exit, [sig])
            self._deadline.daemon = True
            self._deadline.start()
        super().handle_exit(sig, frame)

    def _exit(self, sig: int) -> None:
        # Python cannot stop a thread, and would wait for it.
        try:
            sys.stderr.write(f"WARNING:  Work did not end within {GRACE_SECONDS} s of the signal; the server exits.\n")
            self._cleanup()
        finally:
            os._exit(128 + sig)


def run_app(app: ASGIApp, *, host: str, port: int, cleanup: Callable[[], None] = lambda: None, **options: Any) -> None:
    """Serve until a signal comes.

    Requests in progress have `GRACE_SECONDS` to end, then they are cancelled. Where threads work on, the process exits
    without them `EXIT_SECONDS` later: `app` must write nothing that may not be cut short.

    h11 is used rather than httptools: it bounds the size of headers and tells absolute request targets apart.

    Args:
        app: what answers.
        host: address to listen at.
        port: port to listen at.
        cleanup: runs before the process exits without its threads.
        options: passed on to `uvicorn.Config`.
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
