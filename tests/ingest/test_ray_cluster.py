from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from var_plugin.errors import EngineError
from var_plugin.ingest import ray_cluster
from var_plugin.ingest.ray_cluster import cluster_resources, connected_cluster

pytest.importorskip("ray")


@pytest.fixture
def stale_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the address file of a stopped cluster where `ray start` writes it."""
    file = tmp_path / "tmp/ray/ray_current_cluster"
    file.parent.mkdir(parents=True)
    file.write_text("127.0.0.1:1")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(ray_cluster, "_ANSWER_SECONDS", 0.5)
    return file


def connect(address: str) -> None:
    with connected_cluster(address):
        pass


def test_a_cluster_that_does_not_answer_is_an_error(stale_address: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(EngineError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
            connect("auto")
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(EngineError, match="nothing answered within"):
            connect("auto")
        monkeypatch.delenv("RAY_ADDRESS")
        stale_address.unlink()
        with pytest.raises(EngineError, match="no Ray cluster runs on this machine"):
            connect("auto")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_the_address_file_of_another_user_is_not_trusted(stale_address: Path) -> None:
    os.chown(stale_address, 12_345, -1)
    with pytest.raises(EngineError, match="belongs to another user"):
        connect("auto")


@pytest.mark.slow
def test_without_an_address_the_cluster_listens_on_loopback_only(
    stale_address: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    psutil = pytest.importorskip("psutil")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with connected_cluster(None):
        assert cluster_resources()[0] >= 2
        processes = {process.pid for process in psutil.Process().children(recursive=True)} | {os.getpid()}
        listening = {
            connection.laddr.ip.removeprefix("::ffff:")
            for connection in psutil.net_connections("tcp")
            if connection.pid in processes and connection.status == psutil.CONN_LISTEN
        }
    assert listening == {"127.0.0.1"}
    assert stale_address.read_text() == "127.0.0.1:1"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ
