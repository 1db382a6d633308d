"""Check and repair a folder of Milvus Lite before it is opened.

The folder may come from someone else, and Milvus Lite 3.2 deletes, merges and creates files by the names in it.
Therefore only regular files and folders are accepted, no links, and manifests may only name files of their collection.

A killed process or a full disk can leave incomplete files. Derived files are removed, because Milvus Lite creates them
again: vector indexes (`indexes`), temporary files, logs whose rows are stored. A damaged manifest is rebuilt from the
names of the data files. Damaged data files are moved to `damaged/`, because their rows can be embedded again from the
footage.
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
from var_plugin.index.milvus.lite_files import MANIFEST_FORMAT
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
"""The only function type of Milvus that calls no other service."""
_LOG = re.compile(r"wal_(?:data|delta)_(\d{1,19})\.arrow")
_MANIFESTS = ("manifest.json", "manifest.json.prev")
_NOT_A_FILE = "it is a link, a device or a FIFO; only the index folder itself may be a link"
_RECREATE = "restore the index from a backup, or index the footage into a new index"


def check_folder(database: Path) -> None:
    """Refuse a folder whose content could make this process read, write or connect outside of it.

    Raises:
        IndexUnavailableError: the folder contains a link or a special file, names files outside of it, uses functions
            that call other services, or cannot be read.
    """
    try:
        _check_tree(database)
        _check_aliases(database)
        for collection in _collections(database):
            _check_collection(collection)
    except OSError as error:
        raise unavailable(database, error) from error


def repair_folder(database: Path, *, was_killed: bool) -> None:
    """Repair files that a killed process or a full disk left incomplete. The caller holds the lock.

    Args:
        database: the folder, already checked.
        was_killed: the last server did not shut down in order. All vector indexes are removed then, because Milvus
            Lite 3.2 writes them in place.

    Raises:
        IndexUnavailableError: a damaged file cannot be rebuilt.
        OSError: the folder cannot be read or written.
    """
    for collection in _collections(database):
        if not (collection / "schema.json").exists():
            # Interrupted while created or dropped: it does not exist for Milvus Lite, but it blocks its name.
            shutil.rmtree(collection)
        else:
            repair_collection(collection, remove_indexes=was_killed)


def repair_collection(collection: Path, *, remove_indexes: bool, thorough: bool = False) -> None:
    """Repair one collection that is not open; see `repair_folder`.

    Args:
        collection: its folder.
        remove_indexes: remove the vector indexes.
        thorough: read all rows of the data files, not only their footers.
    """
    for temporary in (*collection.glob("*.tmp"), *collection.glob("partitions/*/indexes/*.tmp")):
        temporary.unlink(missing_ok=True)
    if remove_indexes:
        for indexes in collection.glob("partitions/*/indexes"):
            shutil.rmtree(indexes)
    manifest = _read_json(collection / "manifest.json")
    if manifest is None and (any(collection.glob("partitions/*/*/*.parquet")) or _has_manifest(collection)):
        manifest = _rebuild_manifest(collection)
        _write_json(collection / "manifest.json", manifest)
        logger.warning("the manifest of %s was damaged and has been rebuilt", collection.name)
    if manifest is not None:
        _remove_stored_logs(collection, manifest)
        _move_damaged_files(collection, manifest, thorough=thorough)


def unavailable(database: Path, error: Exception) -> IndexUnavailableError:
    """Return the error for an index that cannot be opened."""
    why, fix = file_failure(error) or (os_error_message(error), f"check the folder; if it is damaged, {_RECREATE}")
    return IndexUnavailableError(f"cannot open the index {database}", why=why, fix=fix)


def _refused(path: Path, why: str) -> IndexUnavailableError:
    return IndexUnavailableError(
        f"the index is not opened because of {path}", why=why, fix="remove it if you trust the rest of the folder"
    )


def _check_tree(root: Path) -> None:
    pending, count = [(root, 0)], 0
    while pending:
        folder, depth = pending.pop()
        try:
            children = list(os.scandir(folder))
        except FileNotFoundError:  # another process removed it
            continue
        count += len(children)
        if depth > _MAX_DEPTH or count > _MAX_FILES:
            raise _refused(folder, "it has more files or deeper subfolders than an index")
        for child in children:
            if child.is_dir(follow_symlinks=False):
                pending.append((folder / child.name, depth + 1))
            elif not child.is_file(follow_symlinks=False):
                raise _refused(folder / child.name, _NOT_A_FILE)


def _check_aliases(database: Path) -> None:
    path = database / "aliases.json"
    if path.exists() and (aliases := _read_json(path)) != {}:
        targets = aliases.values() if aliases is not None else (None,)
        if not all(isinstance(target, str) and _COLLECTION.fullmatch(target) for target in targets):
            raise _refused(path, "its aliases do not name collections")


def _check_collection(collection: Path) -> None:
    if not _COLLECTION.fullmatch(collection.name):
        raise _refused(collection, "it is not a valid collection name")
    for name in _MANIFESTS:
        manifest = _read_json(collection / name)
        if manifest is not None and (reason := _manifest_error(manifest)):
            raise _refused(collection / name, reason)
    if (collection / "schema.json").exists():
        schema = _read_json(collection / "schema.json")
        if schema is None:
            raise IndexUnavailableError(
                f"{collection / 'schema.json'} is damaged", why="it cannot be rebuilt", fix=_RECREATE
            )
        functions = schema.get("functions", [])
        if not isinstance(functions, list) or any(
            not isinstance(function, dict) or function.get("function_type") != _BM25 for function in functions
        ):
            raise _refused(collection / "schema.json", "its functions send texts to another service")


def _manifest_error(manifest: dict[str, Any]) -> str | None:
    """Return why a manifest is not accepted, or None."""
    partitions = manifest.get("partitions", {})
    if not isinstance(partitions, dict):
        return "its list of partitions is invalid"
    for name, partition in partitions.items():
        if not _PARTITION.fullmatch(name) or not isinstance(partition, dict):
            return "it has an invalid name of a partition"
        for kind, pattern in _FILES.items():
            files = partition.get(kind, [])
            if not isinstance(files, list) or not all(isinstance(f, str) and pattern.fullmatch(f) for f in files):
                return "it names a file outside of its collection"
    return None


def _has_manifest(collection: Path) -> bool:
    return any((collection / name).exists() for name in _MANIFESTS)


def _rebuild_manifest(collection: Path) -> dict[str, Any]:
    """Return a manifest that lists all readable data files. Rows of an unfinished flush are still in the log."""
    previous = _read_json(collection / "manifest.json.prev") or {}
    partitions: dict[str, dict[str, list[str]]] = {"_default": {kind: [] for kind in _FILES}}
    last = 0
    for partition in sorted((collection / "partitions").glob("*")):
        partitions[partition.name] = {kind: [] for kind in _FILES}
        for kind, pattern in _FILES.items():
            for file in sorted(partition.glob(f"{kind.removesuffix('_files')}/*")):
                name = str(file.relative_to(partition))
                if (match := pattern.fullmatch(name)) and _is_readable(file, thorough=False):
                    partitions[partition.name][kind].append(name)
                    last = max(last, int(match[1]))
    return {
        "manifest_format_version": MANIFEST_FORMAT,
        "version": 1,
        "current_seq": last,
        "schema_version": 1,
        "active_wal_number": None,
        "partitions": partitions,
        # If empty, the index is created when the collection is opened.
        "index_specs": previous.get("index_specs") or {},
    }


def _remove_stored_logs(collection: Path, manifest: dict[str, Any]) -> None:
    """Remove logs older than the active one. Their rows are stored and would be duplicated by a replay."""
    active = manifest.get("active_wal_number")
    for file in (collection / "wal").glob("*.arrow"):
        match = _LOG.fullmatch(file.name)
        if match and isinstance(active, int) and int(match[1]) < active:
            file.unlink(missing_ok=True)


def _move_damaged_files(collection: Path, manifest: dict[str, Any], *, thorough: bool) -> None:
    """Move damaged data files to the folder `damaged` and remove damaged and missing ones from the manifest."""
    damaged = [
        (name, kind, file)
        for name, kind, file in _data_files(manifest)
        if not _is_readable(collection / "partitions" / name / file, thorough=thorough)
    ]
    if not damaged:
        return
    paths = ", ".join(str(collection / "partitions" / name / file) for name, _, file in damaged)
    if collection.name.endswith("__videos") or any(kind == "delta_files" for _, kind, _ in damaged):
        raise IndexUnavailableError(f"{paths} is damaged or missing", why="it cannot be rebuilt", fix=_RECREATE)
    target = collection.parents[1] / "damaged" / collection.name
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, kind, file in damaged:
        manifest["partitions"][name][kind].remove(file)
        path = collection / "partitions" / name / file
        if path.exists():
            path.replace(target / f"{name}.{path.name}")
    _write_json(collection / "manifest.json", manifest)
    logger.warning("rows are lost because %s is damaged or missing: run var-plugin verify --repair", paths)


def _data_files(manifest: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, partition in manifest.get("partitions", {}).items():
        for kind in _FILES:
            for file in partition.get(kind, []):
                yield name, kind, file


def _is_readable(file: Path, *, thorough: bool) -> bool:
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
    """Return the JSON object in a file, or None if it is missing, damaged, too large or too deep."""
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
