"""Options of a Milvus server, given in the query of its URI: `http://milvus:19530?index=HNSW&replicas=2`.

`db`, `timeout` and `effort` apply to every connection, `replicas` when a collection is loaded, the others when a
collection is created. `var-plugin reindex` creates the collections again with the options in the URI. There is no
time-to-live option: a server that deletes rows on its own would contradict the catalog. Use `prune --keep-days`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from var_plugin.errors import IndexUnavailableError, field_errors, os_error_message
from var_plugin.index.failures import file_failure

IndexType = Literal["FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW", "HNSW_SQ", "DISKANN"]

_BUILD: dict[str, dict[str, Any]] = {
    "FLAT": {},
    "IVF_FLAT": {"nlist": 2_048},
    "IVF_SQ8": {"nlist": 2_048},
    "HNSW": {"M": 16, "efConstruction": 200},
    "HNSW_SQ": {"M": 16, "efConstruction": 200, "sq_type": "SQ8"},
    "DISKANN": {},
}
# Search parameter of each index type, and whether it counts candidates (at least the number of hits) or lists.
_EFFORT: dict[str, tuple[str, bool]] = {
    "IVF_FLAT": ("nprobe", False),
    "IVF_SQ8": ("nprobe", False),
    "HNSW": ("ef", True),
    "HNSW_SQ": ("ef", True),
    "DISKANN": ("search_list", True),
}


class MilvusOptions(BaseModel):
    """How an index is stored on a Milvus server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    db: str = Field(default="", description="database on the server; empty: the default one")
    timeout: float = Field(default=10.0, gt=0, description="seconds to wait for the server when connecting")
    index: IndexType = Field(default="FLAT", description="type of the vector index; all but FLAT are approximate")
    effort: int = Field(
        default=256,
        ge=1,
        le=16_384,
        description="candidates or lists that a search reads; more are slower and more accurate",
    )
    partitions: int = Field(default=0, ge=0, le=1_024, description="number of partitions by camera; 0: none")
    replicas: int = Field(default=1, ge=1, description="copies in memory on different query nodes")
    consistency: Literal["Strong", "Bounded", "Session", "Eventually"] = Field(
        default="Session", description="which recent writes of others a search reads"
    )

    @classmethod
    def of(cls, uri: str) -> Self:
        """Parse the options in a URI.

        Raises:
            IndexUnavailableError: an option is unknown or has an invalid value.
        """
        try:
            return cls.model_validate(dict(parse_qsl(urlsplit(uri).query, keep_blank_values=True)))
        except ValidationError as error:
            option = error.errors()[0]["loc"][0]
            raise IndexUnavailableError(
                f"the address of the Milvus server has an invalid option '{option}'",
                why=str(field_errors(error, inside=1)[0]),
                fix=f"use one of: {', '.join(cls.model_fields)}",
            ) from error

    @property
    def build(self) -> dict[str, Any]:
        """Parameters for creating the index."""
        return _BUILD[self.index]

    def search(self, index_type: str, hits: int) -> dict[str, Any]:
        """Return the parameters for searching an index of a type for a number of hits."""
        if index_type not in _EFFORT:
            return {}
        name, counts_candidates = _EFFORT[index_type]
        effort = max(self.effort, hits) if counts_candidates else min(self.effort, _BUILD[index_type]["nlist"])
        return {name: effort}


MAX_LITE_ROWS = 100_000
"""Recommended maximum of rows per space: above it, Milvus Lite needs seconds to open and about 0.5 s per search."""

_SCHEMES = ("http", "https", "tcp", "unix")


def milvus_uri(location: str | Path) -> str:
    """Return the URI of a server with its options, or the absolute path of a Milvus Lite folder.

    The parent of the folder is created. Milvus Lite requires a name that ends in `.db`: any other path becomes a
    folder that contains `milvus.db`.

    Raises:
        IndexUnavailableError: the URI has an unknown scheme or option, or contains a password; or the path cannot be a
            folder, or has options, which Milvus Lite does not support.
    """
    text = str(location)
    if "://" in text:
        return _checked_uri(text)
    options = MilvusOptions.model_fields.keys() & dict(parse_qsl(text.partition("?")[2])).keys()
    if options:
        raise IndexUnavailableError(
            f"'{text}' has the options {', '.join(sorted(options))}",
            why="the embedded Milvus Lite supports no options",
            fix="remove them, or run a Milvus server and use its URI",
        )
    path = Path(text).expanduser().absolute()
    if path.suffix != ".db":
        path = path / "milvus.db"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_file = path.is_file()
    except OSError as error:
        why, fix = file_failure(error) or (os_error_message(error), "choose another path with --index")
        raise IndexUnavailableError(f"cannot open the folder {path.parent}", why=why, fix=fix) from error
    if is_file:
        raise IndexUnavailableError(
            f"{path} is a file, not an index",
            why="Milvus Lite 3 stores an index in a folder and cannot open files of earlier versions",
            fix="choose another path with --index",
        )
    return str(path)


def is_local(uri: str) -> bool:
    """Return whether a URI returned by `milvus_uri` is a local Milvus Lite folder."""
    return "://" not in uri


def _checked_uri(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in _SCHEMES or not (parts.netloc or parts.path):
        raise IndexUnavailableError(
            f"'{text}' is not the address of a Milvus server",
            why=f"it must begin with {', '.join(f'{scheme}://' for scheme in _SCHEMES)}",
            fix="for example http://localhost:19530, or a path for the embedded Milvus Lite",
        )
    if parts.username is not None:
        raise IndexUnavailableError(
            f"the address of the Milvus server {parts.hostname} contains a user name or a password",
            why="addresses are printed, and other users of this machine can read them",
            fix="remove them, and set VAR_PLUGIN_TOKEN=NAME:PASSWORD",
        )
    MilvusOptions.of(text)
    return text
