"""Operations on a full disk, in a mount namespace: `unshare -rm python -m tests.index.full_disk`.

Prints one JSON object: the problems per scenario, and the number of operations that failed for lack of space.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.colors import color_suite
from tests.crash.life import outdated_scores
from tests.index.milvus.test_snapshot import add_video
from var_plugin.api import Index, open_index, restore_index
from var_plugin.errors import StoreError, VarPluginError
from var_plugin.types import Filter

FULL = "no space left on the disk"
NOT_MOUNTED = 77
refused = 0
"""How many operations found no room."""


class Disk:
    """A small disk in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder))

    def fill(self, spare: int) -> None:
        """Leave this number of bytes free."""
        self.free()
        used = int(subprocess.check_output(["df", "-B1", "--output=used", str(self.folder)]).split()[-1])
        self._mount("-o", f"remount,size={-(-(used + spare) // 4096) * 4}k", str(self.folder))

    def free(self) -> None:
        self._mount("-o", "remount,size=64m", str(self.folder))

    def _mount(self, *options: str) -> None:
        if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
            sys.exit(NOT_MOUNTED)


def opened(disk: Disk) -> Index:
    return open_index(disk.folder / "i.db", suite=color_suite())


def stored(index: Index) -> set[str]:
    return {video.video_id for video in index.videos() if video.state == "committed"}


def full(act: Callable[[], object]) -> bool:
    """Run an operation. Return whether it succeeded. It may only fail for lack of space."""
    try:
        act()
    except VarPluginError as error:
        assert FULL in str(error), error
        global refused
        refused += 1
        return False
    return True


def add(disk: Disk, spare: int) -> None:
    with opened(disk) as index:
        add_video(index, 1)
        disk.fill(spare)
        acknowledged = {f"{1:016x}"}
        for number in range(2, 6):
            if full(lambda number=number: add_video(index, number, segments=400)):
                acknowledged.add(f"{number:016x}")
        disk.free()
        assert acknowledged <= stored(index)
        add_video(index, 9)
        for number in range(2, 6):
            add_video(index, number, segments=400)
        assert index.verify().ok, index.verify().problems


def add_and_end(disk: Disk, spare: int) -> None:
    """The process ends while the disk is full."""
    acknowledged = {f"{1:016x}"}
    with opened(disk) as index:
        add_video(index, 1)
        disk.fill(spare)
        for number in range(2, 4):
            if full(lambda number=number: add_video(index, number, segments=400)):
                acknowledged.add(f"{number:016x}")
    full(lambda: opened(disk).close())
    disk.free()
    with opened(disk) as index:
        assert acknowledged <= stored(index)
        verification = index.verify()
        assert {problem.kind for problem in verification.problems} <= {"unfinished", "orphan"}
        index.repair(verification)
        assert index.verify().ok, index.verify().problems
        assert acknowledged <= stored(index)
        for number in range(1, 4):
            add_video(index, number, segments=400)
        assert index.verify().ok, index.verify().problems


def delete(disk: Disk, spare: int) -> None:
    with opened(disk) as index:
        for number in range(3):
            add_video(index, number, segments=200)
        disk.fill(spare)
        full(lambda: index.delete(f"{1:016x}"))
        disk.free()
        assert {f"{0:016x}", f"{2:016x}"} <= stored(index)
        for entry in index._inner.all_entries():
            if entry.video_id == f"{1:016x}":
                index.delete(entry.video_id)
        assert index.verify().ok, index.verify().problems
        assert stored(index) == {f"{0:016x}", f"{2:016x}"}


def reindex(disk: Disk, spare: int) -> None:
    with opened(disk) as index:
        for number in range(3):
            add_video(index, number, segments=200)
        disk.fill(spare)
        try:
            receipt = index.reindex(color_suite())
            assert receipt.ok or all(line.status != "failed" or FULL in str(line.reason) for line in receipt.videos)
        except StoreError as error:
            assert FULL in str(error), error
        disk.free()
        assert len(stored(index)) == 3
        assert index.reindex(color_suite()).ok
        assert index.verify().ok, index.verify().problems


def rescore(disk: Disk, spare: int) -> None:
    with opened(disk) as index:
        for number in range(3):
            add_video(index, number, segments=200)
        disk.fill(spare)
        moment = f"{1:016x}-0-10000"
        full(lambda: index.add_example("alarm", moment=moment))
        disk.free()
        assert len(stored(index)) == 3
        index.add_example("alarm", moment=moment)
        assert index.anomalies(kinds=["alarm"])
        assert outdated_scores(index) == []
        assert index.verify().ok, index.verify().problems


def backup(disk: Disk, spare: int) -> None:
    with tempfile.TemporaryDirectory() as folder, open_index(Path(folder) / "i.db", suite=color_suite()) as index:
        add_video(index, 1, segments=300)
        disk.fill(spare)
        if not full(lambda: index.backup(disk.folder / "saved")):
            assert not list(disk.folder.iterdir()), "a failed backup takes room"
            disk.free()
            index.backup(disk.folder / "saved")


def restore(disk: Disk, spare: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with open_index(Path(folder) / "i.db", suite=color_suite()) as index:
            add_video(index, 1, segments=300)
            index.backup(Path(folder) / "saved")
        disk.fill(spare)
        if not full(lambda: restore_index(Path(folder) / "saved", disk.folder / "i.db")):
            assert not list(disk.folder.iterdir()), "a failed restore leaves something"
            disk.free()
            restore_index(Path(folder) / "saved", disk.folder / "i.db")
    with opened(disk) as index:
        assert index.verify().ok


def search(disk: Disk, spare: int) -> None:
    with opened(disk) as index:
        add_video(index, 1, segments=50)
    for copy in (disk.folder / "i.db/snapshots").glob("*.snapshot"):
        copy.unlink()
    disk.fill(spare)
    with opened(disk) as index:
        assert index.search("red")
        assert len(index._inner.search_segments("scene", np.ones(3, np.float32), limit=99, filter=Filter())) == 50


SCENARIOS = {act.__name__: act for act in (add, add_and_end, delete, reindex, rescore, backup, restore, search)}


def main() -> None:
    logging.disable(logging.WARNING)
    wrong = {}
    spares = [int(spare) for spare in sys.argv[2:]] or [0, 4096, 12_288, 40_960]
    with tempfile.TemporaryDirectory() as folder:
        for name, act in SCENARIOS.items():
            if sys.argv[1:2] in ([], ["all"], [name]):
                for spare in spares:
                    disk = Disk(Path(folder) / f"{name}{spare}")
                    try:
                        act(disk, spare)
                    except Exception as error:
                        wrong[f"{name}, {spare} bytes left"] = f"{type(error).__name__}: {error}"
                    subprocess.run(["umount", "-l", str(disk.folder)], check=False)
    sys.stdout.write(json.dumps({"wrong": wrong, "refused": refused}) + "\n")


if __name__ == "__main__":
    main()
