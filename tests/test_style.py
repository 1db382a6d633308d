"""The worst words of the old language do not come back. CONTRIBUTING.md says how the project is written."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OLD_NAMES = {
    "told",
    "wanted",
    "asked",
    "begun",
    "heard",
    "desk",
    "shelf",
    "tray",
    "lessons",
    "strangeness",
    "how_sure",
    "hold_back",
}
"""Names that say nothing about what they hold. They are not used in the package."""
VAGUE_VARIABLES = {
    "found",
    "told",
    "wanted",
    "asked",
    "seen",
    "kept",
    "made",
    "said",
    "begun",
    "heard",
    "given",
    "taken",
}
"""A variable is named after the thing that it holds: results, query, filter, rows. This applies to tests as well."""
OLD_WORDS = re.compile(
    r"\b(nor to be had|so that whoever|tells? nobody|half a video is none|how sure|is none of|whoever is|"
    r"goes over to|made anew|embedded anew|clock time unknown|unit length|a film of)\b",
    re.I,
)
OLD_CONSTANTS = re.compile(r"_?(LEAST|MOST|LONGEST|FEWEST|SHORTEST)_\w+")
"""Limits are named MIN_ and MAX_."""


def python_files(*folders: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(file) for file in listed.stdout.split() if file.endswith(".py")]


PACKAGE = python_files("var_plugin", "recipes")
EVERYWHERE = python_files("var_plugin", "recipes", "benchmarks", "examples", "tests")


def names(file: Path) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO((ROOT / file).read_text()).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


def variables(file: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


@pytest.mark.parametrize("file", PACKAGE, ids=str)
def test_names_and_prose_are_plain(file: Path) -> None:
    assert [f"{file}:{line} {name}" for line, name in names(file) if name in OLD_NAMES] == []
    assert [f"{file}:{line} {name}" for line, name in names(file) if OLD_CONSTANTS.fullmatch(name)] == []
    assert OLD_WORDS.findall((ROOT / file).read_text()) == []


@pytest.mark.parametrize("file", EVERYWHERE, ids=str)
def test_variables_are_named_after_what_they_hold(file: Path) -> None:
    assert [f"{file}:{line} {name}" for line, name in variables(file) if name in VAGUE_VARIABLES] == []
