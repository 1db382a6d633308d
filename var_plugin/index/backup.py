"""Backup and restore: an index as a folder of plain files, from and to Milvus Lite and Milvus servers alike.

manifest.json   what it is, which suite made it, a SHA-256 for each file
videos.jsonl    the catalogue's rows, one a line
<space>.jsonl   the segments of a space, one a line; the vector is base64 of little-endian float32

A backup may come from someone else. Its files have fixed names and bounded sizes, links are not followed, and every
value is validated before the store sees it. A restore works beside its target and ends with one rename, so one that is
killed or fails leaves no index and is not in the way of the next.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import Field, ValidationError

from var_plugin.encoders.base import NORM_TOLERANCE
from var_plugin.errors import InvalidInputError, StoreError, VarPluginError, field_errors, os_error_message
from var_plugin.index.catalog import Catalog, Checksum, Count, Entry, Generation, Generations, Id, Text
from var_plugin.index.failures import file_failure
from var_plugin.index.generation import collection_name
from var_plugin.index.index import VideoIndex
from var_plugin.index.milvus.client import Store
from var_plugin.index.milvus.options import is_local, milvus_uri
from var_plugin.index.rows import NO_ROWS, checksum, fault, join_checksums
from var_plugin.index.schema import Row, segment_schema
from var_plugin.private_files import create_private_file, keep_folder, open_regular_file, unfinished_folder
from var_plugin.types import Value

T = TypeVar("T")

_MANIFEST = "manifest.json"
_VIDEOS = "videos.jsonl"
_FORMAT = 1
_BATCH = 1_000
_MAX_MANIFEST_BYTES = 1024 * 1024
_MAX_LINE_BYTES = 4 * 1024 * 1024
_MAX_DIM = 32_768
_MAX_SPACES = 64


class SpaceShape(Value):
    """How a collection is created."""

    dim: Annotated[int, Field(ge=1, le=_MAX_DIM)]
    metric: Literal["IP", "COSINE", "L2"]
    norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 1.0
    """Length of every vector; None where lengths carry meaning."""


class Backup(Value):
    """What a backup holds: its manifest."""

    format: Literal[1] = 1
    suite: Text
    fingerprint: Text
    spaces: Annotated[dict[Id, SpaceShape], Field(min_length=1, max_length=_MAX_SPACES)]
    videos: Count
    rows: dict[Id, Count]
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    """SHA-256 of each file."""


class _SegmentRow(Value):
    """A line of a space's file."""

    id: Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
    video_id: Id
    camera: Text
    kind: str
    start_ms: int
    end_ms: int
    key_ms: int
    recorded_at: int
    anomaly: float
    metadata: Annotated[dict[str, Any], Field(max_length=1_000)]
    vector: str


def backup(index: VideoIndex, folder: str | Path) -> Backup:
    """Write the committed videos of an index to a new folder; others may work on the index meanwhile.

    Each video in it is whole, as it was committed; what is added or deleted meanwhile is left out. Only this user can
    read the folder.

    Raises:
        InvalidInputError: the folder exists, or cannot be written.
        StoreError: the store failed, its rows are not the ones that were stored, or a video was embedded anew
            meanwhile.
    """
    target = Path(folder)
    if os.path.lexists(target):
        raise InvalidInputError(f"{target} exists", why="a backup overwrites nothing", fix="name a new folder")
    with _written(target, "write the backup"):
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(target.absolute()) as partial:
            made = _write(index, partial)
            keep_folder(partial, target)
    return made


def _write(index: VideoIndex, partial: Path) -> Backup:
    before = {entry.video_id: entry for entry in index.all_entries() if entry.state == "committed"}
    written = {
        space: _write_rows(partial / f"{space}.jsonl", index.rows(space), before) for space in index.suite.spaces
    }
    entries = [entry for entry in index.all_entries() if entry.video_id in before and entry.state == "committed"]
    with create_private_file(partial / _VIDEOS) as file:
        for entry in entries:
            _compare(entry, {space: checksums[entry.video_id] for space, checksums in written.items()})
            file.write(entry.model_dump_json().encode() + b"\n")
    made = Backup(
        suite=index.generation.suite,
        fingerprint=index.generation.fingerprint,
        spaces={
            name: SpaceShape.model_validate({"dim": space.dim, "metric": space.metric, "norm": space.norm})
            for name, space in index.suite.spaces.items()
        },
        videos=len(entries),
        rows=_row_counts(entries, index.suite.spaces),
        files={file.name: _sha256(file) for file in sorted(partial.glob("*.jsonl"))},
    )
    with create_private_file(partial / _MANIFEST) as file:
        file.write(made.model_dump_json(indent=2).encode())
    return made


