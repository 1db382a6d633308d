from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.index.full_disk import NOT_MOUNTED

ROOT = Path(__file__).parents[2]


def test_a_full_disk_loses_nothing_and_the_index_recovers() -> None:
    """A real disk in memory, full during add, delete, reindex, rescore, backup, restore and search; see `full_disk`."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    ran = subprocess.run(
        [*unshare, sys.executable, "-m", "tests.index.full_disk", "all", "8192"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ran.returncode == NOT_MOUNTED:
        pytest.skip("no right to mount a small disk")
    outcome = json.loads(ran.stdout)
    assert outcome["wrong"] == {}
    assert outcome["refused"] >= 6
