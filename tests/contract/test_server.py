"""The contract on the Milvus server at VAR_PLUGIN_TEST_SERVER. Default: start `milvus` 2.3.5 from PyPI."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.colors import color_suite
from tests.contract.contract import StoreContract
from tests.films import Film, textured
from var_plugin.api import open_index
from var_plugin.errors import StoreError
from var_plugin.types import Filter

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


def test_uri_options_set_index_type_and_consistency(server: str, film: Film, caplog: pytest.LogCaptureFixture) -> None:
    paths = [film(f"{i}.mp4", seconds=1, fps=4, paint=lambda time, i=i: textured(i, 16, 16)) for i in range(6)]
    uri = f"{server}?index=IVF_SQ8&partitions=8&consistency=Strong&effort=64"
    with open_index(uri, suite=color_suite(), name="tuned") as index:
        store = index._inner._store
        try:
            for number, path in enumerate(paths):
                assert index.add(path, camera=f"camera {number % 2}").ok
            client = store._connected()
            assert client.describe_index("tuned__scene", "vector")["index_type"] == "IVF_SQ8"
            assert len(client.list_partitions("tuned__scene")) == 8
            assert {moment.camera for moment in index.search("red", k=9, filter=Filter(cameras=("camera 1",)))} == {
                "camera 1"
            }
            assert index.verify().ok
            assert not caplog.records
            with open_index(server, suite=color_suite(), name="tuned") as plain:
                assert len(plain.videos()) == 6
            assert "has index IVF_SQ8, partitioned by camera, not the requested one" in caplog.text
            # The same video under another camera, after a write that was cut short: no row is left behind.
            entry = index._inner.entry(str(index.videos()[0].video_id))
            assert entry is not None
            index._inner.update(entry.model_copy(update={"state": "pending"}))
            assert index.add(paths[0], camera="camera 7").ok
            assert index.verify().ok
            assert index.reindex(color_suite()).ok
            assert index.verify().ok
        finally:
            index._inner.remove_inactive_generations()
            for collection in ("tuned__scene", "tuned__scene__2", "tuned__videos"):
                store.drop(collection)


def test_a_missing_database_is_an_error_that_names_it(server: str) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        open_index(f"{server}?db=nowhere", suite=color_suite())
