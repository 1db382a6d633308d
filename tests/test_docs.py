"""Every command line in the documentation names commands and options that there are."""

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
    """The calls of `var-plugin` in the page's shell blocks, without variables before and redirections behind."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text(), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    calls = [re.search(r"(?:^|\s)var-plugin (.*)", line.strip().removeprefix("$ ")) for line in lines]
    return [re.split(r"\s(?:[|&>#]|\d>)", call.group(1))[0] for call in calls if call]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_line_is_understood(page: Path) -> None:
    for command in commands(page):
        # With --help nothing is run, but names of commands and options are looked at.
        result = CliRunner().invoke(app, [*shlex.split(command), "--help"])
        assert result.exit_code == 0, f"var-plugin {command}\n{result.output}"


def test_the_pages_have_commands() -> None:
    assert sum(len(commands(page)) for page in PAGES) >= 20
    wrong = CliRunner().invoke(app, ["extract", "videos", "--no-such-option", "--help"])
    assert wrong.exit_code == 2, "an option that there is not would be noticed"
