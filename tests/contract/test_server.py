"""The contract on a Milvus server: the one at VAR_PLUGIN_TEST_SERVER, else PyPI's `milvus` 2.3.5 started here."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.contract.contract import StoreContract

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if named := os.environ.get("VAR_PLUGIN_TEST_SERVER"):
        yield named
        return
    milvus = pytest.importorskip("milvus", reason="no Milvus server: pip install milvus==2.3.5 on Linux")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    milvus.default_server.set_base_dir(str(tmp_path_factory.mktemp("milvus")))
    milvus.default_server.listen_port = port
    milvus.default_server.start()
    pid = milvus.default_server.server_proc.pid
    yield f"http://127.0.0.1:{port}"
    milvus.default_server.stop()
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class TestMilvusServer(StoreContract):
    @pytest.fixture
    def location(self, server: str) -> str:
        return server
