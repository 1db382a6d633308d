"""The scripts for LangChain and MCP, and every Python block of their page, run unchanged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.colors import color_suite, install_colors
from tests.films import Film, plain
from tests.ingest.test_add import scene
from var_plugin.api import open_index

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plugs.md").read_text()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `footage.db`, its video, an image, and an installed suite of colours."""
    folder = tmp_path_factory.mktemp("workspace")
    install_colors(folder / "site")
    film = Film(folder)(seconds=40, fps=5, paint=scene("blue", "red", "blue", "green", "blue"))
    Image.fromarray(plain(220, 20, 20)).save(folder / "red.png")
    with open_index(folder / "footage.db", suite=color_suite()) as index:
        assert index.add(film).ok
    return folder


@pytest.fixture
def run(workspace: Path) -> Callable[..., str]:
    """Run Python in the folder."""

    def python(*words: str | Path) -> str:
        paths = os.pathsep.join([str(ROOT), str(workspace / "site")])
        environment = {**os.environ, "PYTHONPATH": paths, "VAR_PLUGIN_SUITE": "colors"}
        process = subprocess.run(
            [sys.executable, *words], cwd=workspace, env=environment, capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    return python


def test_the_code_of_the_page_runs(run: Callable[..., str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) >= 5
    lines = run("-c", "\n".join(blocks).replace("SuiteEmbeddings()", 'SuiteEmbeddings("colors")')).splitlines()
    assert lines[2:4] == ["8.0", "8.0"], "the image and the span find what the words do"
    assert "Footage search" in lines
    assert "a red van at the gate" in lines[-1]


def test_the_agent_calls_tools_and_answers(run: Callable[..., str]) -> None:
    lines = run(ROOT / "examples/langchain_agent.py", "footage.db", "something red").splitlines()
    assert lines[0] == "search_moments({'query': 'something red'})"
    assert lines[2].startswith("get_moment(")
    thumbnail, clip = lines[3].split(" ")
    assert (Path(thumbnail).suffix, Path(clip).suffix) == (".jpg", ".mp4")
    assert "from 8.0 s to 16.0 s" in lines[4]


def test_the_mcp_client_lists_and_calls_tools(run: Callable[..., str]) -> None:
    out = run(ROOT / "examples/mcp_client.py", "footage.db", "something red")
    assert "summarise_timeline: Count anomalies" in out
    assert "from 8.0 s to 16.0 s" in out


def test_the_example_finds_the_note(run: Callable[..., str]) -> None:
    script = ROOT / "examples/langchain_notes.py"
    out = run(script, "colors", "something red", "./more.db", "a blue car", "a red van")
    assert out == "note-1: a red van: 1.000\n"
