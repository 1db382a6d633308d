"""Untrusted index folders: no operation touches a file outside of the folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.colors import color_suite
from tests.index.milvus.test_snapshot import add_video
from var_plugin.api import open_index
from var_plugin.errors import IndexUnavailableError, VarPluginError
from var_plugin.index.milvus import lite_server

SCENE = "collections/footage__scene"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("original") / "a.db"
    with open_index(database, suite=color_suite()) as index:
        add_video(index, 1)
    return database


@pytest.fixture
def database(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "a.db"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder outside the index that looks like one of a collection."""
    folder = tmp_path / "outside"
    for name in ("data/data_000001_000002.parquet", "indexes/x.idx", "schema.json", "note.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("precious")
    return folder


def replaced(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def edited(path: Path, edit: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


CRAFTS: dict[str, Callable[[Path, Path], object]] = {
    "linked collection": lambda db, out: replaced(db / "collections/more", out),
    "linked partition": lambda db, out: replaced(db / SCENE / "partitions/_default", out),
    "linked rows": lambda db, out: replaced(db / SCENE / "partitions/_default/data", out / "data"),
    "linked copies of vectors": lambda db, out: replaced(db / SCENE / "partitions/_default/indexes", out / "indexes"),
    "linked locks": lambda db, out: replaced(db / "locks", out),
    "linked snapshot": lambda db, out: replaced(db / "snapshots/footage__scene.partial", out / "note.txt"),
    "linked owner": lambda db, out: replaced(db / "lease.json", out / "note.txt"),
    "linked lock": lambda db, out: replaced(db / "LOCK", out / "note.txt"),
    "FIFO": lambda db, out: ((db / SCENE / "manifest.json").unlink(), os.mkfifo(db / SCENE / "manifest.json")),
    "rows outside": lambda db, out: edited(
        db / SCENE / "manifest.json",
        lambda m: m["partitions"]["_default"]["data_files"].append(f"{'../' * 6}{out}/data/data_000001_000002.parquet"),
    ),
    "partition outside": lambda db, out: edited(
        db / SCENE / "manifest.json", lambda m: m["partitions"].update({"../../../../outside": {"data_files": []}})
    ),
    "alias outside": lambda db, out: (db / "aliases.json").write_text(
        json.dumps({"footage__scene": "../../../outside", "footage__scene__2": "../../../outside"})
    ),
    "service": lambda db, out: edited(
        db / SCENE / "schema.json",
        lambda s: s.update(functions=[{"name": "f", "function_type": 2, "params": {"provider": "openai"}}]),
    ),
    "deep": lambda db, out: (db / "/".join("d" * 30)).mkdir(parents=True),
}


@pytest.mark.parametrize("craft", CRAFTS)
def test_a_crafted_folder_is_refused(database: Path, outside: Path, craft: str) -> None:
    CRAFTS[craft](database, outside)
    with pytest.raises(IndexUnavailableError, match="is not opened because of"):
        open_index(database, suite=color_suite())
    assert all(file.read_text() == "precious" for file in outside.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    "note",
    [
        "{}", "[]", "", "nonsense", '{"pid": "x", "address": 5}', "[" * 4_000, "x" * 10_000,
        '{"pid": 1, "address": "unix:OUTSIDE/var-plugin-x/milvus"}', '{"pid": 1, "address": "/etc/passwd"}',
    ],
    ids=lambda note: note[:30],
)  # fmt: skip
def test_an_untrusted_lease_file_deletes_nothing_and_is_ignored(database: Path, outside: Path, note: str) -> None:
    away = outside / "var-plugin-x"
    away.mkdir()
    (away / "note.txt").write_text("precious")
    (database / "lease.json").write_text(note.replace("OUTSIDE", str(outside)))
    with open_index(database, suite=color_suite()) as index:
        assert index.verify().ok
    assert (away / "note.txt").read_text() == "precious"


def test_sockets_in_folders_of_other_users_are_not_used(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process holds the database and names a socket in a folder that all users can access."""
    import socket

    from milvus_lite.db import MilvusLite

    monkeypatch.setattr(lite_server, "TIMEOUT_SECONDS", 0.1)
    folder = tmp_path / "var-plugin-open"
    folder.mkdir(mode=0o755)
    holder = MilvusLite(str(database))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "milvus"))
        listener.listen()
        listener.settimeout(0.3)
        (database / "lease.json").write_text(json.dumps({"pid": 1, "address": f"unix:{folder / 'milvus'}"}))
        with open_index(database, suite=color_suite()) as index, pytest.raises(VarPluginError, match="does not answer"):
            index.verify()
        with pytest.raises(TimeoutError):
            listener.accept()
    holder.close()


@pytest.mark.parametrize("spaces", [["../../../outside"], ["scene", "a/b"]])
def test_space_names_in_the_catalog_delete_nothing(database: Path, outside: Path, spaces: list[str]) -> None:
    with open_index(database, suite=color_suite()) as index:
        (row,) = index._inner._store.rows("footage__videos", 'id == "@generations"', ["*"])
        previous = {**row["body"]["current"], "number": 2, "spaces": spaces}
        index._inner._store.write("footage__videos", [{**row, "body": {**row["body"], "previous": previous}}])
        index._inner._store.flush("footage__videos")
    with pytest.raises(VarPluginError, match="active generation is damaged"):
        open_index(database, suite=color_suite())
    assert (outside / "schema.json").read_text() == "precious"


def test_unsuitable_folders_for_the_socket_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("d" * 110, "a b", "100%41", "gone"):
        if name != "gone":
            (tmp_path / name).mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / name))
        with open_index(tmp_path / "i.db", suite=color_suite()) as index:
            add_video(index, len(name))
            address = json.loads((tmp_path / "i.db/lease.json").read_text())["address"]
            assert len(address.removeprefix("unix:")) <= 103
            assert name not in address


def test_a_missing_folder_for_the_socket_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite_server, "_MAX_SOCKET_BYTES", 5)
    with pytest.raises(IndexUnavailableError, match="set TMPDIR to a folder with a short path"):
        open_index(tmp_path / "i.db", suite=color_suite())
    monkeypatch.undo()
    open_index(tmp_path / "i.db", suite=color_suite()).close()
