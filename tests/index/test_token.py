"""The token of a Milvus server is sent to the server and appears nowhere else. The server records tokens."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tests.colors import color_suite
from var_plugin.api import open_index
from var_plugin.config import Settings, settings
from var_plugin.errors import IndexUnavailableError
from var_plugin.index.milvus.options import milvus_uri


class Doorkeeper(grpc.GenericRpcHandler):
    """Refuses every client and records the tokens."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        metadata = dict(call.invocation_metadata)
        self.shown.append(base64.b64decode(metadata.get("authorization", "")).decode())
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")
        )


@pytest.fixture
def door() -> Iterator[tuple[str, Doorkeeper]]:
    """The address of a server that refuses every client."""
    keeper = Doorkeeper()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[keeper])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}", keeper
    server.stop(None)


@pytest.fixture(autouse=True)
def settings_read_anew() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize(("argument", "token"), [(None, "root:open sesame"), ("another", "another")])
def test_the_token_comes_from_the_environment_unless_given(
    door: tuple[str, Doorkeeper], monkeypatch: pytest.MonkeyPatch, argument: str | None, token: str
) -> None:
    address, keeper = door
    monkeypatch.setenv("VAR_PLUGIN_TOKEN", "root:open sesame")
    with pytest.raises(IndexUnavailableError, match="no Milvus server answers") as refused:
        open_index(address, suite=color_suite(), token=argument)
    assert set(keeper.shown) == {token}
    assert token not in str(refused.value)


def test_settings_do_not_print_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "API_KEYS", "APP_USERS"):
        monkeypatch.setenv(f"VAR_PLUGIN_{name}", f"hush {name}")
    configured = Settings()
    assert "hush" not in repr(configured) + configured.model_dump_json()
    assert configured.token.get_secret_value() == "hush TOKEN"


@pytest.mark.parametrize("uri", ["https://root:hush@milvus.example:19530", "http://hush@localhost"])
def test_passwords_in_addresses_are_refused(uri: str) -> None:
    with pytest.raises(IndexUnavailableError, match="VAR_PLUGIN_TOKEN") as refused:
        milvus_uri(uri)
    assert "hush" not in str(refused.value)
