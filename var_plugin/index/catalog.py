"""The catalog: one row per video and generation, and one row with the active generation.

The row of a video is written as `pending` before its first segment and as `committed` after its last segment has been
counted in the store. Deleting a video sets its row to `deleting` first. Searches return committed videos only, so a
process can be killed at any point and no partial video becomes visible.

A generation is a complete set of segments, built by one suite. Reindexing builds another one beside the active one.
Writing the row of `Generations` switches all processes to it at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationError

from var_plugin.errors import IndexUnavailableError, InvalidInputError, StoreError, UnknownVideoError, field_errors
from var_plugin.index.filters import (
    MAX_CLOCK_MS,
    MAX_INTEGER,
    MAX_VIDEO_SECONDS,
    MIN_CLOCK_MS,
    MIN_INTEGER,
    UNKNOWN_TIME,
    Condition,
    check_metadata,
    clock_time,
    expression,
    one_of,
)
from var_plugin.index.milvus.client import Reader, Store
from var_plugin.index.schema import ID_PATTERN, Row, catalog_schema, is_id
from var_plugin.types import ClockOrigin, Scalar, Value, Video

logger = logging.getLogger(__name__)

State = Literal["pending", "committed", "deleting"]

# The content of a catalog or a backup is untrusted: others may have written it.
Id = Annotated[str, Field(pattern=ID_PATTERN)]
"""The id of a video or the name of a space."""
Text = Annotated[str, Field(max_length=1_000, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A text that `check_text` accepts."""
Count = Annotated[int, Field(ge=0, le=10**9)]
ClockMs = Annotated[int, Field(ge=MIN_CLOCK_MS, le=MAX_CLOCK_MS)]
Integer = Annotated[int, Field(ge=MIN_INTEGER, le=MAX_INTEGER)]
Seconds = Annotated[float, Field(ge=0, le=MAX_VIDEO_SECONDS, allow_inf_nan=False)]
Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]

_GENERATIONS = "@generations"
_RESTORING = "@restoring"
_EXAMPLE = "example"
"""State of the rows of the owner's examples."""

UNFINISHED: Final = "unfinished"
"""Revision of the owner's examples of a video whose rows are being rewritten. No examples have this revision."""

INDEX_FORMAT: Final = 3
"""Version of the layout of an index: keys of the catalog and names of files. Other versions are refused."""


class Generation(Value):
    """A complete set of segments and the suite that built it."""

    number: Annotated[int, Field(ge=1, le=10**9)]
    suite: Text
    fingerprint: Text
    spaces: Annotated[tuple[Id, ...], Field(max_length=64)]


class Generations(Value):
    """The active generation, and the one that is being built or removed."""

    format: Literal[3] = INDEX_FORMAT
    current: Generation
    building: Generation | None = None
    previous: Generation | None = None
    """Replaced by `current`; removed when all of its videos are in `current`."""


class Sighting(Value):
    """A path at which the content of a video was indexed. The same content may exist at several paths."""

    path: Text
    camera: Text
    recorded_at: ClockMs
    """Start of the recording in milliseconds since 1970 UTC; -1 if unknown."""
    clock: ClockOrigin | None = None
    """Source of that time; None if it was not recorded."""
    size: Integer | None = None
    """Size of the file in bytes when it was hashed; None if it was not recorded."""
    modified_ms: Integer | None = None
    """Modification time (mtime) of the file in milliseconds since 1970 UTC."""
    changed_ms: Integer | None = None
    """Status change time (ctime) in milliseconds since 1970 UTC. Unlike mtime, users cannot set it."""


def _check_stored_metadata(metadata: dict[str, Scalar]) -> dict[str, Scalar]:
    try:
        return check_metadata(metadata)
    except InvalidInputError as error:
        raise ValueError(str(error)) from error


