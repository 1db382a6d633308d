"""A short run of the load benchmark with the suite of colours: all requests succeed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "server_load.py"


def test_all_requests_of_many_clients_succeed(installed_colors: str) -> None:
    options = ["--suite", installed_colors, "--clients", "50", "--seconds", "2", "--json"]
    process = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    outcomes = json.loads(process.stdout)
    assert [outcome["batching"] for outcome in outcomes] == [False, False, True, True]
    assert all(outcome["answers"] >= outcome["clients"] for outcome in outcomes if outcome["clients"] == 50)
    assert [outcome["errors"] for outcome in outcomes] == [0, 0, 0, 0]
