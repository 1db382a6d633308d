"""The public API: an index to which footage is added and that is searched."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from var_plugin.config import CameraClock, settings
from var_plugin.encoders.base import ScoreStatistics
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError
from var_plugin.index.backup import Backup, backup, restore
from var_plugin.index.examples import ExampleKind, OwnerExample
from var_plugin.index.footage import find_footage
from var_plugin.index.index import VideoIndex
from var_plugin.index.rows import CurvePoint, Hit
from var_plugin.index.verify import Verification, verify
from var_plugin.ingest.add import Progress, SourceInfo, add
from var_plugin.ingest.examples import add_moment, add_sentence
from var_plugin.ingest.pipeline import Engine
from var_plugin.ingest.reindex import reindex
from var_plugin.ingest.repair import repair
from var_plugin.ingest.retention import Pruned, prune
from var_plugin.ingest.scoring import Rescored, RescoreProgress
from var_plugin.ingest.scoring import rescore as rescore_rows
from var_plugin.media.files import canonical_path
from var_plugin.retrievers.anomalies import Order, anomalies
from var_plugin.retrievers.moments import parse_moment_id
from var_plugin.retrievers.report import Report, write_report
from var_plugin.retrievers.search import GroupBy, Reranker, make_query, moment_by_id, search
from var_plugin.types import EmbeddedQuery, Filter, Modality, Moment, Receipt, Scalar, Span, Video


class Index:
    """An index of videos. Open it with `open_index`, and use it in a `with` block or call `close`."""

    def __init__(self, index: VideoIndex) -> None:
        self._inner = index

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the index and release it to other processes."""
        self._inner.close()

    @property
    def suite(self) -> Suite:
        """The suite that embeds footage and queries."""
        return self._inner.suite

    @property
    def uri(self) -> str:
        """Path or URI of the index."""
        return self._inner.uri

    def score_statistics(self) -> dict[Modality, ScoreStatistics]:
        """Return mean and standard deviation of the similarity of queries to unrelated footage, by query modality.

        They are measured on the index, also if the suite ships statistics. Scores are scaled by those of the suite, or
        by these if it ships none.

        Raises:
            InvalidInputError: The index has too little footage to measure them.
            StoreError: The store failed.
        """
        return self._inner.calibration.measured_statistics(self.suite.encoders_for("video"))

    def add(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        camera: str | None = None,
        recorded_at: datetime | None = None,
        clock: CameraClock | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        progress: Progress | None = None,
        engine: Engine | None = None,
    ) -> Receipt:
        """Index files, and all videos below folders.

        Args:
            paths: Files and folders.
            camera: Name of the camera. Default: the subfolder below the given folder, or the file name without its
                extension.
            recorded_at: Clock time with time zone at which the file begins; for a single file only. Default: derived
                from the sidecar, the file name or the header.
            clock: Time zone and error of the camera's clock, for derived times. Default: from the settings.
            metadata: Values to filter by. Keys are identifiers.
            progress: Called with the current file and the position reached in it, in seconds. A `RunProgress` also
                receives the planned files and their outcomes.
            engine: Processes the files. Default: this process. `var_plugin.RayEngine` uses a Ray cluster.

        Returns:
            One receipt per file with the planned, stored and verified rows, or the reason of a failure. A failed file
            does not stop the others; check `receipt.ok`.

        Raises:
            InvalidInputError: Camera, clock time or metadata cannot be stored, or one clock time is given for several
                files.
            EngineError: The engine cannot be used.
        """
        path_list = [paths] if isinstance(paths, str | Path) else paths
        return add(self._inner, path_list, SourceInfo(camera, recorded_at, clock, metadata or {}), progress, engine)

    def search(
        self,
        text: str | None = None,
        *,
        image: Any = None,
        audio: Any = None,
        video: str | Path | Span | None = None,
        k: int = 5,
        filter: Filter | None = None,  # noqa: A002  (the usual name in vector stores)
        min_score: float | None = None,
        group_by: GroupBy = "moment",
        weights: Mapping[str, float] | None = None,
        rerank: Reranker | None = None,
        thumbnails: bool = False,
    ) -> list[Moment]:
        """Return the k best moments for text, an image, audio, a video, or a combination of them, best first.

        Without any of them, but with a filter, return the most anomalous moments, as `anomalies` does.

        Args:
            text: A sentence. It is combined with the other parts of the query.
            image: A path, a PIL image or an (h, w, 3) uint8 RGB array.
            audio: A path, a `Span`, or a pair of samples (n,) float32 in -1…1 and their sample rate in Hz.
            video: A path or a `Span`.
            k: Maximum number of moments.
            filter: Conditions that the moments must satisfy.
            min_score: Minimum score (z-score) of a moment.
            group_by: "video" returns only the best moment of each video.
            weights: Weights of the scores per space. Default: 1. A space of weight 0 is not searched.
            rerank: Receives the query and several times k candidates, best first, and returns them in the final order.
            thumbnails: Write a thumbnail of each moment.

        Raises:
            InvalidInputError: The query is empty, k is below 1, or an argument needs a query.
            UnsupportedModalityError: The suite cannot embed a part of the query.
            StoreError: The store failed.
        """
        parts = {"text": text, "image": image, "audio": audio, "video": video}
        if filter not in (None, Filter()) and all(part is None for part in parts.values()):
            if min_score is not None or weights or rerank is not None:
                raise InvalidInputError(
                    "min_score, weights and rerank have no effect without a query", fix="use index.anomalies"
                )
            return self.anomalies(k, filter=filter, group_by=group_by, thumbnails=thumbnails)
        query = make_query(**parts)
        return search(
            self._inner,
            query,
            k=k,
            filter=filter,
            min_score=min_score,
            group_by=group_by,
            weights=weights,
            rerank=rerank,
            thumbnails=thumbnails,
        )

    def search_embedded(
        self,
        query: EmbeddedQuery,
        *,
        k: int = 5,
        filter: Filter | None = None,  # noqa: A002
        thumbnails: bool = False,
    ) -> list[Moment]:
        """Return the k best moments for a query that `retrievers.search.embed_query` embedded, best first.

        Args:
            query: The embedded query.
            k: Maximum number of moments.
            filter: Conditions that the moments must satisfy.
            thumbnails: Write a thumbnail of each moment.

        Raises:
            FingerprintMismatchError: The query was embedded by another suite.
            StoreError: The store failed.
        """
        return search(self._inner, query, k=k, filter=filter, thumbnails=thumbnails)

    def anomalies(
        self,
        k: int = 20,
        *,
        filter: Filter | None = None,  # noqa: A002
        kinds: Sequence[str] | None = None,
        min_score: float | None = None,
        group_by: GroupBy = "moment",
        order: Order = "score",
        thumbnails: bool = False,
    ) -> list[Moment]:
        """Return the k most anomalous moments, the strongest first. No query is needed.

        Args:
            k: Maximum number of moments.
            filter: Conditions that the moments must satisfy.
            kinds: Kinds of events, such as "fire". A moment must have one of them.
            min_score: Minimum anomaly score, from 0 to 1.
            group_by: "video" returns only the strongest moment of each video.
            order: "time" returns the same moments, the newest first.
            thumbnails: Write a thumbnail of each moment.

        Raises:
            InvalidInputError: k is below 1, or a kind is unknown.
            StoreError: The store failed.
        """
        return anomalies(
            self._inner,
            k=k,
            filter=filter,
            kinds=kinds,
            min_score=min_score,
            group_by=group_by,
            order=order,
            thumbnails=thumbnails,
        )

    def learning(self, camera: str) -> str:
        """Return how well the history of a camera is known, such as `learning: 40 minutes seen`."""
        return self._inner.histories.of(camera).status

    def add_example(
        self,
        kind: ExampleKind,
        text: str | None = None,
        *,
        camera: str | None = None,
        moment: str | None = None,
        rescore: bool = True,
    ) -> OwnerExample:
        """Mark what is normal in this footage, or what is an alarm, by a sentence or by a moment.

        Footage like a normal example gets a lower anomaly score. Footage like an alarm gets the kind of event `alarm`.

        Args:
            kind: "normal" or "alarm".
            text: A sentence, such as "people queueing at the till".
            camera: The camera to which the sentence applies. Default: all cameras.
            moment: Id of a moment, instead of a sentence. It applies to its camera.
            rescore: Score the footage in the index again. Otherwise, call `rescore` after the last change.

        Raises:
            InvalidInputError: The sentence, the camera or the id cannot be used.
            UnknownVideoError: The index has no such moment.
            StoreError: The store failed.
        """
        if (text is None) == (moment is None):
            raise InvalidInputError("an example needs either a sentence or a moment", fix="pass one of them")
        if moment is not None:
            if camera is not None:
                raise InvalidInputError("a moment applies to its own camera", fix="leave out the camera")
            example = add_moment(self._inner, kind, moment, *parse_moment_id(moment))
        else:
            example = add_sentence(self._inner, kind, text or "", camera)
        if rescore:
            self.rescore()
        return example

    def examples(self) -> list[OwnerExample]:
        """Return what was marked as normal or as an alarm, in the order in which it was added."""
        return self._inner.owner_examples.all()

    def remove_example(self, example_id: str, *, rescore: bool = True) -> OwnerExample:
        """Remove an example and return it.

        Raises:
            InvalidInputError: There is no such example.
            StoreError: The store failed.
        """
        example = self._inner.owner_examples.remove(example_id)
        if rescore:
            self.rescore()
        return example

    def rescore(self, progress: RescoreProgress | None = None) -> Rescored:
        """Score the rows again for which examples were added or removed, from their stored vectors.

        The footage is not read, and searches continue meanwhile. An interrupted call is continued by the next one.

        Args:
            progress: Called with the number of videos that are done, and their total.

        Raises:
            StoreError: The store failed.
        """
        return rescore_rows(self._inner, progress)

    def report(
        self,
        out: str | Path,
        *,
        filter: Filter | None = None,  # noqa: A002
        kinds: Sequence[str] | None = None,
        min_score: float = 0.3,
        per_day: int = 5,
        zone: tzinfo = UTC,
    ) -> Report:
        """Write the strongest moments of each day and camera to one HTML file, with thumbnails and curves.

        Args:
            out: File to write, with the extension .html or .htm. It is replaced if it exists.
            filter: Conditions that the moments must satisfy.
            kinds: Kinds of events. A moment must have one of them.
            min_score: Minimum anomaly score, from 0 to 1.
            per_day: Maximum number of moments per day and camera.
            zone: Time zone of the days and times.

        Raises:
            InvalidInputError: A kind is unknown, or the file cannot be written.
            StoreError: The store failed.
        """
        return write_report(
            self._inner, Path(out), filter=filter, kinds=kinds, min_score=min_score, per_day=per_day, zone=zone
        )

    def moment(self, moment_id: str) -> Moment:
        """Return the moment with an id. Its score is 0, because there is no query.

        Raises:
            InvalidInputError: This is not the id of a moment, or the moment lies outside its video.
            UnknownVideoError: The index contains no such video.
        """
        return moment_by_id(self._inner, moment_id)

    def videos(self, path: str | Path | None = None) -> list[Video]:
        """Return the videos in order of addition. Interrupted runs leave videos with another `state` than committed.

        Args:
            path: Return only the videos that were last seen at the path of this file.

        Raises:
            MediaNotFoundError, UnreadableMediaError: There is no file at the path, or it is unreadable.
            StoreError: The store failed.
        """
        entries = self._inner.all_entries() if path is None else self._inner.find_by_path(canonical_path(Path(path)))
        return [entry.video() for entry in entries]

    def video(self, video_id: str) -> Video:
        """Return a committed video.

        Raises:
            UnknownVideoError: The index contains no such video.
        """
        return self._inner.committed_entry(video_id).video()

    def segments(self, video_id: str) -> list[Hit]:
        """Return the uniform segments of a video in order of time: its anomaly curve. Their similarities are 0.

        Raises:
            UnknownVideoError: The index contains no such video.
        """
        return self._inner.segments(video_id)

    def curves(self, video_ids: Sequence[str]) -> dict[str, list[CurvePoint]]:
        """Return the anomaly curves of several videos by id, read at once. Points are in order of time.

        Videos that the index does not contain, and videos without segments, have no curve.
        """
        return self._inner.curves(video_ids)

    def source(self, video_id: str) -> Path:
        """Return a file that holds the footage of a video, preferably at its latest path.

        Raises:
            UnknownVideoError: The index contains no such video.
            ChangedMediaError: The file now holds other footage.
            MediaNotFoundError, EmptyMediaError, UnreadableMediaError: The file is missing or unreadable.
        """
        return find_footage(self._inner.committed_entry(video_id))

    def thumbnail(self, video_id: str, seconds: float) -> Path | None:
        """Return the path of a JPEG with the frame at a time of a video, or None if its footage cannot be read.

        Raises:
            UnknownVideoError: The index contains no such video.
        """
        return self._inner.thumbnail(self._inner.committed_entry(video_id), seconds)

    def size(self) -> dict[str, int]:
        """Count the rows in the store, per space.

        Raises:
            StoreError: The store failed.
        """
        return self._inner.size()

    def delete(self, video_id: str) -> None:
        """Delete a video from the index: its segments, its thumbnails and its catalog row. The footage stays.

        Raises:
            UnknownVideoError: The index contains no such video.
            StoreError: The store failed.
        """
        self._inner.delete(video_id)

    def verify(self) -> Verification:
        """Check all rows and vectors against the checksums and counts in the catalog.

        Raises:
            StoreError: The store failed.
        """
        return verify(self._inner)

    def repair(self, verification: Verification, *, progress: Progress | None = None) -> Receipt:
        """Repair the problems that `verify` reports. Damaged videos are embedded again from their files.

        Returns:
            One receipt per video that was embedded again. It has failed if the file is missing.
        """
        return repair(self._inner, verification, progress)

    def reindex(self, suite: str | Suite, *, progress: Progress | None = None) -> Receipt:
        """Rebuild the index with a suite from the footage. Searching and adding continue meanwhile.

        With the suite of the index the vectors are copied and the disk space of deleted rows is freed. Afterwards this
        index uses the new suite. If a video fails, the old generation stays active.

        Returns:
            One receipt per video; check `receipt.ok`.

        Raises:
            StoreError: The store failed; the old generation stays active.
            UnknownSuiteError: There is no suite of that name.
        """
        return reindex(self._inner, suite if isinstance(suite, Suite) else load_suite(suite), progress)

    def prune(
        self, *, keep_days: float | None = None, max_bytes: float | None = None, recordings: Collection[Path] = ()
    ) -> Pruned:
        """Delete videos older than `keep_days`, then the oldest ones until the index takes at most `max_bytes`.

        The age of a video counts from its recording, or from its addition to the index if the clock time is unknown.
        Files in `recordings` count to the size of the index and are deleted with their videos. Other files are kept. A
        recording that was replaced since it was indexed is also kept and listed in `not_deleted` of the result.

        Raises:
            InvalidInputError: A limit is not above zero.
            IncompletePruneError: The store failed after some videos were deleted.
            StoreError: The store failed before.
        """
        return prune(self._inner, keep_days=keep_days, max_bytes=max_bytes, recordings=recordings)

    def backup(self, folder: str | Path) -> Backup:
        """Write all committed videos to a new folder. `restore_index` creates an index from it.

        Raises:
            InvalidInputError: The folder exists.
            StoreError: The store failed, or its rows differ from what was stored.
        """
        return backup(self._inner, folder)


