"""The worst words of the old language do not come back. CONTRIBUTING.md says how the project is written."""

from __future__ import annotations

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
"""Names of variables and functions that say nothing about what they hold."""
OLD_WORDS = re.compile(r"\b(nor to be had|so that whoever|tells? nobody|half a video is none|how sure)\b", re.I)
PACKAGE = subprocess.run(
    ["git", "ls-files", "var_plugin", "recipes"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()
MODULES = [Path(file) for file in PACKAGE if file.endswith(".py")]


def names(file: Path) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO((ROOT / file).read_text()).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


@pytest.mark.parametrize("file", MODULES, ids=str)
def test_names_and_prose_are_plain(file: Path) -> None:
    assert [f"{file}:{line} {name}" for line, name in names(file) if name in OLD_NAMES] == []
    assert OLD_WORDS.findall((ROOT / file).read_text()) == []
