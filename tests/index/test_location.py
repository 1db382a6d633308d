from __future__ import annotations

from pathlib import Path

import pytest

from var_plugin.errors import IndexUnavailableError
from var_plugin.index.location import is_local, milvus_uri


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("a.db", "a.db"),
        ("deep/er/a.db", "deep/er/a.db"),
        ("a", "a/milvus.db"),
        ("a.DB", "a.DB/milvus.db"),
        ("my index", "my index/milvus.db"),
    ],
)
def test_any_path_will_do(tmp_path: Path, name: str, folder: str) -> None:
    assert milvus_uri(tmp_path / name) == str(tmp_path / folder)
    assert (tmp_path / folder).parent.is_dir()


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert milvus_uri("~/a.db") == str(tmp_path / "a.db")


def test_servers_are_left_as_they_are() -> None:
    assert milvus_uri("http://localhost:19530") == "http://localhost:19530"
    assert not is_local("https://cluster.example:443")
    assert is_local("/data/a.db")


@pytest.mark.parametrize("uri", ["ftp://host/x", "http://", "://", "postgres://localhost"])
def test_other_addresses_are_refused(uri: str) -> None:
    with pytest.raises(IndexUnavailableError, match="not the address of a Milvus server"):
        milvus_uri(uri)


def test_a_file_is_no_index(tmp_path: Path) -> None:
    (tmp_path / "old.db").write_text("a database of Milvus Lite 2")
    with pytest.raises(IndexUnavailableError, match="is a file, not an index"):
        milvus_uri(tmp_path / "old.db")
    with pytest.raises(IndexUnavailableError, match="cannot make the folder"):
        milvus_uri(tmp_path / "old.db" / "inner" / "a.db")
