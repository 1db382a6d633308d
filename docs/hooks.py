"""Hooks of the documentation site.

Links to files outside of `docs/` lead to the repository, and the reference of the command line is generated.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from click import Context
from typer.cli import get_docs_for_click
from typer.main import get_command

from var_plugin.cli import app

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = re.search(r'^Repository = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
LINK = re.compile(r"\]\(((?:\.\./)+)([^)#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Point relative links that leave `docs/` to the repository; a link to a missing file ends the build."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def absolute(match: re.Match[str]) -> str:
        target = (folder / match[1] / match[2]).resolve()
        if target.is_relative_to(ROOT / "docs"):
            return match[0]
        if not target.exists() or REPOSITORY is None:
            raise FileNotFoundError(f"{page.file.src_uri} links to {target}")
        kind = "tree" if target.is_dir() else "blob"
        return f"]({REPOSITORY[1]}/{kind}/main/{target.relative_to(ROOT).as_posix()}{match[3] or ''})"

    text = LINK.sub(absolute, markdown)
    return f"{text}\n{command_line()}" if page.file.src_uri == "reference/cli.md" else text


def command_line() -> str:
    """Return the reference of every command as Markdown."""
    command = get_command(app)
    text = get_docs_for_click(obj=command, ctx=Context(command, info_name="var-plugin"), name="var-plugin")
    return text.partition("\n")[2]  # the page has a title of its own
