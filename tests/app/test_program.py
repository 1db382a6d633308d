"""`var-plugin app` as a subprocess."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


def start_program(*arguments: str, index: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "VAR_PLUGIN_INDEX": str(index)}
    return subprocess.Popen(
        [sys.executable, "-m", "var_plugin", "app", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_page_is_served_until_ctrl_c(tmp_path: Path) -> None:
    running = start_program(index=tmp_path / "index.db")
    assert running.stdout
    line = running.stdout.readline()
    match = re.match(r"The page is at (http://127\.0\.0\.1:\d+/)\. Press Ctrl-C to stop\.", line)
    assert match, line
    assert httpx.get(match[1]).status_code == 200
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 0


def test_a_page_without_login_is_not_served_to_the_network(tmp_path: Path) -> None:
    running = start_program("--host", "0.0.0.0", index=tmp_path / "index.db")  # noqa: S104
    _, stderr = running.communicate(timeout=120)
    assert running.returncode != 0
    assert "no login is set" in stderr
