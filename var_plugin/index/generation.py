"""A generation of an index: one collection of segments per space, built by one suite."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from var_plugin.config import IndexOptions
from var_plugin.encoders.base import Vectors, check_vectors
from var_plugin.encoders.suite import Suite
from var_plugin.errors import FingerprintMismatchError, StoreError
from var_plugin.index.catalog import UNFINISHED, Catalog, Entry, Generation, Videos
from var_plugin.index.examples import Examples
from var_plugin.index.filters import Condition, Conditions, check_text, conditions, epoch_ms, literal, one_of
from var_plugin.index.milvus.client import Reader, Store
from var_plugin.index.rows import (
    ALL_FIELDS,
    CURVE_FIELDS,
    HIT_FIELDS,
    CurvePoint,
    Hit,
    SegmentRows,
    as_curves,
    as_hits,
    checksum,
)
from var_plugin.index.schema import Row, segment_schema
from var_plugin.media.cache import media_cache
from var_plugin.types import Filter, Segment

if TYPE_CHECKING:
    from var_plugin.index.history import CameraHistories

# Maximum number of keys in one expression.
_MAX_KEYS = 1_000


class VideoGeneration:
    """The videos of one generation. Searches return committed videos only.

    Args:
        store: store of the index.
        catalog: catalog of the index.
        name: name of the index.
        suite: suite that embeds footage and queries.
        generation: the generation to open.
        options: how footage is cut, dated, searched and cached.
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        name: str,
        suite: Suite,
        generation: Generation,
        options: IndexOptions,
    ) -> None:
        self.suite, self.options = suite, options
        self._store, self._reader = store, Reader(store)
        self._catalog = catalog
        self._name = name
        self._open(generation)

    def _open(self, generation: Generation) -> None:
        self.generation = generation
        for space in self.suite.spaces.values():
            options = self._store.options
            self._store.ensure(
                self._collection(space.name, generation),
                partial(segment_schema, space.dim, by_camera=bool(options and options.partitions)),
                vector="vector",
                metric=space.metric,
                options=options,
            )

    @cached_property
    def owner_examples(self) -> Examples:
        """The sentences and moments that the owner marked as normal or as alarms."""
        return Examples(self._catalog)

    @cached_property
    def histories(self) -> CameraHistories:
        """The histories of the cameras."""
        from var_plugin.index.history import CameraHistories  # it imports this module

        return CameraHistories(self)

    @property
    def _videos(self) -> Videos:
        return self._catalog.videos(self.generation.number)

    def _has_left(self, generation: Generation) -> bool:
        """Refresh the active generation. Return whether it is another one than `generation`."""
        self.refresh_generation()
        return self.generation.number != generation.number

    def refresh_snapshots(self) -> None:
        """Create missing or outdated snapshots of the index; see `SnapshotCache.refresh`."""
        self._catalog.refresh_snapshot()
        self.refresh_generation()
        self._reader.refresh(*(self._collection(space) for space in self.suite.spaces))

    def refresh_generation(self) -> bool:
        """Switch to the active generation if another process changed it. Return whether it changed.

        Raises:
            FingerprintMismatchError: another suite built the active generation.
        """
        generations = self._catalog.generations()
        if generations is None or self.generation in (generations.current, generations.building):
            return False
        check_fingerprint(generations.current, self.suite, self._store.uri)
        self._open(generations.current)
        return True

    def entry(self, video_id: str) -> Entry | None:
        """Return the catalog row of a video in any state, or None."""
        self.refresh_generation()
        return self._videos.find(video_id)

    def entries(self, video_ids: Sequence[str]) -> dict[str, Entry]:
        """Return the catalog rows of the committed videos among these ids, by id."""
        self.refresh_generation()
        return self._videos.committed(video_ids)

    def committed_entry(self, video_id: str) -> Entry:
        """Return the catalog row of a committed video.

        Raises:
            UnknownVideoError: the index contains no such video.
        """
        self.refresh_generation()
        return self._videos.get(video_id)

    def all_entries(self) -> list[Entry]:
        """Return the catalog rows of all videos in any state, in order of addition."""
        self.refresh_generation()
        return self._videos.all()

    def find_by_path(self, path: str) -> list[Entry]:
        """Return the catalog rows of the videos whose latest sighting is this path."""
        self.refresh_generation()
        return self._videos.find_by_path(path)

    def lock(self, *video_ids: str) -> AbstractContextManager[None]:
        """Hold the locks of videos, which adding, deleting and rescoring require; see `Store.lock`."""
        return self._store.lock(*video_ids)

    def write(self, entry: Entry, rows: Mapping[str, tuple[Sequence[Segment], Vectors]]) -> dict[str, int]:
        """Store a video: write its row as pending, write and count its segments, write its row as committed.

        Args:
            entry: catalog row of the video.
            rows: per space, n segments and their vectors (n, dim), float32.

        Returns:
            Number of rows per space, counted in the store.

        Raises:
            InvalidVectorError: a vector is invalid for its space. Nothing was written.
            StoreError: the store failed, or counted another number of rows. The video stays invisible.
            FingerprintMismatchError: another process switched the index to another suite. The video may be missing
                there.
        """
        for name, (_, vectors) in rows.items():
            check_vectors(vectors, self.suite.spaces[name])
        return self._write(entry, {name: SegmentRows(entry, *parts) for name, parts in rows.items()})

    def copy_from(self, entry: Entry, source: Generation) -> dict[str, int]:
        """Store a video with its rows from another generation with the same fingerprint.

        Raises:
            StoreError: as `write`, or the checksums of the rows differ from the catalog.
        """
        rows: dict[str, list[Row]] = {}
        for name in self.suite.spaces:
            collection = collection_name(self._name, source.number, name)
            self._store.load(collection)
            rows[name] = self._store.rows(collection, f"video_id == {literal(entry.video_id)}", ALL_FIELDS)
        checksums = {name: checksum(space_rows) for name, space_rows in rows.items()}
        if checksums != entry.checksums:
            raise StoreError(
                f"the vectors of {entry.latest_sighting.path} are damaged",
                why="their checksum differs from the catalog",
                fix="repair them first: var-plugin verify --repair",
            )
        return self._write(entry, rows)

    def _write(self, entry: Entry, rows: Mapping[str, Sequence[Row]]) -> dict[str, int]:
        self.refresh_generation()
        generation = self.generation  # another thread may switch it: all rows of a video go to one
        videos = self._catalog.videos(generation.number)
        videos.put(entry.model_copy(update={"state": "pending"}))
        try:
            counted = self._write_segments(generation, entry, rows)
        except BaseException:
            # If this fails as well, the pending row hides the segments.
            with suppress(StoreError):
                self._erase(generation, entry)
            raise
        checksums = {name: checksum(rows.get(name, ())) for name in self.suite.spaces}
        videos.put(entry.model_copy(update={"state": "committed", "rows": counted, "checksums": checksums}))
        # The rows went to a generation that is no longer active, perhaps too late to be migrated.
        return self._write(entry, rows) if self._has_left(generation) else counted

    def _write_segments(
        self, generation: Generation, entry: Entry, rows: Mapping[str, Sequence[Row]]
    ) -> dict[str, int]:
        of_video = f"video_id == {literal(entry.video_id)}"
        for name in self.suite.spaces:
            collection = self._collection(name, generation)
            new_rows = rows.get(name, ())
            # Remove rows of other settings or of an interrupted run.
            stored = self._store.rows(collection, of_video, ["id", "camera"])
            # The camera counts too: a server with partitions by camera would keep the replaced row.
            new_keys = {(row["id"], row["camera"]) for row in new_rows}
            stale = {row["id"] for row in stored if (row["id"], row["camera"]) not in new_keys}
            self._delete_keys(collection, sorted(stale))
            self._store.write(collection, new_rows)
            self._store.flush(collection)
        counted = self._count(generation, entry.video_id)
        expected = {name: len(rows.get(name, ())) for name in self.suite.spaces}
        if counted != expected:
            raise StoreError(
                f"the store holds {counted} rows of {entry.latest_sighting.path} after {expected} were written",
                why="rows were lost while writing",
                fix="check the disk and run the same command again",
            )
        return counted

    def pinned_reader(self) -> Reader:
        """Return a reader for `stored_rows` that stays fast while rows are written; see `Reader.pinned`."""
        self.refresh_generation()
        return self._reader.pinned(*(self._collection(space) for space in self.suite.spaces))

    def stored_rows(self, space: str, video_ids: Sequence[str], reader: Reader | None = None) -> list[Row]:
        """Return all fields of the rows of videos in one space, unordered."""
        if not video_ids:
            return []
        return (reader or self._reader).rows(self._collection(space), [one_of("video_id", video_ids)], ALL_FIELDS)

    def rewrite(self, rows: Mapping[str, Sequence[Row]], entries: Sequence[Entry]) -> None:
        """Write rows with changed scores, and the catalog rows of their videos. The caller holds the videos' locks.

        Args:
            rows: complete rows per space. Their keys and vectors have not changed.
            entries: catalog rows, written last. Until then, they are marked as unfinished.
        """
        generation = self.generation
        if entries and any(rows.values()):
            # If the process is killed before the last write, the rows are scored again, whatever the examples are then.
            unfinished = [entry.model_copy(update={"examples": UNFINISHED}) for entry in entries]
            self._catalog.videos(generation.number).put(*unfinished)
        for space, changed in rows.items():
            if changed:
                self._store.write(self._collection(space, generation), changed)
                self._store.flush(self._collection(space, generation))
        if entries:
            self._catalog.videos(generation.number).put(*entries)

    def update(self, entry: Entry) -> None:
        """Write the catalog row of a video without changing its segments."""
        generation = self.generation
        self._catalog.videos(generation.number).put(entry)
        if self._has_left(generation):
            self._videos.put(entry)

    def count(self, video_id: str) -> dict[str, int]:
        """Count the rows of a video per space in the store."""
        return self._count(self.generation, video_id)

    def _count(self, generation: Generation, video_id: str) -> dict[str, int]:
        of_video = f"video_id == {literal(video_id)}"
        return {name: self._store.count(self._collection(name, generation), of_video) for name in self.suite.spaces}

    def size(self) -> dict[str, int]:
        """Count all rows per space."""
        self.refresh_generation()
        return {name: self._reader.count(self._collection(name)) for name in self.suite.spaces}

    def rows(self, space: str) -> Iterator[list[Row]]:
        """Yield all rows of a space with their vectors in pages, unordered."""
        return self._store.scan(self._collection(space), ALL_FIELDS)

    def sample(self, space: str, share: float) -> list[Row]:
        """Return a deterministic sample of about `share` (0…1) of the uniform segments of a space, sorted by key."""
        rows = self._reader.rows(self._collection(space), _sampled(share), ("id", "video_id", "vector"))
        return sorted(rows, key=lambda row: str(row["id"]))

    def sample_camera(self, space: str, camera: str, share: float) -> list[Row]:
        """Return a sample as `sample` of the committed uniform segments of one camera, with all fields of a hit."""
        self.refresh_generation()
        hidden = self._videos.hidden()
        excluded = [one_of("video_id", hidden, operator="not in")] if hidden else []
        of_camera = [Condition("camera", "==", check_text(camera)), *_sampled(share), *excluded]
        rows = self._reader.rows(self._collection(space), of_camera, ("id", *HIT_FIELDS, "vector"))
        return sorted(rows, key=lambda row: str(row["id"]))

    def delete(self, video_id: str) -> None:
        """Delete a video: its segments, its thumbnails and its catalog row.

        Raises:
            UnknownVideoError: the index contains no such video.
            FingerprintMismatchError: another process switched the index to another suite. The video may still exist
                there.
        """
        with self.lock(video_id):
            self.refresh_generation()
            generation = self.generation
            videos = self._catalog.videos(generation.number)
            self._erase(generation, videos.find(video_id) or videos.get(video_id))
            if self._has_left(generation) and (entry := self._videos.find(video_id)):
                self._erase(self.generation, entry)

    def delete_orphans(self, space: str, video_id: str) -> None:
        """Delete the orphaned rows of a video: rows without a catalog row.

        Raises:
            StoreError: the video has a catalog row.
        """
        with self.lock(video_id):
            if self._videos.find(video_id):
                raise StoreError(
                    f"the rows of video '{video_id}' are not deleted",
                    why="the video is in the catalog again",
                    fix="run var-plugin verify again",
                )
            self._store.delete(self._collection(space), f"video_id == {literal(video_id)}")
            self._store.flush(self._collection(space))

    def search_segments(
        self,
        space: str,
        vector: np.ndarray,
        *,
        limit: int,
        filter: Filter,  # noqa: A002  (the usual name in vector stores)
        excluded: Sequence[str] = (),
        videos: int = 0,
    ) -> list[Hit]:
        """Return the most similar segments of committed videos in one space, best first.

        Args:
            space: name of the space.
            vector: (dim,) query vector.
            limit: maximum number of segments.
            filter: conditions on the segments.
            excluded: ids of videos to leave out.
            videos: on a snapshot, also return the best segments of this many videos, so that one video cannot fill
                the whole result.
        """
        self.refresh_generation()
        rows = self._reader.search(
            self._collection(space),
            vector,
            metric=self.suite.spaces[space].metric,
            limit=limit,
            conditions=self._conditions(filter, excluded),
            fields=HIT_FIELDS,
            videos=videos,
        )
        return as_hits(rows)

    def _conditions(self, filter: Filter, excluded: Sequence[str]) -> Conditions:  # noqa: A002
        """Return the conditions of a filter on committed videos other than the excluded ones."""
        return conditions(
            filter,
            excluded_videos=[*self._videos.hidden(), *excluded],
            running_at_start=self._videos.running_at(epoch_ms(filter.after)) if filter.after else None,
        )

    def top_segments(
        self,
        space: str,
        *,
        limit: int,
        filter: Filter,  # noqa: A002
        excluded: Sequence[str] = (),
    ) -> list[Hit]:
        """Return the segments of committed videos in one space with the highest anomaly scores, highest first.

        Similarities are 0. Arguments as `search_segments`.
        """
        self.refresh_generation()
        rows = self._reader.top(
            self._collection(space),
            "anomaly",
            limit=limit,
            conditions=self._conditions(filter, excluded),
            fields=HIT_FIELDS,
        )
        return as_hits((0.0, row) for row in rows)

    def segments(self, video_id: str) -> list[Hit]:
        """Return the uniform segments of a committed video in order of time: its anomaly curve. Similarities are 0.

        Raises:
            UnknownVideoError: the index contains no such video.
        """
        self.refresh_generation()
        self._videos.get(video_id)
        space = self.suite.encoders_for("video").space.name
        of_video = conditions(Filter(video_ids=(video_id,), segment_kinds=("uniform",)))
        rows = self._reader.rows(self._collection(space), of_video, HIT_FIELDS)
        return sorted(as_hits((0.0, row) for row in rows), key=lambda hit: hit.start)

    def curves(self, video_ids: Sequence[str]) -> dict[str, list[CurvePoint]]:
        """Return the anomaly curves of the committed videos among these ids, read at once. The points are in order."""
        self.refresh_generation()
        hidden = set(self._videos.hidden())
        visible = tuple(video_id for video_id in video_ids if video_id not in hidden)
        if not visible:
            return {}
        space = self.suite.encoders_for("video").space.name
        of_videos = conditions(Filter(video_ids=visible, segment_kinds=("uniform",)))
        return as_curves(self._reader.rows(self._collection(space), of_videos, CURVE_FIELDS))

    def _erase(self, generation: Generation, entry: Entry) -> None:
        """Delete a video. The caller holds its lock."""
        videos = self._catalog.videos(generation.number)
        videos.put(entry.model_copy(update={"state": "deleting"}))
        for name in self.suite.spaces:
            self._store.delete(self._collection(name, generation), f"video_id == {literal(entry.video_id)}")
        media_cache(self.options).delete_video(entry.video_id)
        generations = self._catalog.generations()
        if generations and generations.previous:
            # Otherwise a running reindex would migrate it again.
            self._catalog.videos(generations.previous.number).remove(entry.video_id)
        videos.remove(entry.video_id)
        for name in self.suite.spaces:
            self._store.flush(self._collection(name, generation))
        self.histories.discard(entry.latest_sighting.camera)

    def _delete_keys(self, collection: str, keys: Sequence[str]) -> None:
        for first in range(0, len(keys), _MAX_KEYS):
            listed = ", ".join(literal(key) for key in keys[first : first + _MAX_KEYS])
            self._store.delete(collection, f"id in [{listed}]")

    def _collection(self, space: str, generation: Generation | None = None) -> str:
        return collection_name(self._name, (generation or self.generation).number, space)


