"""Every command and every piece of Python in the README works as it is written there."""

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
def desk(demo: tuple[Path, DemoReport], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's names exist: `cams/` with footage and an image `bike.jpg`."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "cams").mkdir()
    for video in sorted(demo[0].glob("*.mp4"))[:2]:
        export_clip(video, 0.0, 16.0, folder / "cams" / video.name)  # the commands are tested, not what they find
    shutil.copy(demo[1].results[0].moments[0].thumbnail or "", folder / "bike.jpg")
    return folder


def run(words: list[str], desk: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=desk, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_two_commands_are_what_ci_runs() -> None:
    ci = (Path(__file__).parents[1] / ".ci/run").read_text()
    for command in ("make demo", "make test"):
        assert command in README
        assert command in ci


def test_every_command_runs(desk: Path) -> None:
    commands = [line for line in SHELL if line.startswith("var-plugin ")]
    assert len(commands) >= 5
    for command in commands:
        run(["bash", "-c", command], desk)


def test_every_python_example_runs(desk: Path) -> None:
    assert PYTHON
    for code in PYTHON:
        assert run([sys.executable, "-c", code], desk)


@pytest.mark.parametrize("script", ["find_a_moment.py", "langchain_retriever.py"])
def test_every_example_script_runs(script: str, desk: Path, demo: tuple[Path, DemoReport]) -> None:
    place = "cams" if script == "find_a_moment.py" else str(demo[0] / "index.db")
    out = run([sys.executable, str(Path(__file__).parents[1] / "examples" / script), place, "a lion"], desk)
    assert "score" in out
