"""The example package, installed as by a user, adds a suite that the command line lists and uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.films import Film
from tests.ingest.test_add import scene


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the package."""
    site = tmp_path_factory.mktemp("site")
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
        "--target", str(site), str(ROOT / "examples" / "suite_package"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, text=True)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}


def run(environment: dict[str, str], *words: str | Path) -> object:
    command = [sys.executable, "-m", "var_plugin", *map(str, words), "--json"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_the_suite_of_the_example_package_is_listed_and_searches(
    installed: dict[str, str], film: Film, tmp_path: Path
) -> None:
    listed = run(installed, "suites")
    assert isinstance(listed, list)
    assert "palette" in [suite["name"] for suite in listed]
    film("cams/fire.mp4", seconds=3, fps=4, paint=scene("red"))
    film("cams/sea.mp4", seconds=3, fps=4, paint=scene("blue"))
    place = ["--index", tmp_path / "index.db", "--suite", "palette"]
    receipt = run(installed, "index", tmp_path / "cams", *place)
    assert isinstance(receipt, dict)
    output = run(installed, "search", "something blue", *place)
    assert isinstance(output, list)
    assert output[0]["uri"].endswith("sea.mp4")
    assert output[0]["score"] > 2
