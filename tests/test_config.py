"""Commands of an extra, in an interpreter that has the packages of a plain installation only."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.films import Film

ROOT = Path(__file__).parents[1]
HIDE = """
import os, sys
hidden = set(os.environ["HIDDEN_MODULES"].split(","))
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in hidden else self.finder.find_spec(name, *rest)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def plain_installation() -> frozenset[str]:
    """Return the distributions that `pip install var-plugin` brings without an extra."""
    needed: set[tuple[str, frozenset[str]]] = set()
    waiting = [("var-plugin", frozenset[str]())]
    while waiting:
        item = waiting.pop()
        if item in needed:
            continue
        needed.add(item)
        try:
            requirements = distribution(item[0]).requires or ()
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, requirements):
            environments = [{"extra": extra} for extra in item[1] or {""}]
            if requirement.marker is None or any(map(requirement.marker.evaluate, environments)):
                waiting.append((normalized(requirement.name), frozenset(requirement.extras)))
    return frozenset(name for name, _ in needed)


@cache
def hidden_modules() -> str:
    installed = plain_installation()
    return ",".join(
        module
        for module, names in packages_distributions().items()
        if module.isidentifier() and not installed & set(map(normalized, names))
    )


def environment(folder: Path) -> dict[str, str]:
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(HIDE)
    return os.environ | {
        "HIDDEN_MODULES": hidden_modules(),
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)]),
        "VAR_PLUGIN_INDEX": str(folder / "index.db"),
    }


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "var_plugin", *command],
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["app"], "app"),
        (["app", "--model", "openai:x"], "app"),
        (["serve"], "server"),
        (["mcp"], "mcp"),
        (["mcp", "--http"], "mcp"),
        (["demo"], "demo"),
        (["index", "film.mp4", "--engine", "ray"], "ray"),
        (["alerts", "add", "a", "red", "--mqtt", "mqtt://broker.example/alerts"], "mqtt"),
        (["train", "ucfcrime-ar", "--rgb", ".", "--annotations", ".", "--out", "model"], "train"),
    ],
)
def test_a_command_without_its_extra_names_the_command_that_installs_it(
    command: list[str], extra: str, film: Film, tmp_path: Path
) -> None:
    film("film.mp4", seconds=2, fps=5)
    ended = run(tmp_path, *command)
    assert ended.returncode == 6, ended.stderr
    assert f"pip install 'var-plugin[{extra}]'" in ended.stderr.replace('"', "'")
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert not (tmp_path / "index.db").exists(), "no index is created"


EDGES = ("__main__", "api", "app", "cli", "demo", "server", "tools", "watch")
"""Parts of the package that may read the settings: those that users call or start."""
EDGES_BELOW = {
    "encoders/registry.py",  # load_suite is public
    "encoders/functions/one_space.py",  # so are the embedding functions for other libraries
    "retrievers/rerank.py",  # and the reranker
    "ingest/ray.py",  # a process of another machine
    "training/ablations.py",  # a script
}
"""Modules of other parts that users call with the name of a model, or that start a process."""


def reads_settings(call: ast.Call) -> bool:
    """Return whether a call reads the settings, by itself or because it passes no options on."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    return name == "settings" or (name == "load_suite" and len(call.args) + len(call.keywords) < 2)


def test_settings_are_read_at_the_edges_only() -> None:
    package = ROOT / "var_plugin"
    modules = {file.relative_to(package): ast.parse(file.read_text()) for file in package.rglob("*.py")}
    readers = {
        str(module)
        for module, tree in modules.items()
        if module.parts[0].removesuffix(".py") not in EDGES
        and any(isinstance(node, ast.Call) and reads_settings(node) for node in ast.walk(tree))
    }
    assert readers == EDGES_BELOW


def test_searching_needs_no_extra(film: Film, tmp_path: Path) -> None:
    film("film.mp4", seconds=4, fps=5)
    assert run(tmp_path, "index", "film.mp4").returncode == 0
    output = run(tmp_path, "search", "a red wall")
    assert (output.returncode, "Traceback" in output.stderr) == (0, False), output.stderr


def test_watching_without_its_extra_scans_and_names_the_command_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "footage").mkdir()
    watch = [sys.executable, "-m", "var_plugin", "watch", "footage"]
    with subprocess.Popen(watch, env=environment(tmp_path), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "var-plugin[watch]" in line:
                process.terminate()
    assert any("scanning every" in line and "pip install 'var-plugin[watch]'" in line for line in lines), lines
    assert "Traceback" not in "".join(lines)