class Entry(Value):
    """The catalog row of a video."""

    video_id: Id
    state: State
    content: Text
    """SHA-256 of the file."""
    sightings: Annotated[tuple[Sighting, ...], Field(min_length=1)]
    duration: Seconds
    metadata: Annotated[dict[str, Scalar], AfterValidator(_check_stored_metadata)]
    settings: Text
    """Fingerprint of the settings for segmentation and embedding."""
    rows: dict[Id, Count]
    """Number of rows per space."""
    checksums: dict[Id, Checksum] = Field(default_factory=dict)
    """Checksum over the keys and vectors of the rows, per space."""
    added_at: ClockMs
    """Milliseconds since 1970 UTC."""
    learned: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How well the history of the camera was known when the rows were scored."""
    examples: Text = ""
    """Revision of the owner's examples with which the rows were scored."""
    migrated: bool = False
    """True if the video was copied or embedded again by a reindex, not added."""

    @property
    def latest_sighting(self) -> Sighting:
        """The most recent path of the video."""
        return self.sightings[-1]

    def video(self) -> Video:
        """Return the public form of the row."""
        sighting = self.latest_sighting
        return Video(
            video_id=self.video_id,
            camera=sighting.camera,
            uri=sighting.path,
            paths=tuple(sighting.path for sighting in self.sightings),
            duration=self.duration,
            recorded_at=clock_time(sighting.recorded_at),
            clock=sighting.clock,
            metadata=self.metadata,
            state=self.state,
            rows=self.rows,
            added_at=datetime.fromtimestamp(self.added_at / 1000, UTC),
        )


class Table:
    """The collection of the catalog, shared by `Catalog` and `Videos`."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._reader = store, Reader(store)
        self._collection = _table_name(name)
        store.ensure(self._collection, catalog_schema, vector="unused", metric="L2")

    def rows(self, conditions: Sequence[Condition]) -> list[Row]:
        """Return the fields `id`, `video_id` and `body` of the matching rows."""
        return self._reader.rows(self._collection, conditions, ["id", "video_id", "body"])

    def refresh_snapshot(self) -> None:
        """Create the snapshot of the catalog if it is missing or outdated."""
        self._reader.refresh(self._collection)

    def write(self, *rows: Row) -> None:
        """Write complete rows and flush them to disk."""
        self._store.write(self._collection, [{**row, "unused": [0.0, 0.0]} for row in rows])
        self._store.flush(self._collection)

    def remove(self, conditions: Sequence[Condition]) -> None:
        """Delete the matching rows."""
        self._store.delete(self._collection, expression(conditions))
        self._store.flush(self._collection)


def _table_name(name: str) -> str:
    return f"{name}__videos"


class Catalog:
    """The catalog of one index. Its collection is created if missing.

    Args:
        store: store of the index.
        name: name of the index.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._uri = store.uri
        self._table = Table(store, name)

    @staticmethod
    def exists(store: Store, name: str) -> bool:
        """Return whether a store has the catalog of an index. Nothing is created."""
        return store.exists() and store.has(_table_name(name))

    def generations(self) -> Generations | None:
        """Return the active generation, or None for a new index.

        Raises:
            IndexUnavailableError: the index has the format of another version.
            StoreError: the row is damaged.
        """
        rows = self._table.rows([Condition("id", "==", _GENERATIONS)])
        if not rows:
            return None
        _check_format(rows[0]["body"], self._uri)
        try:
            return Generations.model_validate(rows[0]["body"])
        except ValidationError as error:
            raise StoreError(
                "the catalog row of the active generation is damaged",
                why=str(field_errors(error)[0]),
                fix="restore the index from a backup, or index the footage into a new index",
            ) from error

    def is_restoring(self) -> bool:
        """Return whether a restore has started and not finished."""
        return bool(self._table.rows([Condition("id", "==", _RESTORING)]))

    def begin_restoring(self) -> None:
        """Mark the index as incomplete: it cannot be opened until `end_restoring`."""
        self._table.write(_control_row(_RESTORING, {}))

    def end_restoring(self) -> None:
        """Remove the mark of `begin_restoring`."""
        self._table.remove([Condition("id", "==", _RESTORING)])

    def example_rows(self) -> list[tuple[str, Any]]:
        """Return the keys and bodies of the owner's examples; see `var_plugin.index.examples`."""
        rows = self._table.rows([Condition("state", "==", _EXAMPLE)])
        return [(row["id"], row["body"]) for row in rows]

    def put_example(self, example_id: str, body: dict[str, Any]) -> None:
        """Write an example of the owner."""
        self._table.write({**_control_row(f"@example:{example_id}", body), "state": _EXAMPLE})

    def remove_example(self, example_id: str) -> None:
        """Delete an example of the owner."""
        self._table.remove([Condition("id", "==", f"@example:{example_id}")])

    def refresh_snapshot(self) -> None:
        """Create the snapshot of the catalog if it is missing or outdated."""
        self._table.refresh_snapshot()

    def put_generations(self, generations: Generations) -> None:
        """Set the active generation with one write."""
        body = generations.model_dump(mode="json")
        self._table.write(_control_row(_GENERATIONS, body))

    def videos(self, generation: int) -> Videos:
        """Return the video rows of one generation."""
        return Videos(self._table, generation)