def restore(folder: str | Path, location: str | Path, *, token: str = "", name: str = "footage") -> Backup:
    """Make an index from a backup. Until all of it is written and counted, there is no index.

    Args:
        folder: the backup.
        location: a path (Milvus Lite) or the URI of a Milvus server, as for `open_index`.
        token: what the server asks for.
        name: the index's name there.

    Raises:
        InvalidInputError: the folder is no backup, is damaged, or holds what no index can hold; or there is an index
            already.
        IndexUnavailableError: the location cannot be opened.
        StoreError: the store failed, or holds another number of rows than were written.
    """
    source = Path(folder)
    made = _manifest(source)
    entries = _entries(source, made)
    _check_rows(source, made, entries)
    uri = milvus_uri(location)
    target = Path(uri)
    if not is_local(uri) or (target.is_dir() and any(target.iterdir())):
        with closing(Store(uri, token=token)) as store:
            _fill(source, made, entries, store, name)
        return made
    with _written(target, "restore the index to"), unfinished_folder(target, suffix=".db") as partial:
        with closing(Store(partial)) as store:
            _fill(source, made, entries, store, name)
        keep_folder(partial, target)
    return made


def _fill(source: Path, made: Backup, entries: Mapping[str, Entry], store: Store, name: str) -> None:
    """Write a validated backup to a store; the index is marked as unfinished until the last write."""
    catalogue = Catalog(store, name)
    videos = catalogue.videos(1)
    if catalogue.generations() is not None:
        raise InvalidInputError(
            f"there is an index at {store.uri} already", why="restoring overwrites nothing", fix="name another place"
        )
    if catalogue.is_restoring():
        videos.remove_all()
    elif videos.all():
        raise InvalidInputError(f"the catalogue at {store.uri} is not empty", fix="name another place")
    catalogue.begin_restoring()
    for space in made.spaces:
        collection = collection_name(name, 1, space)
        store.drop(collection)
        _restore_space(store, collection, source, space, made, entries)
    for entry in entries.values():
        videos.put(entry)
    generation = Generation(number=1, suite=made.suite, fingerprint=made.fingerprint, spaces=tuple(made.spaces))
    catalogue.put_generations(Generations(current=generation))
    catalogue.end_restoring()


def _write_rows(target: Path, pages: Iterator[list[Row]], known: Mapping[str, Entry]) -> defaultdict[str, Checksum]:
    """Write the rows of the known videos; return a checksum per video."""
    checksums: defaultdict[str, Checksum] = defaultdict(lambda: NO_ROWS)
    with create_private_file(target) as file:
        for page in pages:
            for row in page:
                if row["video_id"] in known:
                    checksums[row["video_id"]] = join_checksums(checksums[row["video_id"]], checksum([row]))
                    vector = base64.b64encode(np.asarray(row["vector"], "<f4").tobytes()).decode()
                    file.write(json.dumps({**row, "vector": vector}, ensure_ascii=False).encode() + b"\n")
    return checksums


def _restore_space(
    store: Store, collection: str, source: Path, space: str, made: Backup, known: Mapping[str, Entry]
) -> None:
    """Write a file's rows to a collection and count them there."""
    shape = made.spaces[space]
    store.ensure(collection, lambda: segment_schema(shape.dim), vector="vector", metric=shape.metric)
    rows = _rows(source / f"{space}.jsonl", shape, known)
    while batch := list(islice(rows, _BATCH)):
        store.write(collection, batch)
    store.flush(collection)
    if (counted := store.count(collection)) != made.rows[space]:
        raise StoreError(
            f"the store holds {counted} rows in '{collection}' after {made.rows[space]} were written",
            why="rows were lost on the way",
            fix="check the disk, then restore to a new place",
        )


def _check_rows(source: Path, made: Backup, entries: Mapping[str, Entry]) -> None:
    """Validate all rows, and compare those of each video with its entry."""
    checksums: dict[str, dict[str, str]] = {video_id: {} for video_id in entries}
    for space, shape in made.spaces.items():
        file = source / f"{space}.jsonl"
        of_videos: defaultdict[str, Checksum] = defaultdict(lambda: NO_ROWS)
        keys = set()
        for row in _rows(file, shape, entries):
            of_videos[row["video_id"]] = join_checksums(of_videos[row["video_id"]], checksum([row]))
            if row["id"] in keys:
                raise _damaged(file, f"the key '{row['id']}' occurs twice")
            keys.add(row["id"])
        if len(keys) != made.rows[space]:
            raise _damaged(file, f"it has {len(keys)} rows, {made.rows[space]} were stored")
        for video_id in entries:
            checksums[video_id][space] = of_videos[video_id]
    for entry in entries.values():
        if entry.checksums != checksums[entry.video_id]:
            raise _damaged(
                source / _VIDEOS, f"the rows of {entry.sightings[-1].path} are not the ones that were stored"
            )


def _rows(file: Path, shape: SpaceShape, known: Mapping[str, Entry]) -> Iterator[Row]:
    """Yield the validated rows of the known videos; those of others were deleted while the backup was written."""
    for number, line in _lines(file):
        row = _segment_row(file, number, line, shape)
        if row["video_id"] in known:
            yield row


