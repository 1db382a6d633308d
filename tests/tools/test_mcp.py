"""Real client sessions: in process, over stdio with a child process, over HTTP with a server on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from mcp import Client, MCPError, StdioServerParameters
from starlette.testclient import TestClient

from tests.colors import color_suite
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.api import Index, open_index
from var_plugin.errors import InvalidInputError
from var_plugin.tools import TOOLS
from var_plugin.tools.mcp import mcp_server, protected_app, serve_mcp


def examples(moment: str) -> dict[str, dict[str, Any]]:
    return {
        "search_moments": {"query": "green", "limit": 1},
        "similar_moments": {"moment_id": moment},
        "get_moment": {"moment_id": moment},
        "list_anomalies": {"limit": 3},
        "list_cameras": {},
        "summarise_timeline": {"bucket": "day"},
    }


async def list_and_call_everything(client: Client) -> None:
    """List the tools, call each, read the clip that get_moment names."""
    tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == [tool.name for tool in TOOLS]
    result = await client.call_tool("search_moments", {"query": "green", "limit": 1})
    moment = result.structured_content["moments"][0]["id"]
    for tool in tools:
        Draft202012Validator.check_schema(tool.input_schema)
        Draft202012Validator(tool.input_schema).validate(examples(moment)[tool.name])
        result = await client.call_tool(tool.name, examples(moment)[tool.name])
        assert not result.is_error, result.content
        Draft202012Validator(tool.output_schema).validate(result.structured_content)
        assert result.content[0].type == "text"
    moment_result = await client.call_tool("get_moment", {"moment_id": moment})
    _, image, link = moment_result.content
    assert (image.mime_type, b64decode(image.data)[:2]) == ("image/jpeg", b"\xff\xd8")
    (clip,) = (await client.read_resource(link.uri)).contents
    assert (clip.mime_type, b64decode(clip.blob)[4:8]) == ("video/mp4", b"ftyp")


async def test_the_server_works_in_process(footage: Index) -> None:
    async with Client(mcp_server(footage)) as client:
        await list_and_call_everything(client)


async def test_older_clients_are_supported(footage: Index) -> None:
    async with Client(mcp_server(footage), mode="legacy") as client:
        await list_and_call_everything(client)


async def test_every_annotation_is_set(footage: Index) -> None:
    async with Client(mcp_server(footage)) as client:
        for tool in (await client.list_tools()).tools:
            hints = tool.annotations.model_dump()
            assert hints == {
                "title": tool.title,
                "read_only_hint": True,
                "destructive_hint": False,
                "idempotent_hint": True,
                "open_world_hint": False,
            }
            assert tool.title
            assert tool.description
            assert tool.output_schema
        assert client.instructions


async def test_input_errors_are_returned_to_the_model(footage: Index) -> None:
    async with Client(mcp_server(footage)) as client:
        for name, arguments, message in (
            ("search_moments", {}, "query"),
            ("search_moments", {"query": "green", "top_k": 3}, "top_k"),
            ("search_moments", {"query": "green", "cameras": ["attic"]}, 'no camera "attic"'),
            ("get_moment", {"moment_id": "made up"}, "not the id of a moment"),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error
            assert message in result.content[0].text
        with pytest.raises(MCPError, match="no tool 'delete_everything'"):
            await client.call_tool("delete_everything", {})
        for uri in ("var-plugin://moments/made-up/clip", "file:///etc/passwd"):
            with pytest.raises(MCPError, match="not the id of a moment"):
                await client.read_resource(uri)


async def test_other_failures_keep_their_details(index: Index, film: Film, caplog: pytest.LogCaptureFixture) -> None:
    path = film(seconds=40, fps=5, paint=scene("red", "green", "blue", "red", "blue"))
    index.add(path)
    moment = index.search("green")[0].id
    path.unlink()
    async with Client(mcp_server(index)) as client:
        result = await client.call_tool("similar_moments", {"moment_id": moment})
        assert result.is_error
        assert result.content[0].text == "the tool failed; see the log of the server for the reason"
        assert "is gone" in caplog.text
        result = await client.call_tool("get_moment", {"moment_id": moment})
        assert [block.type for block in result.content] == ["text"]
        with pytest.raises(MCPError, match="no clip"):
            await client.read_resource(f"var-plugin://moments/{moment}/clip")


@pytest.fixture
def command(tmp_path: Path, film: Film, installed_colors: str) -> list[str]:
    """`var-plugin mcp` over an index of its own."""
    with open_index(tmp_path / "index.db", suite=color_suite()) as index:
        index.add(film(seconds=40, fps=5, paint=scene("red", "green", "blue", "red", "blue")))
    location = ["--index", str(tmp_path / "index.db"), "--suite", installed_colors]
    return [sys.executable, "-m", "var_plugin", "mcp", *location]


async def test_the_server_works_over_stdio(command: list[str]) -> None:
    program, *words = command
    async with Client(StdioServerParameters(command=program, args=words, env=dict(os.environ))) as client:
        await list_and_call_everything(client)


@pytest.fixture
def address(command: list[str]) -> Iterator[str]:
    """The address of `var-plugin mcp --http`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = subprocess.Popen([*command, "--http", "--port", str(port)])
    try:
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        started.terminate()
        started.wait()


async def test_the_server_works_over_http(address: str) -> None:
    async with Client(address) as client:
        await list_and_call_everything(client)


def test_web_pages_cannot_reach_a_local_server(address: str) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        answer = httpx.post(address, json=body, headers={"Accept": "application/json, text/event-stream", **headers})
        assert answer.status_code in (403, 421)


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "cameras.example.org"])  # noqa: S104
def test_a_server_beyond_this_machine_needs_a_key(footage: Index, host: str) -> None:
    with pytest.raises(InvalidInputError, match="no API key is set"):
        serve_mcp(footage, transport="http", host=host)


@pytest.mark.parametrize("bound", ["127.0.0.1", "127.0.0.2", "localhost", "::1", "0.0.0.0"])  # noqa: S104
def test_every_address_checks_host_and_origin(footage: Index, bound: str) -> None:
    app = protected_app(footage, bound=bound, api_keys={"key"}, allowed_hosts={"cameras.example.org"})
    key = {"Authorization": "Bearer key"}
    with TestClient(app, base_url="http://cameras.example.org") as client:

        def status(**headers: str) -> int:
            return client.post("/mcp", json=INITIALIZE, headers=ACCEPT | headers).status_code

        assert status(**key) == 200
        assert status(**key, Host="localhost:9", Origin="http://localhost:9") == 200
        assert status() == status(Authorization="Bearer other") == status(Authorization="key") == 401
        assert status(**key, Host="evil.example") == 421
        assert status(**key, Origin="http://evil.example") == status(**key, Origin="null") == 403
        assert status(**key, Host="localhost:9", Origin="http://localhost:3000") == 403
        assert client.post("/mcp", content=bytes(2**20 + 1), headers=ACCEPT | key).status_code == 413
