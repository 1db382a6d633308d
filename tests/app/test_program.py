"""`var-plugin app` as a program of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


def program(*words: str, index: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "VAR_PLUGIN_INDEX": str(index)}
    return subprocess.Popen(
        [sys.executable, "-m", "var_plugin", "app", *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_it_serves_until_ctrl_c(tmp_path: Path) -> None:
    running = program(index=tmp_path / "index.db")
    assert running.stdout
    line = running.stdout.readline()
    found = re.match(r"The page is at (http://127\.0\.0\.1:\d+/); Ctrl-C ends it\.", line)
    assert found, line
    assert httpx.get(found[1]).status_code == 200
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 0


def test_it_does_not_open_to_strangers(tmp_path: Path) -> None:
    running = program("--host", "0.0.0.0", index=tmp_path / "index.db")  # noqa: S104
    _, told = running.communicate(timeout=120)
    assert running.returncode != 0
    assert "no login is set" in told
