from __future__ import annotations

from pathlib import Path

import pytest

from var_plugin.errors import IndexUnavailableError
from var_plugin.index.milvus.options import MilvusOptions, is_local, milvus_uri


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
def test_any_path_is_a_location(tmp_path: Path, name: str, folder: str) -> None:
    assert milvus_uri(tmp_path / name) == str(tmp_path / folder)
    assert (tmp_path / folder).parent.is_dir()


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert milvus_uri("~/a.db") == str(tmp_path / "a.db")


def test_server_addresses_are_unchanged() -> None:
    assert milvus_uri("http://localhost:19530") == "http://localhost:19530"
    assert not is_local("https://cluster.example:443")
    assert is_local("/data/a.db")


@pytest.mark.parametrize("uri", ["ftp://host/x", "http://", "://", "postgres://localhost"])
def test_other_addresses_are_refused(uri: str) -> None:
    with pytest.raises(IndexUnavailableError, match="not the address of a Milvus server"):
        milvus_uri(uri)


def test_a_file_is_refused_as_index(tmp_path: Path) -> None:
    (tmp_path / "old.db").write_text("a database of Milvus Lite 2")
    with pytest.raises(IndexUnavailableError, match="is a file, not an index"):
        milvus_uri(tmp_path / "old.db")
    with pytest.raises(IndexUnavailableError, match="cannot open the folder"):
        milvus_uri(tmp_path / "old.db" / "inner" / "a.db")


def test_the_query_string_of_an_address_sets_options() -> None:
    uri = "http://cluster:19530?db=cams&index=HNSW_SQ&partitions=64&replicas=2&effort=300"
    assert milvus_uri(uri) == uri
    options = MilvusOptions.of(uri)
    assert (options.db, options.partitions, options.replicas) == ("cams", 64, 2)
    assert options.search("HNSW_SQ", hits=1_000) == {"ef": 1_000}, "never less than is wanted"
    assert options.search("HNSW_SQ", hits=10) == {"ef": 300}
    assert options.search("IVF_SQ8", hits=1_000) == {"nprobe": 300}
    assert MilvusOptions.of("http://cluster").search("FLAT", 10) == {}


@pytest.mark.parametrize("option", ["indx=HNSW", "index=NOT_AN_INDEX", "replicas=0", "timeout=soon", "partitions="])
def test_unknown_options_are_refused(option: str) -> None:
    with pytest.raises(IndexUnavailableError, match="has an invalid option"):
        milvus_uri(f"http://localhost:19530?{option}")


def test_milvus_lite_has_no_options(tmp_path: Path) -> None:
    with pytest.raises(IndexUnavailableError, match="has the options index, replicas"):
        milvus_uri(f"{tmp_path}/a.db?index=HNSW&replicas=2")
    assert milvus_uri(tmp_path / "what?.db") == str(tmp_path / "what?.db")