def _sampled(share: float) -> list[Condition]:
    """Return the conditions of a sample of about `share` (0…1) of the uniform segments."""
    # Keys are hashes, so those below a bound are a random sample.
    bound = [Condition("id", "<", f"{int(share * 16**8):08x}")] if share < 1 else []
    return [Condition("kind", "==", "uniform"), *bound]


def check_fingerprint(generation: Generation, suite: Suite, uri: str) -> None:
    """Raise `FingerprintMismatchError` unless the suite built the generation of the index at `uri`."""
    if generation.fingerprint != suite.fingerprint:
        raise FingerprintMismatchError(
            f"the index was built by suite '{generation.suite}' ({generation.fingerprint})",
            why=f"it cannot be searched with suite '{suite.name}' ({suite.fingerprint})",
            fix=_mismatch_fix(generation, suite, uri),
        )


def _mismatch_fix(generation: Generation, suite: Suite, uri: str) -> str:
    rebuild = f"rebuild it: var-plugin reindex --suite {suite.name} --index {shlex.quote(uri)}"
    # With the same name, weights or settings of the suite have changed.
    return rebuild if generation.suite == suite.name else f"open it with --suite {generation.suite}, or {rebuild}"


def collection_name(name: str, generation: int, space: str) -> str:
    """Return the name of the collection with the segments of one space."""
    return f"{name}__{space}" if generation == 1 else f"{name}__{space}__{generation}"
