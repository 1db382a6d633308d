"""Every command line that the documentation of the shipped weights gives is one that its program understands."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from var_plugin.encoders.weights import LITE
from var_plugin.errors import InvalidInputError

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "recipes" / "lite" / "README.md", *sorted(LITE.glob("*.md"))]
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


def test_a_known_error_is_one_line_and_an_exit_code() -> None:
    module = "recipes.lite.audio_calibration"
    ended = subprocess.run(
        [sys.executable, "-m", module, "--data", "nowhere", "--weights", str(LITE)], capture_output=True, text=True
    )
    assert ended.returncode == InvalidInputError.exit_code
    assert ended.stderr.splitlines()[-1].startswith("audio_calibration: the sound weights in ")
    assert "Traceback" not in ended.stderr
