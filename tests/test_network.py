"""No command with the `lite` suite connects to another machine or looks up a name.

Each command is a process of its own. An audit hook records what Python code connects to and looks up, in child
processes as well. Where strace can be used, it records the connections of native code, too.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx
import pytest

from tests.films import Film, textured

HOOK = """
import json, os, sys
def record(event, args):
    if event == "socket.getaddrinfo" or event.startswith("socket.gethostby"):
        address, port = args[0], 0
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(args[1], tuple):
        address, port = args[1][:2]
    else:
        return
    if isinstance(address, bytes):
        address = address.decode()
    with open(os.environ["NETWORK_LOG"], "a") as log:
        log.write(json.dumps([event, address, port]) + "\\n")
sys.addaudithook(record)
"""
ADDRESS = re.compile(r'htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')
TRACE = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg,sendmmsg"]
COMMAND = [sys.executable, "-m", "var_plugin"]


@cache
def can_trace() -> bool:
    """Return whether strace is installed and may trace here."""
    return shutil.which("strace") is not None and subprocess.run([*TRACE, "-o", os.devnull, "true"]).returncode == 0


class Watched:
    """Runs commands and records connections and look-ups outside of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(HOOK)
        self.index = folder / "index.db"
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "ORT_"))}
        self._environment |= {
            "HOME": str(folder),
            "NETWORK_LOG": str(folder / "python"),
            "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(Path(__file__).parents[1])]),
            "VAR_PLUGIN_API_KEYS": "key",
        }

    @contextmanager
    def started(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command. Interrupt it at the end if it still runs."""
        trace = [*TRACE, "-o", str(self._folder / "native")] if can_trace() else []
        with (self._folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [*trace, *command], env=self._environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            process.wait(60)

    def run(self, *command: str) -> list[str]:
        """Run a command. Return the addresses and names that it reached."""
        with self.started(*command) as process:
            assert process.wait(600) == 0, (self._folder / "output").read_text()
        return self.reached()

    def serve(self, *command: str, paths: tuple[str, ...]) -> list[str]:
        """Start a server and request some paths. Return the addresses and names that it reached."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        output = self._folder / "output"
        with self.started(*command, "--port", str(port)) as process:
            while "ctrl" not in output.read_text().lower():  # the line that tells how to end it comes last
                assert process.poll() is None, output.read_text()
                time.sleep(0.2)
            for path in paths:
                get(port, path)
        return self.reached()

    def reached(self) -> list[str]:
        """Return the addresses and names outside of this machine since the last call."""
        calls: list[tuple[str, int]] = []
        for log, entries in (("python", _python_calls), ("native", _native_calls)):
            file = self._folder / log
            if file.exists():
                calls += entries(file.read_text(errors="replace"))
                file.unlink()
        return [f"{address}:{port}" for address, port in calls if not is_local(address, port)]


def _python_calls(log: str) -> list[tuple[str, int]]:
    return [tuple(json.loads(line)[1:]) for line in log.splitlines()]


def _native_calls(log: str) -> list[tuple[str, int]]:
    return [(address, int(port)) for port, address in ADDRESS.findall(log)]


def is_local(host: str | None, port: int) -> bool:
    """Return whether this machine is meant. A name, or a DNS server on loopback, is a look-up."""
    if host in (None, "", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_unspecified or (address.is_loopback and port != 53)


def get(port: int, path: str) -> int:
    """Return the status of a response."""
    url = f"http://127.0.0.1:{port}{path}"
    return httpx.get(url, headers={"Authorization": "Bearer key"}, timeout=30).status_code


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return Watched(tmp_path_factory.mktemp("watched"))


@pytest.fixture(scope="module")
def indexed(watched: Watched) -> Watched:
    """With an index of one video that was built without outgoing connections."""
    film = Film(watched.index.parent / "footage")("north.mp4", seconds=4, paint=lambda time: textured(1), tone=440.0)
    assert watched.run(*COMMAND, "index", str(film), "--index", str(watched.index)) == []
    return watched


@pytest.mark.parametrize(
    "call",
    [
        "socket.create_connection(('192.0.2.1', 9), timeout=0.01)",
        "socket.getaddrinfo('example.invalid', 80)",
        "ctypes.CDLL(None).getaddrinfo(b'example.invalid', None, None, ctypes.byref(ctypes.c_void_p()))",
    ],
)
def test_the_test_detects_outgoing_connections(watched: Watched, call: str) -> None:
    if "ctypes" in call and not can_trace():
        pytest.skip("native code is watched with strace")
    code = f"import contextlib, ctypes, socket\nwith contextlib.suppress(OSError): {call}"
    assert watched.run(sys.executable, "-c", code)


def test_telemetry_leaves_no_trace(indexed: Watched) -> None:
    """ONNX Runtime keeps a device id and unsent events in the user's cache where its telemetry is on."""
    files = {path.name for path in (indexed.index.parent / ".cache").rglob("*") if path.is_file()}
    assert not files & {"deviceid", "onnxruntime.db"}


def test_searching_opens_no_connection(indexed: Watched) -> None:
    assert indexed.run(*COMMAND, "search", "a red car", "--index", str(indexed.index)) == []


def test_the_server_opens_no_connection(indexed: Watched) -> None:
    paths = ("/health/ready", "/v1/models", "/v1/videos")
    assert indexed.serve(*COMMAND, "serve", "--index", str(indexed.index), paths=paths) == []


def test_the_page_opens_no_connection(indexed: Watched) -> None:
    assert indexed.serve(*COMMAND, "app", "--index", str(indexed.index), paths=("/", "/config")) == []


@pytest.mark.slow
def test_the_demo_opens_no_connection(watched: Watched) -> None:
    assert watched.run(*COMMAND, "demo", str(watched.index.parent / "demo")) == []
