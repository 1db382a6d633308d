from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from var_plugin.web import serving as http_serving
from var_plugin.web.same_origin import Receive, Scope, Send
from var_plugin.web.serving import BoundedH11Protocol, EscapingFormatter

LARGE = 30_000_000


WORKING_SERVER = """
import shutil, sys, time
from var_plugin.web import serving as http_serving

async def application(scope, receive, send):
    print("at work", file=sys.stderr, flush=True)
    time.sleep(100)  # as a call into C that takes long

http_serving.GRACE_SECONDS, http_serving.EXIT_SECONDS = 1, 0.5
http_serving.run_app(application, host="127.0.0.1", port=0, lifespan="off", cleanup=lambda: shutil.rmtree(sys.argv[1]))
"""


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


def test_the_process_ends_after_the_grace_whatever_is_at_work(tmp_path: Path) -> None:
    left = tmp_path / "uploads"
    left.mkdir()
    started = subprocess.Popen([sys.executable, "-c", WORKING_SERVER, str(left)], stderr=subprocess.PIPE, text=True)
    assert started.stderr
    port = next(line for line in started.stderr if "running on" in line).split(":")[-1].split()[0]
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        next(line for line in started.stderr if "at work" in line)
        signalled = time.monotonic()
        started.terminate()
        _, log = started.communicate(timeout=60)
    assert started.returncode == 128 + signal.SIGTERM
    assert 1.5 < time.monotonic() - signalled < 15, "the work takes 100 s"
    assert "Work did not end within 1 s" in log
    assert not left.exists()


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
