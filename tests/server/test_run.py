from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.films import Film, plain
from tests.server.conftest import MODEL, data_uri
from var_plugin.errors import InvalidInputError
from var_plugin.server.options import ServerOptions
from var_plugin.server.run import serve


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104
def test_serving_beyond_loopback_needs_a_key(host: str) -> None:
    with pytest.raises(InvalidInputError, match="no API key is set"):
        serve(host=host, options=ServerOptions(api_keys=frozenset({"", " "})))


@pytest.fixture
def process(installed_colors: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A process of `var-plugin serve`, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "var_plugin", "serve", "--port", str(port), "--suite", installed_colors]
    command += ["--max-requests", "2", "--max-body", "5", "--max-batch", "1", "--max-seconds", "250"]
    started = subprocess.Popen(command, env=os.environ | {"VAR_PLUGIN_INDEX": str(tmp_path / "index.db")})
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        assert started.poll() is None, "the server has ended"
        try:
            if httpx.get(f"{address}/health/ready").status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.1)
    yield started, address
    started.kill()
    started.wait()


def test_options_apply_and_a_request_in_progress_is_answered_after_sigterm(
    process: tuple[subprocess.Popen[bytes], str], film: Film
) -> None:
    started, address = process
    assert httpx.post(f"{address}/v1/embeddings", content=bytes(5 * 2**20 + 1), timeout=60).status_code == 413
    longer = film("longer.mp4", seconds=252, fps=1, paint=lambda _: plain(0, 0, 255)).read_bytes()
    body = {"model": MODEL, "input": data_uri("video/mp4", longer)}
    refused = httpx.post(f"{address}/v1/embeddings", json=body, timeout=60)
    assert (refused.status_code, "the limit is 250 s" in refused.text) == (413, True)
    # Long enough to be in progress when the signal is sent, even on fast cores.
    long = film("long.mp4", seconds=120, fps=25, paint=lambda _: plain(0, 0, 255)).read_bytes()
    body = {"model": MODEL, "input": data_uri("video/mp4", long)}
    with ThreadPoolExecutor(1) as pool:
        response = pool.submit(httpx.post, f"{address}/v1/embeddings", json=body, timeout=60)
        while "requests_in_flight 2.0" not in httpx.get(f"{address}/metrics", timeout=60).text:  # with this one
            assert not response.done(), "answered before the signal was sent"
        started.send_signal(signal.SIGTERM)
        assert response.result().status_code == 200
    assert started.wait(30) in (0, -signal.SIGTERM)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health/live")
