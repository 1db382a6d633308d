from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from var_plugin import http_serving
from var_plugin.http_gate import Receive, Scope, Send
from var_plugin.http_serving import BoundedH11Protocol, EscapingFormatter

LARGE = 30_000_000


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with many bytes."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(LARGE)})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(http_serving, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(http_serving, "STALL_SECONDS", 0.5)
    server = uvicorn.Server(uvicorn.Config(application, port=0, http=BoundedH11Protocol, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(20)
    try:
        return connection.recv(1000) == b""
    except ConnectionResetError:
        return True


def test_a_client_that_sends_no_whole_headers_is_disconnected(port: int) -> None:
    for beginning in (b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(beginning)
            assert is_closed(connection)


def test_a_client_that_reads_nothing_is_disconnected(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(3)
        size = 0
        connection.settimeout(20)
        try:
            while piece := connection.recv(1 << 20):
                size += len(piece)
        except ConnectionResetError:
            pass
    assert size < LARGE


def test_a_client_that_reads_gets_everything(port: int) -> None:
    size = 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        connection.settimeout(20)
        while piece := connection.recv(1 << 20):
            size += len(piece)
            time.sleep(0.02)
    assert size > LARGE


def test_log_lines_hold_no_control_characters() -> None:
    formatter = EscapingFormatter("%(levelprefix)s %(message)s", use_colors=False)
    try:
        raise ValueError("first\x1b[2J\nERROR:    forged")  # noqa: TRY301
    except ValueError:
        record = logging.LogRecord(
            "name", logging.ERROR, "", 1, "GET %s", ("/a\r\nERROR:    b\x9b\u202e",), sys.exc_info()
        )
    line, *traceback = formatter.format(record).split("\n")
    assert line == "ERROR:    GET /a\\r\\nERROR:    b\\x9b\\u202e"
    assert traceback
    assert all(part.startswith("    ") and part.isprintable() for part in traceback)