def open_index(
    location: str | Path | None = None,
    *,
    suite: str | Suite | None = None,
    token: str | None = None,
    name: str = "footage",
    create: bool | None = None,
) -> Index:
    """Open an index, or create it.

    Example:
        with open_index("footage.db", suite="lite", create=True) as index:
            index.add("cams/")

    Args:
        location: A path (embedded Milvus Lite) or the URI of a Milvus server. Default: the setting `index`.
        suite: A suite or its name. Default: the suite of the index, or the setting `suite` for a new index.
        token: Credentials for a Milvus server, `user:password` or an API key. Default: the setting `token`.
        name: Name of the index on a server that holds several.
        create: Create the index if it does not exist. Default: only if a suite is given.

    Raises:
        IndexUnavailableError: The location cannot be opened, or there is no index and none is created.
        FingerprintMismatchError: The index has another suite.
        UnknownSuiteError: There is no suite of that name.
    """
    loaded_suite = load_suite(suite) if isinstance(suite, str) else suite
    create = suite is not None if create is None else create
    return Index(_open(location, loaded_suite, token, name, create=create))


def reindex_index(
    location: str | Path | None,
    suite: str | Suite,
    *,
    token: str | None = None,
    name: str = "footage",
    progress: Progress | None = None,
) -> Receipt:
    """Rebuild an index with a suite, even if the suite of the index is not installed.

    Returns:
        One receipt per video, as `Index.reindex`.

    Raises:
        IndexUnavailableError: The location cannot be opened.
        StoreError: The store failed; the old generation stays active.
        UnknownSuiteError: There is no suite of that name.
    """
    loaded_suite = load_suite(suite) if isinstance(suite, str) else suite
    with _open(location, None, token, name, create=False, to_reindex=True) as index:
        return reindex(index, loaded_suite, progress)


