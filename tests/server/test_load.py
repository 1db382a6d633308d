"""The load test, for a moment and with the suite of colours: whether it runs, and that nothing fails under load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "server_load.py"


def test_many_clients_get_answers_and_no_errors(installed_colors: str) -> None:
    words = ["--suite", installed_colors, "--clients", "50", "--seconds", "2", "--json"]
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert [outcome["batching"] for outcome in outcomes] == [False, False, True, True]
    assert all(outcome["answers"] >= outcome["clients"] for outcome in outcomes if outcome["clients"] == 50)
    assert [outcome["errors"] for outcome in outcomes] == [0, 0, 0, 0]
