"""Every command line that the documentation of the shipped weights gives is one that its program understands."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

import var_plugin

PACKAGE = Path(var_plugin.__file__).parent
PAGES = [PACKAGE / "training" / "README.md", *sorted((PACKAGE / "encoders" / "weights").rglob("*.md"))]
COMMANDS = sorted({line for page in PAGES for line in re.findall(r"^python -m .+$", page.read_text(), re.M)})


class UnderstoodError(Exception):
    """The arguments were parsed; the work itself is left alone."""


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = ArgumentParser.parse_args

    def parsed(parser: ArgumentParser) -> Namespace:
        parse(parser)
        raise UnderstoodError

    monkeypatch.setattr(ArgumentParser, "parse_args", parsed)
    _, _, module, *arguments = shlex.split(command, comments=True)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(UnderstoodError):
        importlib.import_module(module).main()


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 12
