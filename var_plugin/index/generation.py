"""One generation of an index: the segments of videos, one collection per space, made by one suite."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial

import numpy as np

from var_plugin.encoders.base import Vectors, check_vectors
from var_plugin.encoders.suite import Suite
from var_plugin.errors import FingerprintMismatchError, StoreError
from var_plugin.index.catalog import Catalog, Entry, Generation, Videos
from var_plugin.index.filters import Condition, conditions, epoch_ms, literal
from var_plugin.index.milvus.client import Reader, Store
from var_plugin.index.rows import ALL_FIELDS, HIT_FIELDS, Hit, SegmentRows, as_hits, checksum
from var_plugin.index.schema import Row, segment_schema
from var_plugin.media.cache import media_cache
from var_plugin.types import Filter, Segment

# Keys in one expression.
_KEYS = 1_000


class VideoGeneration:
    """The videos of one generation; what is made here and not committed is found by nobody.

    Args:
        store: where the index lies.
        catalogue: the index's catalogue.
        name: the index's name.
        suite: what embeds footage and queries.
        generation: which generation.
    """

    def __init__(self, store: Store, catalog: Catalog, name: str, suite: Suite, generation: Generation) -> None:
        self.suite = suite
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

    @property
    def _videos(self) -> Videos:
        return self._catalog.videos(self.generation.number)

    def _left(self, generation: Generation) -> bool:
        """Follow; tell whether this thread or another one has gone over from that generation to the next."""
        self.refresh_generation()
        return self.generation.number != generation.number

    def refresh_snapshots(self) -> None:
        """Make the copies that searches are answered from, where they are due; see `Copies`."""
        self._catalog.refresh_snapshot()
        self.refresh_generation()
        self._reader.refresh(*(self._collection(space) for space in self.suite.spaces))

    def refresh_generation(self) -> bool:
        """Go over to the generation that counts now, where another process made it count; tell whether that was so.

        Raises:
            FingerprintMismatchError: another suite made that one.
        """
        generations = self._catalog.generations()
        if generations is None or self.generation in (generations.current, generations.building):
            return False
        check_fingerprint(generations.current, self.suite, self._store.uri)
        self._open(generations.current)
        return True

    def entry(self, video_id: str) -> Entry | None:
        """Return the catalogue row of a video, whatever its state."""
        self.refresh_generation()
        return self._videos.find(video_id)

    def entries(self, video_ids: Sequence[str]) -> dict[str, Entry]:
        """Return the catalogue rows of the committed ones among these videos."""
        self.refresh_generation()
        return self._videos.committed(video_ids)

    def all_entries(self) -> list[Entry]:
        """Return the catalogue rows of all videos in order of addition, whatever their state."""
        self.refresh_generation()
        return self._videos.all()

    def find_by_path(self, path: str) -> list[Entry]:
        """Return the catalogue rows of the videos that were seen last at this path."""
        self.refresh_generation()
        return self._videos.find_by_path(path)

    def lock(self, video_id: str) -> AbstractContextManager[None]:
        """Keep others from adding or deleting the same video inside a `with` block; see `Store.lock`."""
        return self._store.lock(video_id)

    def write(self, entry: Entry, rows: Mapping[str, tuple[Sequence[Segment], Vectors]]) -> dict[str, int]:
        """Store a video: its row as pending, its segments, a count in the store, its row as committed.

        Args:
            entry: the video's row.
            rows: per space, the segments and their vectors (n, dim).

        Returns:
            Rows counted in the store per space.

        Raises:
            InvalidVectorError: a vector must not be stored; nothing was written.
            StoreError: the store failed, or holds another number of rows than were sent; nothing stays visible.
            FingerprintMismatchError: the index went over to another suite meanwhile, perhaps without this video.
        """
        for name, (_, vectors) in rows.items():
            check_vectors(vectors, self.suite.spaces[name])
        return self._write(entry, {name: SegmentRows(entry, *parts) for name, parts in rows.items()})

    def copy_from(self, entry: Entry, source: Generation) -> dict[str, int]:
        """Store a video with the rows that another generation of the same fingerprint holds.

        Raises:
            StoreError: as `write`; or the rows are not the ones that were stored there.
        """
        rows: dict[str, list[Row]] = {}
        for name in self.suite.spaces:
            collection = collection_name(self._name, source.number, name)
            self._store.load(collection)
            rows[name] = self._store.rows(collection, f"video_id == {literal(entry.video_id)}", ALL_FIELDS)
        checksums = {name: checksum(found) for name, found in rows.items()}
        if checksums != entry.checksums:
            raise StoreError(
                f"the vectors of {entry.sightings[-1].path} are not the ones that were stored",
                fix="mend them first: var-plugin verify --repair",
            )
        return self._write(entry, rows)

    def _write(self, entry: Entry, rows: Mapping[str, Sequence[Row]]) -> dict[str, int]:
        self.refresh_generation()
        generation = self.generation  # another thread may follow meanwhile: all rows of a video go to one
        videos = self._catalog.videos(generation.number)
        videos.put(entry.model_copy(update={"state": "pending"}))
        try:
            counted = self._write_segments(generation, entry, rows)
        except BaseException:
            # Should this fail as well, the pending row still hides what was written.
            with suppress(StoreError):
                self._erase(generation, entry)
            raise
        checksums = {name: checksum(rows.get(name, ())) for name in self.suite.spaces}
        videos.put(entry.model_copy(update={"state": "committed", "rows": counted, "checksums": checksums}))
        # Written to a generation that nobody searches any more, perhaps too late to be brought over.
        return self._write(entry, rows) if self._left(generation) else counted

    def _write_segments(
        self, generation: Generation, entry: Entry, rows: Mapping[str, Sequence[Row]]
    ) -> dict[str, int]:
        of_video = f"video_id == {literal(entry.video_id)}"
        for name in self.suite.spaces:
            collection = self._collection(name, generation)
            sent = rows.get(name, ())
            # Left by other settings, or by a run that was interrupted.
            stored = self._store.rows(collection, of_video, ["id", "camera"])
            # Of another camera as well: spread by camera, a server would keep the row that it replaces.
            kept = {(row["id"], row["camera"]) for row in sent}
            stale = {row["id"] for row in stored if (row["id"], row["camera"]) not in kept}
            self._delete_keys(collection, sorted(stale))
            self._store.write(collection, sent)
            self._store.flush(collection)
        counted = self._count(generation, entry.video_id)
        wanted = {name: len(rows.get(name, ())) for name in self.suite.spaces}
        if counted != wanted:
            raise StoreError(
                f"the store holds {counted} rows of {entry.sightings[-1].path} after {wanted} were written",
                why="rows were lost on the way",
                fix="check the disk and run the same command again",
            )
        return counted

    def update(self, entry: Entry) -> None:
        """Write the row of a video whose segments stay as they are."""
        generation = self.generation
        self._catalog.videos(generation.number).put(entry)
        if self._left(generation):
            self._videos.put(entry)

    def count(self, video_id: str) -> dict[str, int]:
        """Count a video's rows per space, as the store sees them now."""
        return self._count(self.generation, video_id)

    def _count(self, generation: Generation, video_id: str) -> dict[str, int]:
        of_video = f"video_id == {literal(video_id)}"
        return {name: self._store.count(self._collection(name, generation), of_video) for name in self.suite.spaces}

    def size(self) -> dict[str, int]:
        """Count all rows per space, as the store sees them now."""
        self.refresh_generation()
        return {name: self._reader.count(self._collection(name)) for name in self.suite.spaces}

    def rows(self, space: str) -> Iterator[list[Row]]:
        """Yield all stored rows of a space with their vectors, some at a time, in no particular order."""
        return self._store.scan(self._collection(space), ALL_FIELDS)

    def sample(self, space: str, share: float) -> list[Row]:
        """Return about that share of the uniform segments of a space, always the same ones, in order of their keys."""
        # Keys are hashes, so those up to a bound are a fair sample.
        bound = [Condition("id", "<", f"{int(share * 16**8):08x}")] if share < 1 else []
        wanted = [Condition("kind", "==", "uniform"), *bound]
        found = self._reader.rows(self._collection(space), wanted, ("id", "video_id", "vector"))
        return sorted(found, key=lambda row: str(row["id"]))

    def delete(self, video_id: str) -> None:
        """Delete a video: its vectors, its thumbnails and its row.

        Raises:
            UnknownVideoError: there is no such video.
            FingerprintMismatchError: the index went over to another suite meanwhile, perhaps with this video.
        """
        with self.lock(video_id):
            self.refresh_generation()
            generation = self.generation
            videos = self._catalog.videos(generation.number)
            self._erase(generation, videos.find(video_id) or videos.get(video_id))
            if self._left(generation) and (entry := self._videos.find(video_id)):
                self._erase(self.generation, entry)

    def delete_orphans(self, space: str, video_id: str) -> None:
        """Delete the rows of a video that the catalogue does not know.

        Raises:
            StoreError: the catalogue knows it.
        """
        with self.lock(video_id):
            if self._videos.find(video_id):
                raise StoreError(f"video '{video_id}' is in the catalogue", fix="verify the index again")
            self._store.delete(self._collection(space), f"video_id == {literal(video_id)}")
            self._store.flush(self._collection(space))

    def search_segments(
        self,
        space: str,
        vector: np.ndarray,
        *,
        limit: int,
        filter: Filter,  # noqa: A002  (the word users of vector stores know)
        excluded: Sequence[str] = (),
        videos: int = 0,
    ) -> list[Hit]:
        """Return the most similar segments of committed videos in one space, best first.

        Args:
            space: name of the space.
            vector: (dim,) the query.
            limit: at most so many.
            filter: what the segments must satisfy.
            excluded: videos to leave out.
            videos: where it costs little, add the best segments of so many videos, so that none hides the others.
        """
        self.refresh_generation()
        found = self._reader.search(
            self._collection(space),
            vector,
            metric=self.suite.spaces[space].metric,
            limit=limit,
            conditions=conditions(
                filter,
                excluded_videos=[*self._videos.hidden(), *excluded],
                running_at_start=self._videos.running_at(epoch_ms(filter.after)) if filter.after else None,
            ),
            fields=HIT_FIELDS,
            videos=videos,
        )
        return as_hits(found)

    def segments(self, video_id: str) -> list[Hit]:
        """Return the uniform segments of a committed video in order of time (similarity 0): its anomaly curve.

        Raises:
            UnknownVideoError: there is no such video.
        """
        self.refresh_generation()
        self._videos.get(video_id)
        space = self.suite.encoders_for("video").space.name
        wanted = conditions(Filter(video_ids=(video_id,), kinds=("uniform",)))
        rows = self._reader.rows(self._collection(space), wanted, HIT_FIELDS)
        return sorted(as_hits((0.0, row) for row in rows), key=lambda hit: hit.start)

    def _erase(self, generation: Generation, entry: Entry) -> None:
        """Delete a video that the caller keeps `exclusive`."""
        videos = self._catalog.videos(generation.number)
        videos.put(entry.model_copy(update={"state": "deleting"}))
        for name in self.suite.spaces:
            self._store.delete(self._collection(name, generation), f"video_id == {literal(entry.video_id)}")
        media_cache().delete_video(entry.video_id)
        generations = self._catalog.generations()
        if generations and generations.previous:
            # Or else it would be brought over once more.
            self._catalog.videos(generations.previous.number).remove(entry.video_id)
        videos.remove(entry.video_id)
        for name in self.suite.spaces:
            self._store.flush(self._collection(name, generation))

    def _delete_keys(self, collection: str, keys: Sequence[str]) -> None:
        for first in range(0, len(keys), _KEYS):
            listed = ", ".join(literal(key) for key in keys[first : first + _KEYS])
            self._store.delete(collection, f"id in [{listed}]")

    def _collection(self, space: str, generation: Generation | None = None) -> str:
        return collection_name(self._name, (generation or self.generation).number, space)


def check_fingerprint(generation: Generation, suite: Suite, uri: str) -> None:
    """Raise `FingerprintMismatchError`, naming both, unless the suite made the generation of the index at `uri`."""
    if generation.fingerprint != suite.fingerprint:
        raise FingerprintMismatchError(
            f"the index was made by suite '{generation.suite}' ({generation.fingerprint})",
            why=f"it cannot be searched with suite '{suite.name}' ({suite.fingerprint})",
            fix=_way_back(generation, suite, uri),
        )


def _way_back(generation: Generation, suite: Suite, uri: str) -> str:
    anew = f"make it anew: var-plugin reindex --suite {suite.name} --index {shlex.quote(uri)}"
    # Under one name, it is another version of the suite's weights or settings.
    return anew if generation.suite == suite.name else f"open it with --suite {generation.suite}, or {anew}"


def collection_name(name: str, generation: int, space: str) -> str:
    """Return the collection that holds the segments of one space."""
    return f"{name}__{space}" if generation == 1 else f"{name}__{space}__{generation}"
