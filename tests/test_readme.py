"""Every command and every Python block in the README works as written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from var_plugin.demo.run import DemoReport
from var_plugin.media.clips import export_clip

README = (Path(__file__).parents[1] / "README.md").read_text()
SHELL = [line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.strip().splitlines()]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def folder(demo: tuple[Path, DemoReport], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the files that the README names: `cams/` with videos, and the image `bike.jpg`."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "cams").mkdir()
    for video in sorted(demo[0].glob("*.mp4"))[:2]:
        export_clip(video, 0.0, 16.0, folder / "cams" / video.name)  # short clips: only the commands are tested
    shutil.copy(demo[1].results[0].moments[0].thumbnail or "", folder / "bike.jpg")
    return folder


def run(arguments: list[str], folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, f"{arguments}\n{process.stdout}\n{process.stderr}"
    return process.stdout


def test_ci_runs_the_two_commands() -> None:
    ci = (Path(__file__).parents[1] / ".ci/run").read_text()
    for command in ("make demo", "make test"):
        assert command in README
        assert command in ci


def test_every_command_runs(folder: Path) -> None:
    commands = [line for line in SHELL if line.startswith("var-plugin ")]
    assert len(commands) >= 5
    for command in commands:
        run(["bash", "-c", command], folder)


def test_every_python_block_runs(folder: Path) -> None:
    assert PYTHON
    for code in PYTHON:
        assert run([sys.executable, "-c", code], folder)


@pytest.mark.parametrize("script", ["find_a_moment.py", "langchain_retriever.py"])
def test_every_example_script_runs(script: str, folder: Path, demo: tuple[Path, DemoReport]) -> None:
    location = "cams" if script == "find_a_moment.py" else str(demo[0] / "index.db")
    out = run([sys.executable, str(Path(__file__).parents[1] / "examples" / script), location, "a taxi"], folder)
    assert "score" in out
