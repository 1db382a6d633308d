from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from var_plugin.private_files import (
    create_private_file,
    delete_inside,
    exclusive_lock,
    keep_folder,
    make_private_folder,
    mark_folder,
    open_regular_file,
    unfinished_folder,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_and_files_are_private(tmp_path: Path) -> None:
    folder = make_private_folder(tmp_path / "a/b")
    with create_private_file(folder / "c") as file:
        file.write(b"x")
    assert [mode(path) for path in (tmp_path / "a", folder, folder / "c")] == [0o700, 0o700, 0o600]
    (tmp_path / "old").mkdir(mode=0o755)
    assert mode(make_private_folder(tmp_path / "old")) == 0o700


def test_nothing_is_written_through_links(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "symbolic").symlink_to(victim)
    os.link(victim, tmp_path / "hard")
    for name in ("symbolic", "hard"):
        with create_private_file(tmp_path / name) as file:
            file.write(b"x")
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(OSError), exclusive_lock(tmp_path / "lock"):
        pass
    with exclusive_lock(victim):
        pass
    assert victim.read_text() == "precious"


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("fifo", "link", ".", "gone"):
        with pytest.raises(OSError):
            open_regular_file(tmp_path / name)


def test_only_folders_inside_a_marked_one_are_deleted(tmp_path: Path) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    for folder in (root / "a", root / "b", victim):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    assert not delete_inside(root, "a"), "it is not marked"
    mark_folder(root)
    (root / "link").symlink_to(victim)
    (root / "a/inside").symlink_to(victim)
    for name in ("../victim", "..", ".", "", "link", "a/../../victim", str(victim), "gone"):
        assert not delete_inside(root, name), name
    assert delete_inside(root, "a")
    assert sorted(path.name for path in root.iterdir()) == [".var-plugin", "b", "link"]
    assert (victim / "file").exists()


def test_unfinished_folders_are_deleted(tmp_path: Path) -> None:
    target = tmp_path / "target"
    script = """
import os, sys
from pathlib import Path
from var_plugin.private_files import unfinished_folder
with unfinished_folder(Path(sys.argv[1])) as folder:
    (folder / "x").write_text("x")
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", script, str(target)], check=False, cwd=Path(__file__).parents[1])
    (folder,) = tmp_path.iterdir()
    (tmp_path / ".target.unfinished-of-somebody").mkdir()
    with unfinished_folder(target) as other:
        assert not folder.exists()
        with unfinished_folder(target) as folder:
            assert other.exists(), "it is in use"
            (folder / "file").write_text("x")
            keep_folder(folder, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".target.unfinished-of-somebody", "target"]
    assert [path.name for path in target.iterdir()] == ["file"]
    assert mode(target) == 0o700
