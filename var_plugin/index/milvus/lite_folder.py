"""A folder of Milvus Lite: checked before anything in it is used, mended before it is opened.

The folder may come from someone else, and Milvus Lite 3.2 deletes, merges and creates files by the names in it. So it
holds regular files and folders only, no links, and its manifests name files inside their collection only.

A killed process or a full disk leaves files half-written. What is derived is removed, and Milvus Lite makes it again:
copies of vectors (`indexes`), temporary files, logs whose rows are stored. A manifest is made again from the names of
the files it lists. Files of damaged rows are moved away; the rows can be made again from the footage.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from var_plugin.errors import IndexUnavailableError, os_error_message
from var_plugin.index.failures import file_failure
from var_plugin.index.milvus.snapshot import FORMAT
from var_plugin.private_files import create_private_file, open_regular_file

logger = logging.getLogger(__name__)

_MAX_FILES = 200_000
_MAX_DEPTH = 8
_MAX_JSON_BYTES = 16 * 1024 * 1024
_COLLECTION = re.compile(r"[A-Za-z0-9_-]{1,200}")
_PARTITION = re.compile(r"[A-Za-z0-9_]{1,64}")
_FILES = {
    "data_files": re.compile(r"data/data_\d{1,19}_(\d{1,19})\.parquet"),
    "delta_files": re.compile(r"delta/delta_\d{1,19}_(\d{1,19})\.parquet"),
}
_BM25 = 1
"""The only kind of function that needs no other service."""
_LOG = re.compile(r"wal_(?:data|delta)_(\d{1,19})\.arrow")
_MANIFESTS = ("manifest.json", "manifest.json.prev")
_NOT_A_FILE = "it is a link, a device or a FIFO; only the whole folder of an index may be a link"
_NEW_PLACE = "restore the index from a backup, or index the footage into a new place"


def check_folder(database: Path) -> None:
    """Refuse a folder with anything in it that would make Milvus Lite or us act outside of it.

    Raises:
        IndexUnavailableError: it holds a link or a special file, names files outside, calls other services, or cannot
            be read.
    """
    try:
        _check_tree(database)
        _check_aliases(database)
        for collection in _collections(database):
            _check_collection(collection)
    except OSError as error:
        raise unavailable(database, error) from error


def mend_folder(database: Path, *, killed: bool) -> None:
    """Remove and remake what a killed process or a full disk left half-written; the caller holds the lock.

    Args:
        database: the folder, checked.
        killed: the last owner did not end in order. Milvus Lite 3.2 writes copies of vectors in place, so all are
            removed.

    Raises:
        IndexUnavailableError: something is damaged that cannot be made again.
        OSError: the folder cannot be read or written.
    """
    for collection in _collections(database):
        if not (collection / "schema.json").exists():
            # Being created or dropped: for Milvus Lite it does not exist, yet its name cannot be used again.
            shutil.rmtree(collection)
        else:
            mend_collection(collection, without_copies=killed)


def mend_collection(collection: Path, *, without_copies: bool, thorough: bool = False) -> None:
    """Mend one collection that is not open; see `mend_folder`.

    Args:
        collection: its folder.
        without_copies: remove the copies of vectors.
        thorough: read all rows, not only the ends of their files.
    """
    for temporary in (*collection.glob("*.tmp"), *collection.glob("partitions/*/indexes/*.tmp")):
        temporary.unlink(missing_ok=True)
    if without_copies:
        for copies in collection.glob("partitions/*/indexes"):
            shutil.rmtree(copies)
    manifest = _read_json(collection / "manifest.json")
    if manifest is None and (any(collection.glob("partitions/*/*/*.parquet")) or _exists(collection)):
        manifest = _manifest_of_files(collection)
        _write_json(collection / "manifest.json", manifest)
        logger.warning("the manifest of %s was damaged and is made again", collection.name)
    if manifest is not None:
        _remove_stored_logs(collection, manifest)
        _move_damaged(collection, manifest, thorough=thorough)


def unavailable(database: Path, error: Exception) -> IndexUnavailableError:
    """Return the error for an index that cannot be opened, with what to do about it."""
    why, fix = file_failure(error) or (os_error_message(error), f"check the folder; if it is damaged, {_NEW_PLACE}")
    return IndexUnavailableError(f"cannot open the index {database}", why=why, fix=fix)


def _refused(path: Path, why: str) -> IndexUnavailableError:
    return IndexUnavailableError(
        f"the index is not opened because of {path}", why=why, fix="remove it if you trust the rest of the folder"
    )


def _check_tree(root: Path) -> None:
    waiting, seen = [(root, 0)], 0
    while waiting:
        folder, depth = waiting.pop()
        try:
            children = list(os.scandir(folder))
        except FileNotFoundError:  # another process removed it
            continue
        seen += len(children)
        if depth > _MAX_DEPTH or seen > _MAX_FILES:
            raise _refused(folder, "it holds more files or deeper folders than an index does")
        for child in children:
            if child.is_dir(follow_symlinks=False):
                waiting.append((folder / child.name, depth + 1))
            elif not child.is_file(follow_symlinks=False):
                raise _refused(
                    folder / child.name,
                    _NOT_A_FILE,
                )


def _check_aliases(database: Path) -> None:
    path = database / "aliases.json"
    if path.exists() and (aliases := _read_json(path)) != {}:
        targets = aliases.values() if aliases is not None else (None,)
        if not all(isinstance(target, str) and _COLLECTION.fullmatch(target) for target in targets):
            raise _refused(path, "it does not name collections")


def _check_collection(collection: Path) -> None:
    if not _COLLECTION.fullmatch(collection.name):
        raise _refused(collection, "no collection has such a name")
    for name in _MANIFESTS:
        manifest = _read_json(collection / name)
        if manifest is not None and (reason := _fault(manifest)):
            raise _refused(collection / name, reason)
    if (collection / "schema.json").exists():
        schema = _read_json(collection / "schema.json")
        if schema is None:
            raise IndexUnavailableError(
                f"{collection / 'schema.json'} is damaged", why="it cannot be made again", fix=_NEW_PLACE
            )
        functions = schema.get("functions", [])
        if not isinstance(functions, list) or any(
            not isinstance(function, dict) or function.get("function_type") != _BM25 for function in functions
        ):
            raise _refused(collection / "schema.json", "its functions send texts to another service")


def _fault(manifest: dict[str, Any]) -> str | None:
    partitions = manifest.get("partitions", {})
    if not isinstance(partitions, dict):
        return "it does not list partitions"
    for name, partition in partitions.items():
        if not _PARTITION.fullmatch(name) or not isinstance(partition, dict):
            return "no partition has such a name"
        for kind, pattern in _FILES.items():
            files = partition.get(kind, [])
            if not isinstance(files, list) or not all(isinstance(f, str) and pattern.fullmatch(f) for f in files):
                return "it names a file that is not one of its collection"
    return None


def _exists(collection: Path) -> bool:
    return any((collection / name).exists() for name in _MANIFESTS)


def _manifest_of_files(collection: Path) -> dict[str, Any]:
    """Return a manifest of all whole files of rows and deletions; those of an unfinished flush are still in the log."""
    previous = _read_json(collection / "manifest.json.prev") or {}
    partitions: dict[str, dict[str, list[str]]] = {"_default": {kind: [] for kind in _FILES}}
    last = 0
    for partition in sorted((collection / "partitions").glob("*")):
        partitions[partition.name] = {kind: [] for kind in _FILES}
        for kind, pattern in _FILES.items():
            for file in sorted(partition.glob(f"{kind.removesuffix('_files')}/*")):
                name = str(file.relative_to(partition))
                if (match := pattern.fullmatch(name)) and _is_whole(file, thorough=False):
                    partitions[partition.name][kind].append(name)
                    last = max(last, int(match[1]))
    return {
        "manifest_format_version": FORMAT,
        "version": 1,
        "current_seq": last,
        "schema_version": 1,
        "active_wal_number": None,
        "partitions": partitions,
        # Without one, the index is created when the collection is opened.
        "index_specs": previous.get("index_specs") or {},
    }


def _remove_stored_logs(collection: Path, manifest: dict[str, Any]) -> None:
    """Remove logs older than the one in use: a flush stored their rows, and they would be there twice if replayed."""
    active = manifest.get("active_wal_number")
    for file in (collection / "wal").glob("*.arrow"):
        match = _LOG.fullmatch(file.name)
        if match and isinstance(active, int) and int(match[1]) < active:
            file.unlink(missing_ok=True)


def _move_damaged(collection: Path, manifest: dict[str, Any], *, thorough: bool) -> None:
    """Move damaged files of rows to the folder `damaged`, and drop them and missing ones from the manifest."""
    damaged = [
        (name, kind, file)
        for name, kind, file in _listed(manifest)
        if not _is_whole(collection / "partitions" / name / file, thorough=thorough)
    ]
    if not damaged:
        return
    paths = ", ".join(str(collection / "partitions" / name / file) for name, _, file in damaged)
    if collection.name.endswith("__videos") or any(kind == "delta_files" for _, kind, _ in damaged):
        raise IndexUnavailableError(f"{paths} is damaged or missing", why="it cannot be made again", fix=_NEW_PLACE)
    away = collection.parents[1] / "damaged" / collection.name
    away.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, kind, file in damaged:
        manifest["partitions"][name][kind].remove(file)
        path = collection / "partitions" / name / file
        if path.exists():
            path.replace(away / f"{name}.{path.name}")
    _write_json(collection / "manifest.json", manifest)
    logger.warning("rows are lost, because %s is damaged or missing: run var-plugin verify --repair", paths)


def _listed(manifest: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, partition in manifest.get("partitions", {}).items():
        for kind in _FILES:
            for file in partition.get(kind, []):
                yield name, kind, file


def _is_whole(file: Path, *, thorough: bool) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if thorough:
            pq.read_table(file)
        else:
            pq.read_metadata(file)
    except FileNotFoundError:
        return False
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return False
    return True


def _collections(database: Path) -> list[Path]:
    folder = database / "collections"
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object; None where there is none, or it is damaged, too large or too deep."""
    try:
        with open_regular_file(path) as file:
            content = file.read(_MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        return None
    try:
        document = json.loads(content) if len(content) <= _MAX_JSON_BYTES else None
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _write_json(path: Path, document: dict[str, Any]) -> None:
    partial = path.with_suffix(".tmp")
    with create_private_file(partial) as file:
        file.write(json.dumps(document, indent=2).encode())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
