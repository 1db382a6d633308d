"""The public API: an index to which footage is added and that is searched."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from var_plugin.config import CameraClock, settings
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError
from var_plugin.index.backup import Backup, backup, restore
from var_plugin.index.footage import find_footage
from var_plugin.index.index import VideoIndex
from var_plugin.index.rows import Hit
from var_plugin.index.verify import Verification, verify
from var_plugin.ingest.add import Progress, SourceInfo, add
from var_plugin.ingest.pipeline import Engine
from var_plugin.ingest.reindex import reindex
from var_plugin.ingest.repair import repair
from var_plugin.ingest.retention import Pruned, prune
from var_plugin.media.files import canonical_path
from var_plugin.retrievers.search import GroupBy, Reranker, moment_by_id, search
from var_plugin.types import Filter, Moment, Query, Receipt, Scalar, Span, Video


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
        filter: Filter | None = None,  # noqa: A002  (the word users of vector stores know)
        min_score: float | None = None,
        group_by: GroupBy = "moment",
        weights: Mapping[str, float] | None = None,
        rerank: Reranker | None = None,
        thumbnails: bool = False,
    ) -> list[Moment]:
        """Return the k best moments for text, an image, audio, a video, or a combination of them, best first.

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
            InvalidInputError: The query is empty, or k is below 1.
            UnsupportedModalityError: The suite cannot embed a part of the query.
            StoreError: The store failed.
        """
        try:
            query = Query(text=text, image=image, audio=audio, video=video)
        except ValueError as error:
            raise InvalidInputError(
                "nothing to search for", fix="give a text, an image, an audio or a video"
            ) from error
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
    return Index(VideoIndex(location or settings().index, loaded_suite, token=_token(token), name=name, create=create))


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
    with VideoIndex(
        location or settings().index, token=_token(token), name=name, create=False, to_reindex=True
    ) as index:
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
    return restore(folder, location or settings().index, token=_token(token), name=name)


def _token(token: str | None) -> str:
    return settings().token.get_secret_value() if token is None else token
