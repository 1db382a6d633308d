"""Untrusted backups, and killed restores. `tests.hostile_backups` has random changes."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.colors import color_suite
from tests.hostile_backups.fuzz import _list_files, make_backup
from tests.index.milvus.test_snapshot import add_video
from var_plugin.api import open_index, restore_index
from var_plugin.errors import IndexUnavailableError, InvalidInputError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_backup(tmp_path_factory.mktemp("backup"))


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "saved"))


def test_a_backup_is_readable_by_its_user_only(original: Path) -> None:
    assert stat.S_IMODE(original.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in original.iterdir()} == {0o600}
    assert {file.name for file in original.iterdir()} == {
        "manifest.json", "videos.jsonl", "scene.jsonl", "examples.jsonl",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("version", "remedy"), [(1, "var-plugin index FOLDER --index"), (4, "pip install --upgrade var-plugin")]
)
def test_a_backup_of_another_format_is_refused(saved: Path, tmp_path: Path, version: int, remedy: str) -> None:
    manifest = saved / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 3', f'"format": {version}, "more": true'))
    with pytest.raises(InvalidInputError, match=f"has format {version}.*{remedy}"):
        restore_index(saved, tmp_path / "a.db")


@pytest.mark.parametrize("existing", ["folder", "file", "link"])
def test_a_backup_does_not_overwrite_files(tmp_path: Path, existing: str) -> None:
    target = tmp_path / "target"
    {"folder": target.mkdir, "file": target.touch, "link": lambda: target.symlink_to("nowhere")}[existing]()
    (tmp_path / "target.partial").mkdir()
    with (
        open_index(tmp_path / "a.db", suite=color_suite()) as index,
        pytest.raises(InvalidInputError, match="never overwrites"),
    ):
        index.backup(target)
    assert (tmp_path / "target.partial").exists()


def test_a_video_id_in_a_backup_cannot_be_a_path(saved: Path, tmp_path: Path) -> None:
    for file in saved.glob("*.jsonl"):
        file.write_text(file.read_text().replace(f"{1:032x}", "ab/../../outside"))
    _list_files(saved)
    with pytest.raises(InvalidInputError, match=r"videos\.jsonl: line 2: video_id"):
        restore_index(saved, tmp_path / "a.db")
    assert not (tmp_path / "a.db").exists()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("videos.jsonl", '"size":null', f'"size":{2**63}'),
        ("videos.jsonl", '"modified_ms":null', f'"modified_ms":{-(2**70)}'),
        ("videos.jsonl", '"floor":1', f'"floor":{2**63}'),
        ("scene.jsonl", '"floor": 1', '"floor": NaN'),
        ("scene.jsonl", '"floor": 1', '"floor": [[]]'),
        ("scene.jsonl", '"floor": 1', '"floor": "a\\u0000b"'),
    ],
)
def test_values_that_a_store_cannot_hold_are_refused(
    saved: Path, tmp_path: Path, name: str, old: str, new: str
) -> None:
    content = (saved / name).read_text()
    assert old in content
    (saved / name).write_text(content.replace(old, new))
    _list_files(saved)
    with pytest.raises(InvalidInputError, match=f"is damaged: {name}: line"):
        restore_index(saved, tmp_path / "a.db")


@pytest.mark.parametrize("shared", [False, True], ids=["new place", "beside another index"])
def test_a_killed_restore_can_be_repeated(saved: Path, tmp_path: Path, shared: bool) -> None:
    place = tmp_path / "a.db"
    if shared:
        with open_index(place, suite=color_suite(), name="other") as index:
            add_video(index, 1)
    script = """
import os, sys
from var_plugin.index.catalog import Catalog
from var_plugin.api import restore_index
Catalog.put_generations = lambda *_: os.kill(os.getpid(), 9)
restore_index(sys.argv[1], sys.argv[2])
"""
    killed = subprocess.run([sys.executable, "-c", script, str(saved), str(place)], cwd=ROOT, check=False)
    assert killed.returncode == -9
    if shared:
        with pytest.raises(IndexUnavailableError, match="a restore has started"):
            open_index(place, suite=color_suite())
    else:
        assert not place.exists()
    assert restore_index(saved, place).videos == 3
    with open_index(place, suite=color_suite()) as index:
        assert (len(index.videos()), index.verify().ok) == (3, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "saved"]
    with pytest.raises(InvalidInputError, match="there is an index"):
        restore_index(saved, place)
