"""The snippets of docs/server.md work against a server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.conftest import MODEL, running
from var_plugin.api import Index
from var_plugin.server.application import build_app

PAGE = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
CURL_BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def address(footage: Index) -> Iterator[str]:
    """Address of a server with an index and without API keys."""
    with running(build_app(footage.suite, footage)) as address:
        yield address


def adapted(snippet: str, address: str) -> str:
    """Return a snippet that uses the server and the model of the test."""
    return snippet.replace("http://127.0.0.1:8000", address).replace("lite/scene", MODEL)


@pytest.mark.parametrize("block", CURL_BLOCKS)
def test_curl_snippets_succeed(address: str, block: str, green_png: bytes, tmp_path: Path) -> None:
    (tmp_path / "bike.jpg").write_bytes(green_png)
    script = adapted(block, address).replace("curl -s", "curl --retry 5 --retry-all-errors --fail -s")
    process = subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("{")


@pytest.mark.parametrize("block", PYTHON_BLOCKS)
def test_python_snippets_succeed(address: str, block: str) -> None:
    process = subprocess.run([sys.executable, "-c", adapted(block, address)], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "3"


def test_page_has_snippets() -> None:
    assert (len(CURL_BLOCKS), len(PYTHON_BLOCKS)) == (4, 1)
