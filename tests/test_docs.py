"""The documentation uses existing commands and options and names existing tests."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from var_plugin.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[str]:
    """Return the `var-plugin` command lines in the shell blocks of a page, without variables and redirections."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text(), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    calls = [re.search(r"(?:^|\s)var-plugin (.*)", line.strip().removeprefix("$ ")) for line in lines]
    return [re.split(r"\s(?:[|&>#]|\d>)", call.group(1))[0] for call in calls if call]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_line_is_valid(page: Path) -> None:
    for command in commands(page):
        # With --help, commands and options are checked but nothing runs.
        result = CliRunner().invoke(app, [*shlex.split(command), "--help"])
        assert result.exit_code == 0, f"var-plugin {command}\n{result.output}"


def test_pages_have_commands() -> None:
    assert sum(len(commands(page)) for page in PAGES) >= 20
    result = CliRunner().invoke(app, ["extract", "videos", "--no-such-option", "--help"])
    assert result.exit_code == 2, "an unknown option is detected"


def test_tests_that_the_documentation_names_exist() -> None:
    """A guarantee with a renamed test would be held by nothing."""
    text = "".join(page.read_text() for page in PAGES)
    files = [ROOT / name for name in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", text)]
    functions = set(re.findall(r"`(test_\w+)`", text))
    sources = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    assert len(files) > 20 and len(functions) > 10
    assert [file for file in files if not file.exists()] == []
    assert functions - set(re.findall(r"def (test_\w+)", sources)) == set()
