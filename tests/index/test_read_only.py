"""An index on a real read-only mount can be searched. All other operations raise an error with the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.colors import color_suite
from tests.index.milvus.test_snapshot import add_video
from var_plugin.api import open_index

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, logging, shutil, subprocess, sys
from pathlib import Path
from tests.colors import color_suite
from tests.index.milvus.test_snapshot import add_video
from var_plugin.errors import VarPluginError
from var_plugin.api import open_index
folder = sys.argv[1]
if subprocess.run(["mount", "--bind", folder, folder]).returncode: sys.exit(77)
if subprocess.run(["mount", "-o", "remount,ro,bind", folder]).returncode: sys.exit(77)
logging.disable(logging.WARNING)
answers = []
try:
    with open_index(Path(folder) / "a.db", suite=color_suite()) as index:
        answers += [len(index.search("red", k=9)), len(index.videos()), index.size()["scene"]]
        add_video(index, 3)
except VarPluginError as error:
    answers.append(str(error))
print(json.dumps(answers))
"""


def answers(folder: Path) -> list[int | str]:
    """Run code in a process with the folder mounted read-only. Return its output."""
    import json

    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a folder read-only")
    ran = subprocess.run(
        [*unshare, sys.executable, "-c", SCRIPT, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if ran.returncode == 77:
        pytest.skip("no right to mount a folder read-only")
    assert ran.returncode == 0, ran.stderr
    return list(json.loads(ran.stdout))


@pytest.mark.parametrize("snapshot", ["current", "gone", "older"])
def test_a_read_only_index_can_be_searched_but_not_written(tmp_path: Path, snapshot: str) -> None:
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        add_video(index, 1)
        add_video(index, 2)
    for copy in (tmp_path / "a.db/snapshots").glob("*.snapshot"):
        if snapshot == "gone":
            copy.unlink()
    if snapshot == "older":  # as after copying the folder
        for file in (tmp_path / "a.db").rglob("*.parquet"):
            os.utime(file, (1, 1))
    moments, videos, rows, refusal = answers(tmp_path)
    assert (moments, videos, rows) == (8, 2, 8)
    assert "the file system is read-only" in str(refusal)
    assert "backup" not in str(refusal)


def test_unflushed_rows_in_a_read_only_index_are_an_error(tmp_path: Path) -> None:
    with open_index(tmp_path / "a.db", suite=color_suite()) as index:
        add_video(index, 1)
    (tmp_path / "a.db/collections/footage__scene/wal/wal_data_000099.arrow").write_bytes(b"")
    (refusal,) = answers(tmp_path)
    assert "the file system is read-only" in str(refusal)
