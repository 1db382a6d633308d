"""The catalogue: one row per video, and one row that says which suite made the index.

A video's row is written as `pending` before its first segment and made `committed` after its last one was counted in
the store; deleting passes through `deleting`. Whatever is not committed is never shown, so a process may die at any
point and nothing half-written is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from var_plugin.errors import FingerprintMismatchError, UnknownVideoError
from var_plugin.index.filters import clock_time, literal
from var_plugin.index.schema import catalogue_schema
from var_plugin.index.store import Row, Store
from var_plugin.types import Scalar, Value, Video

State = Literal["pending", "committed", "deleting"]

_IDENTITY = "@index"
_FIELDS = ("id", "state", "body")


class Sighting(Value):
    """Where and when a content was seen: the same file may lie at several places."""

    path: str
    camera: str
    recorded_at: int
    """Milliseconds since 1970 UTC; -1 where unknown."""


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
    added_at: int
    """Milliseconds since 1970 UTC."""

    def video(self) -> Video:
        """The row as users see it."""
        seen = self.sightings[-1]
        return Video(
            video_id=self.video_id,
            camera=seen.camera,
            uri=seen.path,
            duration=self.duration,
            recorded_at=clock_time(seen.recorded_at),
            metadata=self.metadata,
            state=self.state,
            rows=self.rows,
            added_at=datetime.fromtimestamp(self.added_at / 1000, UTC),
        )


class Catalogue:
    """The catalogue collection of one index."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._collection = f"{name}__videos"

    def open(self, identity: Mapping[str, Any]) -> None:
        """Create the catalogue, or check that the same suite made it.

        Args:
            identity: `suite`, its `fingerprint`, and whatever else says how vectors are made.

        Raises:
            FingerprintMismatchError: another suite made it.
        """
        if not self._store.has(self._collection):
            self._store.create(self._collection, catalogue_schema(), vector="unused", metric="L2")
        self._store.load(self._collection)
        found = self._read(f"id == {literal(_IDENTITY)}")
        if not found:
            self._write(_IDENTITY, "committed", "", dict(identity))
            return
        made_by = found[0]["body"]
        if made_by["fingerprint"] != identity["fingerprint"]:
            raise FingerprintMismatchError(
                f"the index was made by suite '{made_by['suite']}' ({made_by['fingerprint']})",
                why=f"it cannot be searched with suite '{identity['suite']}' ({identity['fingerprint']})",
                fix=f"open it with --suite {made_by['suite']}, or index the footage anew at another place",
            )

    def put(self, entry: Entry) -> None:
        """Write a video's row, whole."""
        self._write(entry.video_id, entry.state, entry.sightings[-1].path, entry.model_dump(mode="json"))

    def remove(self, video_id: str) -> None:
        """Delete a video's row."""
        self._store.delete(self._collection, f"id == {literal(video_id)}")
        self._store.flush(self._collection)

    def find(self, video_id: str) -> Entry | None:
        """Return the row of a video in whatever state, or None."""
        found = self._read(f"id == {literal(video_id)}")
        return Entry.model_validate(found[0]["body"]) if found else None

    def get(self, video_id: str) -> Entry:
        """Return the row of a committed video.

        Raises:
            UnknownVideoError: there is none.
        """
        entry = self.find(video_id)
        if entry is None or entry.state != "committed":
            raise UnknownVideoError(f"the index holds no video '{video_id}'", fix="list them: var-plugin videos")
        return entry

    def entries(self) -> list[Entry]:
        """Return all videos in order of addition, also those not committed."""
        rows = self._read(f"id != {literal(_IDENTITY)}")
        return sorted((Entry.model_validate(row["body"]) for row in rows), key=lambda e: (e.added_at, e.video_id))

    def seen_at(self, path: str) -> list[Entry]:
        """Return the videos, in whatever state, that were seen last at this path."""
        return [Entry.model_validate(row["body"]) for row in self._read(f"path == {literal(path)}")]

    def hidden(self) -> list[str]:
        """Return the ids of videos that must not be found: those not, or no longer, committed."""
        return [row["id"] for row in self._store.rows(self._collection, 'state != "committed"', ["id"])]

    def committed(self, video_ids: Iterable[str]) -> dict[str, Entry]:
        """Return the committed rows among these ids."""
        listed = ", ".join(literal(video_id) for video_id in video_ids)
        rows = self._read(f'state == "committed" and id in [{listed}]') if listed else []
        return {row["id"]: Entry.model_validate(row["body"]) for row in rows}

    def _read(self, expression: str) -> list[Row]:
        return self._store.rows(self._collection, expression, _FIELDS)

    def _write(self, key: str, state: State, path: str, body: dict[str, Any]) -> None:
        row = {"id": key, "state": state, "path": path, "body": body, "unused": [0.0, 0.0]}
        self._store.write(self._collection, [row])
        self._store.flush(self._collection)
