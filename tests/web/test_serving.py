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

from var_plugin.web import serving
from var_plugin.web.same_origin import Receive, Scope, Send
from var_plugin.web.serving import BoundedH11Protocol, EscapingFormatter

LARGE = 30_000_000


BUSY_SERVER = """
import shutil, sys, time
from var_plugin.web import serving

async def application(scope, receive, send):
    print("working", file=sys.stderr, flush=True)
    time.sleep(100)  # like a long call into C

serving.GRACE_SECONDS, serving.EXIT_SECONDS = 1, 0.5
serving.run_app(application, host="127.0.0.1", port=0, lifespan="off", cleanup=lambda: shutil.rmtree(sys.argv[1]))
"""


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Send a large response."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(LARGE)})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(serving, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(serving, "STALL_SECONDS", 0.5)
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


def test_client_that_does_not_complete_its_headers_is_disconnected(port: int) -> None:
    for beginning in (b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(beginning)
            assert is_closed(connection)


def test_client_that_does_not_read_is_disconnected(port: int) -> None:
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


def test_slow_client_that_reads_gets_the_whole_response(port: int) -> None:
    size = 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        connection.settimeout(20)
        while piece := connection.recv(1 << 20):
            size += len(piece)
            time.sleep(0.02)
    assert size > LARGE


def test_process_exits_after_the_grace_period_while_a_thread_is_busy(tmp_path: Path) -> None:
    workspace = tmp_path / "uploads"
    workspace.mkdir()
    process = subprocess.Popen([sys.executable, "-c", BUSY_SERVER, str(workspace)], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    port = next(line for line in process.stderr if "running on" in line).split(":")[-1].split()[0]
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        next(line for line in process.stderr if "working" in line)
        start = time.monotonic()
        process.terminate()
        _, log = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert 1.5 < time.monotonic() - start < 15, "the thread would work for 100 s"
    assert "Work did not finish within 1 s" in log
    assert not workspace.exists()


def test_log_lines_have_no_control_characters() -> None:
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
