"""The catalogue: one row per video and generation, and one row that says which generation counts.

A video's row is written as `pending` before its first segment and made `committed` after its last one was counted in
the store; deleting passes through `deleting`. Whatever is not committed is never shown, so a process may die at any
point and nothing half-written is found.

A generation is a full set of segments, made by one suite. Re-indexing builds another one beside the one that counts;
writing the row of `Generations` anew makes the other one count, for all processes at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from var_plugin.errors import InvalidInputError, StoreError, UnknownVideoError, field_errors
from var_plugin.index.filters import (
    MAX_CLOCK_MS,
    MAX_VIDEO_SECONDS,
    MIN_CLOCK_MS,
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

# What the catalogue holds may have been written by anybody who could write to its store, or to a backup.
Id = Annotated[str, Field(pattern=ID_PATTERN)]
"""A video id or the name of a space."""
Text = Annotated[str, Field(max_length=1_000, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""What `check_text` admits."""
Count = Annotated[int, Field(ge=0, le=10**9)]
ClockMs = Annotated[int, Field(ge=MIN_CLOCK_MS, le=MAX_CLOCK_MS)]
Seconds = Annotated[float, Field(ge=0, le=MAX_VIDEO_SECONDS, allow_inf_nan=False)]
Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]

_GENERATIONS = "@generations"
_RESTORING = "@restoring"


class Generation(Value):
    """A set of segments and what made it."""

    number: Annotated[int, Field(ge=1, le=10**9)]
    suite: Text
    fingerprint: Text
    spaces: Annotated[tuple[Id, ...], Field(max_length=64)]


class Generations(Value):
    """Which generation counts, and the one that is being built or given up."""

    current: Generation
    building: Generation | None = None
    previous: Generation | None = None
    """Replaced by `current`, kept until everything in it was found there."""


class Sighting(Value):
    """Where and when a content was seen: the same file may lie at several places."""

    path: Text
    camera: Text
    recorded_at: ClockMs
    """Milliseconds since 1970 UTC; -1 where unknown."""
    clock: ClockOrigin | None = None
    """How that time is known; None in rows of before it was kept."""
    size: int | None = None
    """Bytes of the file when it was hashed; None in rows of before it was kept."""
    modified_ms: int | None = None
    """When its content was modified, by its own time stamp, in milliseconds since 1970 UTC."""
    changed_ms: int | None = None
    """When the system last changed the file or its time stamps: unlike those, nobody can set it."""


def _storable(metadata: dict[str, Scalar]) -> dict[str, Scalar]:
    try:
        return check_metadata(metadata)
    except InvalidInputError as error:
        raise ValueError(str(error)) from error


class Entry(Value):
    """A video's row."""

    video_id: Id
    state: State
    content: Text
    """SHA-256 of the file."""
    sightings: Annotated[tuple[Sighting, ...], Field(min_length=1)]
    duration: Seconds
    metadata: Annotated[dict[str, Scalar], AfterValidator(_storable)]
    settings: Text
    """Fingerprint of how the video was cut and embedded."""
    rows: dict[Id, Count]
    """Rows per space."""
    checksums: dict[Id, Checksum] = Field(default_factory=dict)
    """Per space, a checksum over the keys and vectors of its rows."""
    added_at: ClockMs
    """Milliseconds since 1970 UTC."""
    migrated: bool = False
    """True where the video came from the generation before, not from adding it."""

    def video(self) -> Video:
        """The row as users see it."""
        seen = self.sightings[-1]
        return Video(
            video_id=self.video_id,
            camera=seen.camera,
            uri=seen.path,
            duration=self.duration,
            recorded_at=clock_time(seen.recorded_at),
            clock=seen.clock,
            metadata=self.metadata,
            state=self.state,
            rows=self.rows,
            added_at=datetime.fromtimestamp(self.added_at / 1000, UTC),
        )


