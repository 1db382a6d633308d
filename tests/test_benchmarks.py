from __future__ import annotations

import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("script", sorted(path.name for path in BENCHMARKS.glob("*.py")))
def test_every_benchmark_finds_what_it_imports(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)  # as for a script that is run
    try:
        runpy.run_path(str(BENCHMARKS / script), run_name="imported")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("var_plugin", "tests", *(path.stem for path in BENCHMARKS.iterdir())):
            raise
        pytest.skip(f"{error.name} is no dependency of this project")  # what a benchmark compares with
