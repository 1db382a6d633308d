from __future__ import annotations

import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("script", sorted(path.name for path in BENCHMARKS.glob("*.py")))
def test_benchmark_can_be_imported(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)  # as when the script is run
    try:
        runpy.run_path(str(BENCHMARKS / script), run_name="imported")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("var_plugin", "tests", *(path.stem for path in BENCHMARKS.iterdir())):
            raise
        pytest.skip(f"{error.name} is not a dependency of this project")