class Table:
    """The catalogue's collection, for the two classes that read and write its rows."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._reader = store, Reader(store)
        self._collection = f"{name}__videos"
        store.ensure(self._collection, catalog_schema, vector="unused", metric="L2")

    def rows(self, conditions: Sequence[Condition]) -> list[Row]:
        """Return the fields `id`, `video_id` and `body` of the matching rows."""
        return self._reader.rows(self._collection, conditions, ["id", "video_id", "body"])

    def refresh_snapshot(self) -> None:
        """Make the copy that questions are answered from, where it is due."""
        self._reader.refresh(self._collection)

    def write(self, row: Row) -> None:
        """Write one row, whole, through to disk."""
        self._store.write(self._collection, [{**row, "unused": [0.0, 0.0]}])
        self._store.flush(self._collection)

    def remove(self, conditions: Sequence[Condition]) -> None:
        """Delete the matching rows."""
        self._store.delete(self._collection, expression(conditions))
        self._store.flush(self._collection)


class Catalog:
    """The catalogue of one index; made where there is none."""

    def __init__(self, store: Store, name: str) -> None:
        self._table = Table(store, name)

    def generations(self) -> Generations | None:
        """Return which generation counts; None where nothing was ever made."""
        rows = self._table.rows([Condition("id", "==", _GENERATIONS)])
        if not rows:
            return None
        try:
            return Generations.model_validate(rows[0]["body"])
        except ValidationError as error:
            raise StoreError(
                "the catalogue's row of the active generation is damaged",
                why=str(field_errors(error)[0]),
                fix="restore the index from a backup, or index the footage into a new place",
            ) from error

    def is_restoring(self) -> bool:
        """Return whether a restore began here and has not ended."""
        return bool(self._table.rows([Condition("id", "==", _RESTORING)]))

    def begin_restoring(self) -> None:
        """Mark the index as one that is being restored: it cannot be opened until `end_restoring`."""
        self._table.write(_control_row(_RESTORING, {}))

    def end_restoring(self) -> None:
        """Remove the mark of `begin_restoring`."""
        self._table.remove([Condition("id", "==", _RESTORING)])

    def refresh_snapshot(self) -> None:
        """Make the copy that questions are answered from, where it is due."""
        self._table.refresh_snapshot()

    def put_generations(self, generations: Generations) -> None:
        """Say which generation counts, in one write."""
        body = generations.model_dump(mode="json")
        self._table.write(_control_row(_GENERATIONS, body))

    def videos(self, generation: int) -> Videos:
        """Return the rows of one generation."""
        return Videos(self._table, generation)


def _control_row(key: str, body: dict[str, Any]) -> Row:
    return {"id": key, "generation": 0, "video_id": "", "state": "committed", "path": "", "body": body}


class Videos:
    """The catalogue's rows of one generation."""

    def __init__(self, table: Table, generation: int) -> None:
        self._table = table
        self._generation = generation

    def put(self, entry: Entry) -> None:
        """Write a video's row, whole."""
        self._table.write(
            {
                "id": f"{self._generation}:{entry.video_id}",
                "generation": self._generation,
                "video_id": entry.video_id,
                "state": entry.state,
                "path": entry.sightings[-1].path,
                "body": entry.model_dump(mode="json"),
            }
        )

    def remove(self, video_id: str) -> None:
        """Delete a video's row."""
        self._table.remove(self._where(Condition("video_id", "==", video_id)))

    def remove_all(self) -> None:
        """Delete all rows of the generation."""
        self._table.remove(self._where())

    def find(self, video_id: str) -> Entry | None:
        """Return the row of a video in whatever state, or None."""
        found = self._entries(Condition("video_id", "==", video_id))
        return found[0] if found else None

    def get(self, video_id: str) -> Entry:
        """Return the row of a committed video.

        Raises:
            UnknownVideoError: there is none.
        """
        entry = self.find(video_id)
        if entry is None or entry.state != "committed":
            raise UnknownVideoError(f"the index holds no video '{video_id}'", fix="list them: var-plugin videos")
        return entry

    def all(self) -> list[Entry]:
        """Return all videos in order of addition, also those not committed."""
        return sorted(self._entries(), key=lambda entry: (entry.added_at, entry.video_id))

    def find_by_path(self, path: str) -> list[Entry]:
        """Return the videos, in whatever state, that were seen last at this path."""
        return self._entries(Condition("path", "==", path))

    def hidden(self) -> list[str]:
        """Return the ids of videos that must not be found: those not, or no longer, committed."""
        rows = self._table.rows(self._where(Condition("state", "!=", "committed")))
        return [row["video_id"] for row in rows if is_id(row["video_id"])]

    def running_at(self, clock_ms: int) -> dict[str, int]:
        """Return, by video id, how far each video had run at a clock time, in milliseconds; those running only."""
        running = {}
        for row in self._table.rows(self._where(Condition("state", "==", "committed"))):
            try:
                start, seconds = row["body"]["sightings"][-1]["recorded_at"], row["body"]["duration"]
                if start != UNKNOWN_TIME and start < clock_ms < start + 1000 * seconds:
                    running[str(row["video_id"])] = clock_ms - start
            except (LookupError, TypeError):  # a damaged row, which is in no answer
                continue
        return running

    def committed(self, video_ids: Iterable[str]) -> dict[str, Entry]:
        """Return the committed rows among these ids."""
        listed = list(video_ids)
        found = self._entries(Condition("state", "==", "committed"), one_of("video_id", listed)) if listed else []
        return {entry.video_id: entry for entry in found}

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
            logger.warning("row %.80r of the catalogue is damaged and left out: %s", row["id"], why)
        return entries

    def _where(self, *conditions: Condition) -> list[Condition]:
        return [Condition("generation", "==", self._generation), *conditions]