def restore_index(
    folder: str | Path, location: str | Path | None = None, *, token: str | None = None, name: str = "footage"
) -> Backup:
    """Create an index from a backup, in the same or another kind of store.

    Args:
        folder: Folder that `Index.backup` wrote.
        location: A path or the URI of a Milvus server that holds no such index. Default: the setting `index`.
        token: As for `open_index`.
        name: Name of the index on the server.

    Raises:
        InvalidInputError: The folder is not a backup or is damaged, or the index exists.
        IndexUnavailableError: The location cannot be opened.
        StoreError: The store failed.
    """
    return restore(folder, _location(location), token=_token(token), name=name)


def _open(
    location: str | Path | None, suite: Suite | None, token: str | None, name: str, **options: bool
) -> VideoIndex:
    values = settings()
    return VideoIndex(
        _location(location), suite, token=_token(token), name=name, options=values, models=values, **options
    )


def _location(location: str | Path | None) -> str | Path:
    """Return a location, or the setting `index`. An empty one is refused: it is probably an unset variable."""
    location = settings().index if location is None else location
    if not str(location):
        raise InvalidInputError("the location of the index is empty", fix="name a path or the URI of a Milvus server")
    return location


def _token(token: str | None) -> str:
    return settings().token.get_secret_value() if token is None else token
