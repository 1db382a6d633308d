"""The catalogue: one row per video and generation, and one row that says which generation counts.

A video's row is written as `pending` before its first segment and made `committed` after its last one was counted in
the store; deleting passes through `deleting`. Whatever is not committed is never shown, so a process may die at any
point and nothing half-written is found.

A generation is a full set of segments, made by one suite. Re-indexing builds another one beside the one that counts;
writing the row of `Generations` anew makes the other one count, for all processes at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from var_plugin.errors import UnknownVideoError
from var_plugin.index.filters import Condition, clock_time, expression, one_of
from var_plugin.index.reader import Reader
from var_plugin.index.schema import Row, catalogue_schema
from var_plugin.index.store import Store
from var_plugin.types import ClockOrigin, Scalar, Value, Video

State = Literal["pending", "committed", "deleting"]

_GENERATIONS = "@generations"


class Generation(Value):
    """A set of segments and what made it."""

    number: int
    suite: str
    fingerprint: str
    spaces: tuple[str, ...]


class Generations(Value):
    """Which generation counts, and the one that is being built or given up."""

    current: Generation
    building: Generation | None = None
    previous: Generation | None = None
    """Replaced by `current`, kept until everything in it was found there."""


class Sighting(Value):
    """Where and when a content was seen: the same file may lie at several places."""

    path: str
    camera: str
    recorded_at: int
    """Milliseconds since 1970 UTC; -1 where unknown."""
    clock: ClockOrigin | None = None
    """How that time is known; None in rows of before it was kept."""


class Entry(Value):
    """A video's row."""

    video_id: str
    state: State
    content: str
    """SHA-256 of the file."""
    sightings: tuple[Sighting, ...]
    duration: float
    """Seconds."""
    metadata: dict[str, Scalar]
    settings: str
    """Fingerprint of how the video was cut and embedded."""
    rows: dict[str, int]
    """Rows per space."""
    checksums: dict[str, str] = Field(default_factory=dict)
    """Per space, a checksum over the keys and vectors of its rows."""
    added_at: int
    """Milliseconds since 1970 UTC."""
    brought: bool = False
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
        store.ensure(self._collection, catalogue_schema, vector="unused", metric="L2")

    def bodies(self, conditions: Sequence[Condition]) -> list[Any]:
        """Return what the matching rows hold."""
        return [row["body"] for row in self._reader.rows(self._collection, conditions, ["id", "body"])]

    def renew(self) -> None:
        """Make the copy that questions are answered from, where it is due."""
        self._reader.renew(self._collection)

    def write(self, row: Row) -> None:
        """Write one row, whole, through to disk."""
        self._store.write(self._collection, [{**row, "unused": [0.0, 0.0]}])
        self._store.flush(self._collection)

    def remove(self, conditions: Sequence[Condition]) -> None:
        """Delete the matching rows."""
        self._store.delete(self._collection, expression(conditions))
        self._store.flush(self._collection)


class Catalogue:
    """The catalogue of one index; made where there is none."""

    def __init__(self, store: Store, name: str) -> None:
        self._table = Table(store, name)

    def generations(self) -> Generations | None:
        """Return which generation counts; None where nothing was ever made."""
        found = self._table.bodies([Condition("id", "==", _GENERATIONS)])
        return Generations.model_validate(found[0]) if found else None

    def renew(self) -> None:
        """Make the copy that questions are answered from, where it is due."""
        self._table.renew()

    def put_generations(self, generations: Generations) -> None:
        """Say which generation counts, in one write."""
        body = generations.model_dump(mode="json")
        self._table.write(
            {"id": _GENERATIONS, "generation": 0, "video_id": "", "state": "committed", "path": "", "body": body}
        )

    def videos(self, generation: int) -> Videos:
        """Return the rows of one generation."""
        return Videos(self._table, generation)


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

    def seen_at(self, path: str) -> list[Entry]:
        """Return the videos, in whatever state, that were seen last at this path."""
        return self._entries(Condition("path", "==", path))

    def hidden(self) -> list[str]:
        """Return the ids of videos that must not be found: those not, or no longer, committed."""
        return [entry.video_id for entry in self._entries(Condition("state", "!=", "committed"))]

    def committed(self, video_ids: Iterable[str]) -> dict[str, Entry]:
        """Return the committed rows among these ids."""
        listed = list(video_ids)
        found = self._entries(Condition("state", "==", "committed"), one_of("video_id", listed)) if listed else []
        return {entry.video_id: entry for entry in found}

    def _entries(self, *conditions: Condition) -> list[Entry]:
        return [Entry.model_validate(body) for body in self._table.bodies(self._where(*conditions))]

    def _where(self, *conditions: Condition) -> list[Condition]:
        return [Condition("generation", "==", self._generation), *conditions]
