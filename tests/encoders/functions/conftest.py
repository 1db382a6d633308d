"""The suite of colours under a name, as an installed package would give it one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.films import Film, plain


@pytest.fixture
def installed_colors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install an entry point for the suite of colours; its name."""
    package = tmp_path / "site" / "colors-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: colors\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[var_plugin.suites]\ncolors = tests.colors:DESCRIPTION\n")
    monkeypatch.syspath_prepend(package.parent)
    return "colors"


@pytest.fixture
def clips(film: Film) -> list[str]:
    """A red, a green and a blue film."""
    paints = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    return [
        str(film(f"{name}.mp4", seconds=1, paint=lambda _, color=color: plain(*color)))
        for name, color in paints.items()
    ]
