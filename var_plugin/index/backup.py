"""Back up an index to a folder of plain files and restore it, with Milvus Lite and Milvus servers alike.

Files of a backup:
    manifest.json: format, suite, fingerprint, spaces, counts, and a SHA-256 of each file.
    videos.jsonl: one catalog row per line.
    <space>.jsonl: one segment per line; the vector is base64 of little-endian float32.

A backup is untrusted. Its files have fixed names and bounded sizes, links are not followed, and every value is
validated before it is stored. A restore writes to a temporary folder and renames it, so that an interrupted restore
leaves no index and does not block the next one.
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
from typing import IO, Annotated, Literal, TypeVar

import numpy as np
from pydantic import Field, FiniteFloat, ValidationError

from var_plugin.encoders.base import NORM_TOLERANCE
from var_plugin.errors import InvalidInputError, StoreError, VarPluginError, field_errors, os_error_message
from var_plugin.index.catalog import Catalog, Checksum, Count, Entry, Generation, Generations, Id, Integer, Text
from var_plugin.index.examples import MAX_EXAMPLES, Examples, OwnerExample
from var_plugin.index.failures import file_failure
from var_plugin.index.generation import collection_name
from var_plugin.index.index import VideoIndex
from var_plugin.index.milvus.client import Store
from var_plugin.index.milvus.options import is_local, milvus_uri
from var_plugin.index.rows import NO_ROWS, checksum, join_checksums, row_error
from var_plugin.index.schema import Row, segment_schema
from var_plugin.private_files import create_private_file, keep_folder, open_regular_file, unfinished_folder
from var_plugin.types import EventKind, Share, Value

T = TypeVar("T")

_MANIFEST = "manifest.json"
_VIDEOS = "videos.jsonl"
_EXAMPLES = "examples.jsonl"
_FORMAT = 3
_BATCH = 1_000
_MAX_MANIFEST_BYTES = 1024 * 1024
_MAX_LINE_BYTES = 4 * 1024 * 1024
_MAX_DIM = 32_768
_MAX_SPACES = 64


class SpaceShape(Value):
    """The parameters of a collection."""

    dim: Annotated[int, Field(ge=1, le=_MAX_DIM)]
    metric: Literal["IP", "COSINE", "L2"]
    norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 1.0
    """L2 norm of every vector; None if norms vary."""


class Backup(Value):
    """The manifest of a backup."""

    format: Literal[3] = 3
    suite: Text
    fingerprint: Text
    spaces: Annotated[dict[Id, SpaceShape], Field(min_length=1, max_length=_MAX_SPACES)]
    videos: Count
    rows: dict[Id, Count]
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    """SHA-256 by file name."""


class _SegmentRow(Value):
    """A line in the file of a space."""

    id: Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
    video_id: Id
    camera: Text
    kind: str
    start_ms: int
    end_ms: int
    key_ms: int
    recorded_at: int
    anomaly: float
    novelty: float
    events: dict[EventKind, Share]
    trained: dict[EventKind, Share]
    reason: Text
    metadata: Annotated[dict[Text, bool | Integer | FiniteFloat | Text], Field(max_length=1_000)]
    vector: str


def backup(index: VideoIndex, folder: str | Path) -> Backup:
    """Write the committed videos of an index to a new folder.

    Other processes may write to the index at the same time. Every video in the backup is complete. Videos that are
    added or deleted meanwhile are left out. Only this user can read the folder.

    Raises:
        InvalidInputError: the folder exists, or cannot be written.
        StoreError: the store failed, checksums of rows differ, or a video was embedded again meanwhile.
    """
    target = Path(folder)
    if os.path.lexists(target):
        raise InvalidInputError(f"{target} exists", why="a backup never overwrites files", fix="choose a new folder")
    with _explain_file_errors(target, "write the backup"):
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(target.absolute()) as partial:
            manifest = _write(index, partial)
            keep_folder(partial, target)
    return manifest


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
    with create_private_file(partial / _EXAMPLES) as file:
        for example in index.owner_examples.all():
            file.write(example.model_dump_json().encode() + b"\n")
    manifest = Backup(
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
        file.write(manifest.model_dump_json(indent=2).encode())
    return manifest


def restore(folder: str | Path, location: str | Path, *, token: str = "", name: str = "footage") -> Backup:
    """Create an index from a backup. The index appears when all rows are written and counted.

    Args:
        folder: the backup.
        location: a path (Milvus Lite) or the URI of a Milvus server, as for `open_index`.
        token: `user:password` or an API key of the server.
        name: name of the new index.

    Raises:
        InvalidInputError: the folder is not a backup, is damaged or has invalid values; or the index exists already.
        IndexUnavailableError: the location cannot be opened.
        StoreError: the store failed, or counted another number of rows.
    """
    source = Path(folder)
    manifest = _manifest(source)
    entries = _entries(source, manifest)
    examples = _examples(source)
    _check_rows(source, manifest, entries)
    uri = milvus_uri(location)
    target = Path(uri)
    if not is_local(uri) or (target.is_dir() and any(target.iterdir())):
        with closing(Store(uri, token=token)) as store:
            _fill(source, manifest, entries, examples, store, name)
        return manifest
    with _explain_file_errors(target, "restore the index to"), unfinished_folder(target, suffix=".db") as partial:
        with closing(Store(partial)) as store:
            _fill(source, manifest, entries, examples, store, name)
        keep_folder(partial, target)
    return manifest


def _fill(
    source: Path,
    manifest: Backup,
    entries: Mapping[str, Entry],
    examples: Iterable[OwnerExample],
    store: Store,
    name: str,
) -> None:
    """Write a validated backup to a store. The index is marked as incomplete until the last write."""
    catalog = Catalog(store, name)
    videos = catalog.videos(1)
    if catalog.generations() is not None:
        raise InvalidInputError(
            f"there is an index at {store.uri} already",
            why="a restore never overwrites an index",
            fix="choose another path with --index",
        )
    if catalog.is_restoring():
        videos.remove_all()
        for left in Examples(catalog).all():
            Examples(catalog).remove(left.id)
    elif videos.all():
        raise InvalidInputError(f"the catalog at {store.uri} is not empty", fix="choose another path with --index")
    catalog.begin_restoring()
    for space in manifest.spaces:
        collection = collection_name(name, 1, space)
        store.drop(collection)
        _restore_space(store, collection, source, space, manifest, entries)
    for entry in entries.values():
        videos.put(entry)
    for example in examples:
        Examples(catalog).put(example)
    generation = Generation(
        number=1, suite=manifest.suite, fingerprint=manifest.fingerprint, spaces=tuple(manifest.spaces)
    )
    catalog.put_generations(Generations(current=generation))
    catalog.end_restoring()


def _examples(source: Path) -> list[OwnerExample]:
    examples = [
        _parsed(source / _EXAMPLES, number, line, OwnerExample.model_validate_json)
        for number, line in islice(_lines(source / _EXAMPLES), MAX_EXAMPLES + 1)
    ]
    if len(examples) > MAX_EXAMPLES:
        raise _damaged(source / _EXAMPLES, f"it has more than {MAX_EXAMPLES} examples")
    return examples


def _write_rows(target: Path, pages: Iterator[list[Row]], entries: Mapping[str, Entry]) -> defaultdict[str, Checksum]:
    """Write the rows of these videos to a file. Return a checksum per video."""
    checksums: defaultdict[str, Checksum] = defaultdict(lambda: NO_ROWS)
    with create_private_file(target) as file:
        for page in pages:
            for row in page:
                if row["video_id"] in entries:
                    checksums[row["video_id"]] = join_checksums(checksums[row["video_id"]], checksum([row]))
                    vector = base64.b64encode(np.asarray(row["vector"], "<f4").tobytes()).decode()
                    file.write(json.dumps({**row, "vector": vector}, ensure_ascii=False).encode() + b"\n")
    return checksums


def _restore_space(
    store: Store, collection: str, source: Path, space: str, manifest: Backup, entries: Mapping[str, Entry]
) -> None:
    """Write the rows of a file to a collection and count them."""
    shape = manifest.spaces[space]
    store.ensure(collection, lambda: segment_schema(shape.dim), vector="vector", metric=shape.metric)
    rows = _rows(source / f"{space}.jsonl", shape, entries)
    while batch := list(islice(rows, _BATCH)):
        store.write(collection, batch)
    store.flush(collection)
    if (counted := store.count(collection)) != manifest.rows[space]:
        raise StoreError(
            f"the store holds {counted} rows in '{collection}' after {manifest.rows[space]} were written",
            why="rows were lost during the restore",
            fix="check the disk, then restore to a new path",
        )


def _check_rows(source: Path, manifest: Backup, entries: Mapping[str, Entry]) -> None:
    """Validate all rows and compare the checksum of each video with its catalog row."""
    checksums: dict[str, dict[str, str]] = {video_id: {} for video_id in entries}
    for space, shape in manifest.spaces.items():
        file = source / f"{space}.jsonl"
        by_video: defaultdict[str, Checksum] = defaultdict(lambda: NO_ROWS)
        keys = set()
        for row in _rows(file, shape, entries):
            by_video[row["video_id"]] = join_checksums(by_video[row["video_id"]], checksum([row]))
            if row["id"] in keys:
                raise _damaged(file, f"the key '{row['id']}' occurs twice")
            keys.add(row["id"])
        if len(keys) != manifest.rows[space]:
            raise _damaged(file, f"it has {len(keys)} rows instead of {manifest.rows[space]}")
        for video_id in entries:
            checksums[video_id][space] = by_video[video_id]
    for entry in entries.values():
        if entry.checksums != checksums[entry.video_id]:
            raise _damaged(
                source / _VIDEOS, f"the rows of {entry.latest_sighting.path} are damaged: their checksum differs"
            )


def _rows(file: Path, shape: SpaceShape, entries: Mapping[str, Entry]) -> Iterator[Row]:
    """Yield the validated rows of these videos. Other videos were deleted while the backup was written."""
    for number, line in _lines(file):
        row = _segment_row(file, number, line, shape)
        if row["video_id"] in entries:
            yield row


def _segment_row(file: Path, number: int, line: bytes, shape: SpaceShape) -> Row:
    row = _parsed(file, number, line, _SegmentRow.model_validate_json).model_dump()
    try:
        vector = np.frombuffer(base64.b64decode(row["vector"], validate=True), "<f4")
    except (ValueError, binascii.Error) as error:
        raise _damaged(file, f"line {number}: the vector is not base64 of float32") from error
    if vector.shape != (shape.dim,) or not np.isfinite(vector).all():
        raise _damaged(file, f"line {number}: the vector does not have {shape.dim} finite numbers")
    if shape.norm is not None and abs(float(np.linalg.norm(vector)) - shape.norm) > NORM_TOLERANCE:
        raise _damaged(file, f"line {number}: the norm of the vector is not {shape.norm}")
    if reason := row_error(row):
        raise _damaged(file, f"line {number}: {reason}")
    return {**row, "vector": vector.tolist()}


def _entries(source: Path, manifest: Backup) -> dict[str, Entry]:
    file = source / _VIDEOS
    entries: dict[str, Entry] = {}
    for number, line in _lines(file):
        entry = _parsed(file, number, line, Entry.model_validate_json)
        if entry.state != "committed" or entry.video_id in entries or not entry.rows.keys() <= manifest.spaces.keys():
            raise _damaged(file, f"line {number}: the video is not committed, occurs twice, or has an unknown space")
        entries[entry.video_id] = entry
    if len(entries) != manifest.videos or _row_counts(entries.values(), manifest.spaces) != manifest.rows:
        raise _damaged(file, "its numbers of videos or rows differ from the manifest")
    return entries


def _parsed(file: Path, number: int, line: bytes, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(line)
    except ValidationError as error:
        raise _damaged(file, f"line {number}: {field_errors(error)[0]}") from error


def _compare(entry: Entry, checksums: Mapping[str, str]) -> None:
    if entry.checksums != checksums:
        raise StoreError(
            f"the checksum of the rows of {entry.latest_sighting.path} differs from the catalog",
            why="they are damaged, or another process embedded the video again",
            fix="run var-plugin verify, then try again",
        )


def _manifest(folder: Path) -> Backup:
    try:
        with open_regular_file(folder / _MANIFEST) as file:
            content = file.read(_MAX_MANIFEST_BYTES + 1)
        if len(content) > _MAX_MANIFEST_BYTES:
            raise _not_a_backup(folder, f"its manifest has more than {_MAX_MANIFEST_BYTES} bytes")
        document = json.loads(content)
        version = document.get("format") if isinstance(document, dict) else None
        if isinstance(version, int) and version != _FORMAT:
            raise InvalidInputError(
                f"the backup {folder} has format {version}",
                why=f"this version of var-plugin reads format {_FORMAT}",
                fix="update it: pip install --upgrade var-plugin"
                if version > _FORMAT
                else "index the footage again into a new index: var-plugin index FOLDER --index NEW_INDEX",
            )
        manifest = Backup.model_validate(document)
        expected = {_VIDEOS, _EXAMPLES, *(f"{space}.jsonl" for space in manifest.spaces)}
        if manifest.files.keys() != expected or manifest.rows.keys() != manifest.spaces.keys():
            raise _not_a_backup(folder, f"its manifest does not list the files {', '.join(sorted(expected))}")
        damaged = [name for name, digest in manifest.files.items() if _sha256(folder / name) != digest]
    except ValidationError as error:
        raise _not_a_backup(folder, str(field_errors(error)[0])) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _not_a_backup(folder, os_error_message(error)) from error
    if damaged:
        raise InvalidInputError(
            f"the backup {folder} is damaged", why=f"{', '.join(damaged)} has changed", fix=_OTHER_COPY
        )
    return manifest


_OTHER_COPY = "use another copy of the backup"


def _not_a_backup(folder: Path, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"{folder} is not a backup of an index", why=why, fix="choose a folder that var-plugin backup wrote"
    )


def _damaged(file: Path, why: str) -> InvalidInputError:
    return InvalidInputError(f"the backup {file.parent} is damaged", why=f"{file.name}: {why}", fix=_OTHER_COPY)


def _row_counts(entries: Iterable[Entry], spaces: Mapping[str, object]) -> dict[str, int]:
    counts = dict.fromkeys(spaces, 0)
    for entry in entries:
        for space, rows in entry.rows.items():
            counts[space] = counts.get(space, 0) + rows
    return counts


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers, from 1."""
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
def _explain_file_errors(target: Path, action: str) -> Iterator[None]:
    """Convert a failed file operation to an error with a remedy."""
    try:
        yield
    except VarPluginError:
        raise
    except OSError as error:
        if failure := file_failure(error):
            raise StoreError(f"cannot {action} {target}", why=failure.why, fix=failure.fix) from error
        raise InvalidInputError(
            f"cannot {action} {target}", why=os_error_message(error), fix="choose another path"
        ) from error
