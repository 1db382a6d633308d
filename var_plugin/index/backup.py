"""Backup and restore: an index as a folder of plain files, from and to Milvus Lite and Milvus servers alike.

manifest.json   what it is, which suite made it, a SHA-256 for each file
videos.jsonl    the catalogue's rows, one a line
<space>.jsonl   the segments of a space, one a line; the vector is base64 of little-endian float32
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from var_plugin.errors import InvalidInputError, StoreError, said
from var_plugin.index.catalogue import Catalogue, Entry, Generation, Generations
from var_plugin.index.generation import collection_name
from var_plugin.index.rows import NO_ROWS, checksum, join_checksums
from var_plugin.index.schema import Row, segment_schema
from var_plugin.index.store import Store
from var_plugin.index.video_index import VideoIndex
from var_plugin.types import Value

_MANIFEST = "manifest.json"
_VIDEOS = "videos.jsonl"
_BATCH = 1_000


class SpaceShape(Value):
    """What a collection is made by."""

    dim: int
    metric: str


class Backup(Value):
    """What a backup holds: its manifest."""

    format: Literal[1] = 1
    suite: str
    fingerprint: str
    spaces: dict[str, SpaceShape]
    videos: int
    rows: dict[str, int]
    files: dict[str, str]
    """SHA-256 of each file."""


def backup(index: VideoIndex, folder: str | Path) -> Backup:
    """Write the committed videos of an index to a new folder; others may work on the index meanwhile.

    Each video in it is whole, as it was committed; what is added or deleted meanwhile is left out.

    Raises:
        InvalidInputError: the folder exists.
        StoreError: the store failed, its rows are not the ones that were stored, or a video was embedded anew
            meanwhile.
    """
    target = Path(folder)
    if target.exists():
        raise InvalidInputError(f"{target} exists", why="a backup overwrites nothing", fix="name a new folder")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    before = {entry.video_id: entry for entry in index.all_entries() if entry.state == "committed"}
    written = {
        space: _write_rows(partial / f"{space}.jsonl", index.rows(space), before) for space in index.suite.spaces
    }
    kept = [entry for entry in index.all_entries() if entry.video_id in before and entry.state == "committed"]
    with (partial / _VIDEOS).open("w", encoding="utf-8") as file:
        for entry in kept:
            _compare(entry, {space: checksums[entry.video_id] for space, checksums in written.items()})
            file.write(entry.model_dump_json() + "\n")
    made = Backup(
        suite=index.generation.suite,
        fingerprint=index.generation.fingerprint,
        spaces={name: SpaceShape(dim=space.dim, metric=space.metric) for name, space in index.suite.spaces.items()},
        videos=len(kept),
        rows=_row_counts(kept, index.suite.spaces),
        files={file.name: _sha256(file) for file in sorted(partial.iterdir())},
    )
    (partial / _MANIFEST).write_text(made.model_dump_json(indent=2), encoding="utf-8")
    partial.rename(target)
    return made


def restore(folder: str | Path, location: str | Path, *, token: str = "", name: str = "footage") -> Backup:
    """Make an index from a backup. Until all of it is written and counted, there is no index.

    Args:
        folder: the backup.
        location: a path (Milvus Lite) or the URI of a Milvus server, as for `open_index`.
        token: what the server asks for.
        name: the index's name there.

    Raises:
        InvalidInputError: the folder is no backup, or is damaged; or there is an index already.
        IndexUnavailableError: the location cannot be opened.
        StoreError: the store failed, or holds another number of rows than were written.
    """
    source = Path(folder)
    made = _manifest(source)
    entries = {entry.video_id: entry for entry in map(Entry.model_validate_json, _lines(source / _VIDEOS))}
    store = Store(location, token=token)
    try:
        catalogue = Catalogue(store, name)
        if catalogue.generations() is not None:
            raise InvalidInputError(
                f"there is an index at {location} already", why="restoring overwrites nothing", fix="name another place"
            )
        generation = Generation(number=1, suite=made.suite, fingerprint=made.fingerprint, spaces=tuple(made.spaces))
        written = {
            space: _restore_space(store, collection_name(name, 1, space), source / f"{space}.jsonl", shape, entries)
            for space, shape in made.spaces.items()
        }
        videos = catalogue.videos(1)
        for entry in entries.values():
            _compare(entry, {space: checksums[entry.video_id] for space, checksums in written.items()})
            videos.put(entry)
        catalogue.put_generations(Generations(current=generation))
    finally:
        store.close()
    return made


def _write_rows(target: Path, pages: Iterator[list[Row]], known: Mapping[str, Entry]) -> defaultdict[str, str]:
    """Write the rows of the known videos; return a checksum per video."""
    checksums: defaultdict[str, str] = defaultdict(lambda: NO_ROWS)
    with target.open("w", encoding="utf-8") as file:
        for page in pages:
            for row in page:
                if row["video_id"] in known:
                    checksums[row["video_id"]] = join_checksums(checksums[row["video_id"]], checksum([row]))
                    vector = base64.b64encode(np.asarray(row["vector"], "<f4").tobytes()).decode()
                    file.write(json.dumps({**row, "vector": vector}, ensure_ascii=False) + "\n")
    return checksums


def _restore_space(
    store: Store, collection: str, source: Path, shape: SpaceShape, known: Mapping[str, Entry]
) -> defaultdict[str, str]:
    """Write a file's rows to a collection and count them there; return a checksum per video."""
    checksums: defaultdict[str, str] = defaultdict(lambda: NO_ROWS)
    sent = 0
    store.ensure(collection, lambda: segment_schema(shape.dim), vector="vector", metric=shape.metric)
    lines = _lines(source)
    while batch := [json.loads(line) for line in islice(lines, _BATCH)]:
        rows = [_unpacked(row) for row in batch if row["video_id"] in known]
        for row in rows:
            checksums[row["video_id"]] = join_checksums(checksums[row["video_id"]], checksum([row]))
        store.write(collection, rows)
        sent += len(rows)
    store.flush(collection)
    if (counted := store.count(collection)) != sent:
        raise StoreError(
            f"the store holds {counted} rows in '{collection}' after {sent} were written",
            why="rows were lost on the way, or were there before",
            fix="restore to a new place",
        )
    return checksums


def _unpacked(row: Row) -> Row:
    return {**row, "vector": np.frombuffer(base64.b64decode(row["vector"]), "<f4").tolist()}


def _compare(entry: Entry, checksums: Mapping[str, str]) -> None:
    if entry.checksums != checksums:
        raise StoreError(
            f"the rows of {entry.sightings[-1].path} are not the ones that were stored",
            why="they are damaged, or the video was embedded anew meanwhile",
            fix="run var-plugin verify, then try again",
        )


def _manifest(folder: Path) -> Backup:
    try:
        made = Backup.model_validate_json((folder / _MANIFEST).read_bytes())
        damaged = [name for name, digest in made.files.items() if _sha256(folder / name) != digest]
    except (OSError, ValidationError) as error:
        raise InvalidInputError(f"{folder} is no backup of an index", why=said(error)) from error
    if damaged:
        raise InvalidInputError(f"the backup {folder} is damaged", why=f"{', '.join(damaged)} changed since")
    return made


def _row_counts(entries: list[Entry], spaces: Mapping[str, object]) -> dict[str, int]:
    return {space: sum(entry.rows.get(space, 0) for entry in entries) for space in spaces}


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8") as lines:
        yield from lines


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
