"""What a Milvus server can be asked for, behind a question mark in its URI: `http://milvus:19530?index=HNSW&replicas=2`.

But for `db`, `timeout` and `effort` these count when a collection is made (`replicas`: loaded); `reindex` makes an
index anew with what its URI says then. Time to live is not among them: a server that drops rows by itself would make
the catalogue lie. `prune --keep-days` deletes videos as wholes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from var_plugin.errors import IndexUnavailableError, field_errors, os_error_message
from var_plugin.index.failures import file_failure

IndexKind = Literal["FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW", "HNSW_SQ", "DISKANN"]

_BUILD: dict[str, dict[str, Any]] = {
    "FLAT": {},
    "IVF_FLAT": {"nlist": 2_048},
    "IVF_SQ8": {"nlist": 2_048},
    "HNSW": {"M": 16, "efConstruction": 200},
    "HNSW_SQ": {"M": 16, "efConstruction": 200, "sq_type": "SQ8"},
    "DISKANN": {},
}
# What each calls its effort, and whether that is a number of candidates, at least the hits wanted; else, of lists.
_EFFORT: dict[str, tuple[str, bool]] = {
    "IVF_FLAT": ("nprobe", False),
    "IVF_SQ8": ("nprobe", False),
    "HNSW": ("ef", True),
    "HNSW_SQ": ("ef", True),
    "DISKANN": ("search_list", True),
}


class MilvusOptions(BaseModel):
    """How an index is kept on a Milvus server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    db: str = Field(default="", description="database of the server; by default its own")
    timeout: float = Field(default=10.0, gt=0, description="seconds to wait for the server when connecting")
    index: IndexKind = Field(default="FLAT", description="kind of vector index; FLAT is exact, the others are not")
    effort: int = Field(default=256, ge=1, le=16_384, description="candidates or lists looked at; more is surer")
    partitions: int = Field(default=0, ge=0, le=1_024, description="rows are spread by camera over so many; 0: not")
    replicas: int = Field(default=1, ge=1, description="copies in the memory of different query nodes")
    consistency: Literal["Strong", "Bounded", "Session", "Eventually"] = Field(
        default="Session", description="what a search sees of what others wrote a moment ago"
    )

    @classmethod
    def of(cls, uri: str) -> Self:
        """Return what a URI asks for.

        Raises:
            IndexUnavailableError: there is no such option, or it cannot have that value.
        """
        try:
            return cls.model_validate(dict(parse_qsl(urlsplit(uri).query, keep_blank_values=True)))
        except ValidationError as error:
            option = error.errors()[0]["loc"][0]
            raise IndexUnavailableError(
                f"the address of the Milvus server has an option '{option}' that cannot be used",
                why=str(field_errors(error, inside=1)[0]),
                fix=f"there are: {', '.join(cls.model_fields)}",
            ) from error

    @property
    def build(self) -> dict[str, Any]:
        """Parameters of the index when it is made."""
        return _BUILD[self.index]

    def search(self, kind: str, hits: int) -> dict[str, Any]:
        """Return the parameters of a search for so many hits in an index of that kind."""
        if kind not in _EFFORT:
            return {}
        name, covers = _EFFORT[kind]
        return {name: max(self.effort, hits) if covers else min(self.effort, _BUILD[kind]["nlist"])}


MAX_LITE_ROWS = 100_000
"""Rows in one space from which Milvus Lite takes seconds to open, and near half a second for a search of its own."""

_SCHEMES = ("http", "https", "tcp", "unix")


def milvus_uri(location: str | Path) -> str:
    """Return the URI of a server with its options, or the folder of Milvus Lite, whose parent is made.

    Milvus Lite takes only names that end in `.db`; any other path becomes a folder that holds one.

    Raises:
        IndexUnavailableError: a URI that Milvus has no scheme for, that holds a password or an option there is not; a
            path that cannot be a folder, or has options, which Milvus Lite cannot do.
    """
    text = str(location)
    if "://" in text:
        return _checked_uri(text)
    asked = MilvusOptions.model_fields.keys() & dict(parse_qsl(text.partition("?")[2])).keys()
    if asked:
        raise IndexUnavailableError(
            f"'{text}' asks for {', '.join(sorted(asked))}",
            why="the embedded Milvus Lite is exact, has one database and no partitions or replicas",
            fix="leave that out, or run a Milvus server and name its URI",
        )
    path = Path(text).expanduser().absolute()
    if path.suffix != ".db":
        path = path / "milvus.db"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_file = path.is_file()
    except OSError as error:
        why, fix = file_failure(error) or (os_error_message(error), "choose another place with --index")
        raise IndexUnavailableError(f"cannot open the folder {path.parent}", why=why, fix=fix) from error
    if is_file:
        raise IndexUnavailableError(
            f"{path} is a file, not an index",
            why="Milvus Lite 3 keeps an index in a folder; files of earlier versions cannot be opened",
            fix="name another place with --index",
        )
    return str(path)


def is_local(uri: str) -> bool:
    """Tell whether the URI of `milvus_uri` is a local Milvus Lite folder."""
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
            f"the address of the Milvus server {parts.hostname} holds a name or a password",
            why="addresses are printed, and any user of this machine can read them",
            fix="leave them out, and set VAR_PLUGIN_TOKEN=NAME:PASSWORD",
        )
    MilvusOptions.of(text)
    return text