def _check_format(body: Any, uri: str) -> None:
    """Raise `IndexUnavailableError` if the row of the active generation has another format than this version."""
    version = body.get("format", 1) if isinstance(body, dict) else INDEX_FORMAT
    if isinstance(version, int) and version != INDEX_FORMAT:
        is_newer = version > INDEX_FORMAT
        raise IndexUnavailableError(
            f"the index {uri} has format {version}",
            why=f"this version of var-plugin reads format {INDEX_FORMAT}",
            fix="update it: pip install --upgrade var-plugin"
            if is_newer
            else "index the footage again into a new index: var-plugin index FOLDER --index NEW_INDEX",
        )


def _control_row(key: str, body: dict[str, Any]) -> Row:
    return {"id": key, "generation": 0, "video_id": "", "state": "committed", "path": "", "body": body}


class Videos:
    """The catalog rows of one generation."""

    def __init__(self, table: Table, generation: int) -> None:
        self._table = table
        self._generation = generation

    def put(self, *entries: Entry) -> None:
        """Write the complete rows of videos."""
        self._table.write(
            *(
                {
                    "id": f"{self._generation}:{entry.video_id}",
                    "generation": self._generation,
                    "video_id": entry.video_id,
                    "state": entry.state,
                    "path": entry.latest_sighting.path,
                    "body": entry.model_dump(mode="json"),
                }
                for entry in entries
            )
        )

    def remove(self, video_id: str) -> None:
        """Delete the row of a video."""
        self._table.remove(self._where(Condition("video_id", "==", video_id)))

    def remove_all(self) -> None:
        """Delete all rows of the generation."""
        self._table.remove(self._where())

    def find(self, video_id: str) -> Entry | None:
        """Return the row of a video in any state, or None."""
        entries = self._entries(Condition("video_id", "==", video_id))
        return entries[0] if entries else None

    def get(self, video_id: str) -> Entry:
        """Return the row of a committed video.

        Raises:
            UnknownVideoError: the index contains no such video.
        """
        entry = self.find(video_id)
        if entry is None or entry.state != "committed":
            raise UnknownVideoError(
                f"the index contains no video '{video_id}'", fix="list the videos: var-plugin videos"
            )
        return entry

    def all(self) -> list[Entry]:
        """Return all videos in any state, in order of addition."""
        return sorted(self._entries(), key=lambda entry: (entry.added_at, entry.video_id))

    def find_by_path(self, path: str) -> list[Entry]:
        """Return the videos in any state whose latest sighting is this path."""
        return self._entries(Condition("path", "==", path))

    def hidden(self) -> list[str]:
        """Return the ids of videos that searches must not return: those that are not committed."""
        rows = self._table.rows(self._where(Condition("state", "!=", "committed")))
        return [row["video_id"] for row in rows if is_id(row["video_id"])]

    def running_at(self, clock_ms: int) -> dict[str, int]:
        """Return the position in ms at a clock time, by video id, of the videos that were recording at that time."""
        positions = {}
        for row in self._table.rows(self._where(Condition("state", "==", "committed"))):
            try:
                start, seconds = row["body"]["sightings"][-1]["recorded_at"], row["body"]["duration"]
                if start != UNKNOWN_TIME and start < clock_ms < start + 1000 * seconds:
                    positions[str(row["video_id"])] = clock_ms - start
            except (LookupError, TypeError):  # damaged rows are left out of all results
                continue
        return positions

    def committed(self, video_ids: Iterable[str]) -> dict[str, Entry]:
        """Return the committed rows among these ids, by id."""
        ids = list(video_ids)
        entries = self._entries(Condition("state", "==", "committed"), one_of("video_id", ids)) if ids else []
        return {entry.video_id: entry for entry in entries}

    def _entries(self, *conditions: Condition) -> list[Entry]:
        entries = []
        for row in self._table.rows(self._where(*conditions)):
            try:
                entry = Entry.model_validate(row["body"])
            except ValidationError as error:
                why = str(field_errors(error)[0])
            else:
                if entry.video_id == row["video_id"]:
                    entries.append(entry)
                    continue
                why = "it describes another video"
            logger.warning("row %.80r of the catalog is damaged and left out: %s", row["id"], why)
        return entries

    def _where(self, *conditions: Condition) -> list[Condition]:
        return [Condition("generation", "==", self._generation), *conditions]