def _segment_row(file: Path, number: int, line: bytes, shape: SpaceShape) -> Row:
    row = _parsed(file, number, line, _SegmentRow.model_validate_json).model_dump()
    try:
        vector = np.frombuffer(base64.b64decode(row["vector"], validate=True), "<f4")
    except (ValueError, binascii.Error) as error:
        raise _damaged(file, f"line {number}: its vector is no base64 of float32") from error
    if vector.shape != (shape.dim,) or not np.isfinite(vector).all():
        raise _damaged(file, f"line {number}: its vector is not {shape.dim} finite numbers")
    if shape.norm is not None and abs(float(np.linalg.norm(vector)) - shape.norm) > NORM_TOLERANCE:
        raise _damaged(file, f"line {number}: the length of its vector is not {shape.norm}")
    if reason := fault(row):
        raise _damaged(file, f"line {number}: {reason}")
    return {**row, "vector": vector.tolist()}


def _entries(source: Path, made: Backup) -> dict[str, Entry]:
    file = source / _VIDEOS
    entries: dict[str, Entry] = {}
    for number, line in _lines(file):
        entry = _parsed(file, number, line, Entry.model_validate_json)
        if entry.state != "committed" or entry.video_id in entries or not entry.rows.keys() <= made.spaces.keys():
            raise _damaged(file, f"line {number}: the video is not committed, occurs twice, or has another space")
        entries[entry.video_id] = entry
    if len(entries) != made.videos or _row_counts(entries.values(), made.spaces) != made.rows:
        raise _damaged(file, "it has other numbers of videos or rows than the manifest")
    return entries


def _parsed(file: Path, number: int, line: bytes, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(line)
    except ValidationError as error:
        raise _damaged(file, f"line {number}: {field_errors(error)[0]}") from error


def _compare(entry: Entry, checksums: Mapping[str, str]) -> None:
    if entry.checksums != checksums:
        raise StoreError(
            f"the rows of {entry.sightings[-1].path} are not the ones that were stored",
            why="they are damaged, or the video was embedded anew meanwhile",
            fix="run var-plugin verify, then try again",
        )


def _manifest(folder: Path) -> Backup:
    try:
        with open_regular_file(folder / _MANIFEST) as file:
            content = file.read(_MAX_MANIFEST_BYTES + 1)
        if len(content) > _MAX_MANIFEST_BYTES:
            raise _no_backup(folder, f"its manifest has more than {_MAX_MANIFEST_BYTES} bytes")
        document = json.loads(content)
        if isinstance(document, dict) and isinstance(document.get("format"), int) and document["format"] > _FORMAT:
            raise InvalidInputError(
                f"the backup {folder} has format {document['format']}",
                why=f"this version reads format {_FORMAT}",
                fix="update var-plugin: pip install --upgrade var-plugin",
            )
        made = Backup.model_validate(document)
        expected = {_VIDEOS, *(f"{space}.jsonl" for space in made.spaces)}
        if made.files.keys() != expected or made.rows.keys() != made.spaces.keys():
            raise _no_backup(folder, f"its manifest does not list the files {', '.join(sorted(expected))}")
        damaged = [name for name, digest in made.files.items() if _sha256(folder / name) != digest]
    except ValidationError as error:
        raise _no_backup(folder, str(field_errors(error)[0])) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _no_backup(folder, os_error_message(error)) from error
    if damaged:
        raise InvalidInputError(f"the backup {folder} is damaged", why=f"{', '.join(damaged)} changed since")
    return made


def _no_backup(folder: Path, why: str) -> InvalidInputError:
    return InvalidInputError(f"{folder} is no backup of an index", why=why)


def _damaged(file: Path, why: str) -> InvalidInputError:
    return InvalidInputError(f"the backup {file.parent} is damaged", why=f"{file.name}: {why}")


def _row_counts(entries: Iterable[Entry], spaces: Mapping[str, object]) -> dict[str, int]:
    counts = dict.fromkeys(spaces, 0)
    for entry in entries:
        for space, rows in entry.rows.items():
            counts[space] = counts.get(space, 0) + rows
    return counts


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers."""
    try:
        with open_regular_file(path) as file:
            number = 0
            while line := file.readline(_MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > _MAX_LINE_BYTES:
                    raise _damaged(path, f"line {number} has more than {_MAX_LINE_BYTES} bytes")
                yield number, line
    except OSError as error:
        raise _damaged(path, os_error_message(error)) from error


def _sha256(path: Path) -> str:
    with open_regular_file(path) as content:
        return _digest(content)


def _digest(content: IO[bytes]) -> str:
    return hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]  # a raw binary file


@contextmanager
def _written(target: Path, doing: str) -> Iterator[None]:
    """Turn a failed file operation into an error that says what to do."""
    try:
        yield
    except VarPluginError:
        raise
    except OSError as error:
        if failure := file_failure(error):
            raise StoreError(f"cannot {doing} {target}", why=failure.why, fix=failure.fix) from error
        raise InvalidInputError(
            f"cannot {doing} {target}", why=os_error_message(error), fix="name another place for it"
        ) from error
