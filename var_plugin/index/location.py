"""Where an index lies: a folder for Milvus Lite, or the URI of a Milvus server."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from var_plugin.errors import IndexUnavailableError, said
from var_plugin.index.failures import file_failure
from var_plugin.index.milvus_options import MilvusOptions

LITE_CEILING = 100_000
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
        why, fix = file_failure(error) or (said(error), "choose another place with --index")
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
