"""The command lines in the documentation of the weights match the programs' options."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from var_plugin.encoders.weights import LITE
from var_plugin.errors import InvalidInputError

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "recipes" / "lite" / "README.md", *sorted(LITE.glob("*.md"))]
COMMANDS = sorted({line for page in PAGES for line in re.findall(r"^python -m .+$", page.read_text(), re.M)})


class ParsedError(Exception):
    """Raised after the arguments were parsed, so that the program does nothing."""


@pytest.mark.parametrize("command", COMMANDS)
def test_documented_command_is_accepted(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = ArgumentParser.parse_args

    def parsed(parser: ArgumentParser) -> Namespace:
        parse(parser)
        raise ParsedError

    monkeypatch.setattr(ArgumentParser, "parse_args", parsed)
    _, _, module, *arguments = shlex.split(command, comments=True)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(ParsedError):
        importlib.import_module(module).main()


def test_documentation_has_commands() -> None:
    assert len(COMMANDS) >= 12


def test_known_error_is_one_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["audio_calibration", "--data", "nowhere", "--weights", str(LITE)])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_module("recipes.lite.audio_calibration", run_name="__main__")
    assert exit_info.value.code == InvalidInputError.exit_code
    assert capsys.readouterr().err.splitlines()[-1].startswith("audio_calibration: the sound weights in ")
