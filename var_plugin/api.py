"""The library's front door: an index that one can add footage to and search."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from var_plugin.config import CameraClock, settings
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError, UnknownVideoError
from var_plugin.index.backup import Backup, backup, restore
from var_plugin.index.footage import find_footage
from var_plugin.index.index import VideoIndex
from var_plugin.index.verify import Verification, verify
from var_plugin.ingest.add import SourceInfo, Progress, add
from var_plugin.ingest.pipeline import Engine
from var_plugin.ingest.reindex import reindex
from var_plugin.ingest.repair import repair
from var_plugin.ingest.retention import Pruned, prune
from var_plugin.retrievers.search import GroupBy, Reranker, search
from var_plugin.types import Filter, Moment, Query, Receipt, Scalar, Span


class Index(VideoIndex):
    """Videos and their moments. Made by `open_index`; use it in a `with` block, or call `close`."""

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
            paths: files and folders.
            camera: name of the camera; else the folder inside the one named, else the file's name without ending.
            recorded_at: clock time, with time zone, at which the one file begins; else derived from sidecar, file name
                or header, where they hold it. Several files need a sidecar each, or a call each.
            clock: the camera's time zone and error, for times that are derived; else what the settings say.
            metadata: own values to filter by later; keys are identifiers.
            progress: called with the file at work and the seconds of it done; a `RunProgress` also learns of the plan
                and of each outcome.
            engine: what does the work; default: this process. `var_plugin.RayEngine` spreads it over a Ray cluster.

        Returns:
            One line per file: planned, stored and counted again, or the reason why not. A file that fails does not
            stop the others; look at `receipt.ok`.

        Raises:
            InvalidInputError: camera, clock time or metadata cannot be stored, or one clock time is given for several
                files; besides the errors of the engine.
        """
        listed = [paths] if isinstance(paths, str | Path) else paths
        return add(self, listed, SourceInfo(camera, recorded_at, clock, metadata or {}), progress, engine)

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
        """Return the k best moments for a text, an image, a sound, a video span, or several of them; best first.

        Args:
            text: words; whatever else is given counts together with them.
            image: a path, a PIL image or an (h, w, 3) uint8 RGB array.
            audio: a path, a `Span`, or a pair of samples (n,) float32 in -1…1 and their rate in Hz.
            video: a path or a `Span`.
            k: at most so many.
            filter: what the moments must satisfy.
            min_score: leave out moments below it, in deviations above unrelated footage.
            group_by: "video" returns the best moment of each video only.
            weights: per space, what its scores count; 1 where nothing is said, 0 leaves the space out.
            rerank: gets the query and several times k candidates, best first; its order is the answer's.
            thumbnails: make an image of each moment.

        Raises:
            InvalidInputError: nothing is asked for, or k is below 1.
            UnsupportedModalityError: the suite cannot embed what is asked.
            StoreError: the store failed.
        """
        try:
            query = Query(text=text, image=image, audio=audio, video=video)
        except ValueError as error:
            raise InvalidInputError(
                "nothing to search for", fix="give a text, an image, an audio or a video"
            ) from error
        return search(
            self,
            query,
            k=k,
            filter=filter,
            min_score=min_score,
            group_by=group_by,
            weights=weights,
            rerank=rerank,
            thumbnails=thumbnails,
        )

    def source(self, video_id: str) -> Path:
        """Return a file that still holds the footage of a video, the one seen last first.

        Raises:
            UnknownVideoError: the index holds no such video.
            ChangedMediaError: the file holds other footage by now.
            MediaNotFoundError, EmptyMediaError, UnreadableMediaError: it is gone, or cannot be read.
        """
        entry = self.entries([video_id]).get(video_id)
        if entry is None:
            raise UnknownVideoError(f"the index holds no video '{video_id}'", fix="list them: var-plugin videos")
        return find_footage(entry)

    def verify(self) -> Verification:
        """Check every row and every vector against what the catalogue says was stored.

        Raises:
            StoreError: the store failed.
        """
        return verify(self)

    def repair(self, found: Verification, *, progress: Progress | None = None) -> Receipt:
        """Mend what `verify` found, from the footage where that is needed.

        Returns:
            One line per video that was embedded anew; a failed line where its file is gone.
        """
        return repair(self, found, progress)

    def reindex(self, suite: str | Suite, *, progress: Progress | None = None) -> Receipt:
        """Make the index anew with a suite, from the footage; searching and adding go on meanwhile.

        With the suite that made it, the vectors are copied and the room of deleted ones is freed. Afterwards this index
        is seen through the new suite; when a video fails, the old one goes on counting.

        Returns:
            One line per video; look at `receipt.ok`.

        Raises:
            StoreError: the store failed; the old generation counts.
            UnknownSuiteError: no suite of that name.
        """
        return reindex(self, suite if isinstance(suite, Suite) else load_suite(suite), progress)

    def prune(
        self, *, keep_days: float | None = None, max_bytes: float | None = None, recordings: Collection[Path] = ()
    ) -> Pruned:
        """Delete videos older than `keep_days`, then the oldest ones until the index takes at most `max_bytes`.

        A video is as old as its recording; where that clock time is unknown, as its addition to the index. The files in
        `recordings` count as part of the index and are deleted with their videos; all others stay, and so does a
        recording that was replaced since it was indexed: `not_deleted` of the result lists it.

        Raises:
            InvalidInputError: a limit that is not above zero.
            IncompletePruneError: the store failed after some videos were deleted.
            StoreError: the store failed before.
        """
        return prune(self, keep_days=keep_days, max_bytes=max_bytes, recordings=recordings)

    def backup(self, folder: str | Path) -> Backup:
        """Write all committed videos to a new folder, from which `restore_index` makes an index anywhere.

        Raises:
            InvalidInputError: the folder exists.
            StoreError: the store failed, or its rows are not the ones that were stored.
        """
        return backup(self, folder)


def open_index(
    location: str | Path | None = None,
    *,
    suite: str | Suite | None = None,
    token: str | None = None,
    name: str = "footage",
) -> Index:
    """Open an index, or make it.

    Args:
        location: a path (embedded Milvus Lite) or the URI of a Milvus server; default: the setting `index`.
        suite: a suite or its name; default: the suite that made the index, for a new one the setting `suite`.
        token: what a Milvus server asks for, `user:password` or an API key; default: the setting `token`.
        name: tells several indexes on one server apart.

    Raises:
        IndexUnavailableError: the location cannot be opened.
        FingerprintMismatchError: another suite made the index.
        UnknownSuiteError: no suite of that name.
    """
    chosen = load_suite(suite) if isinstance(suite, str) else suite
    return Index(location or settings().index, chosen, token=_token(token), name=name)


def reindex_index(
    location: str | Path | None,
    suite: str | Suite,
    *,
    token: str | None = None,
    name: str = "footage",
    progress: Progress | None = None,
) -> Receipt:
    """Make an index anew with a suite, also where the one that made it is not installed any more.

    Returns:
        One line per video, as `Index.reindex`.

    Raises:
        IndexUnavailableError: the location cannot be opened.
        StoreError: the store failed; the old generation counts.
        UnknownSuiteError: no suite of that name.
    """
    chosen = load_suite(suite) if isinstance(suite, str) else suite
    with Index(location or settings().index, token=_token(token), name=name, to_reindex=True) as index:
        return index.reindex(chosen, progress=progress)


def restore_index(
    folder: str | Path, location: str | Path | None = None, *, token: str | None = None, name: str = "footage"
) -> Backup:
    """Make an index from a backup, at a place that has none; it need not be the kind of store that was backed up.

    Args:
        folder: what `Index.backup` wrote.
        location: a path or the URI of a Milvus server; default: the setting `index`.
        token: as for `open_index`.
        name: the index's name there.

    Raises:
        InvalidInputError: the folder is no backup, or is damaged; or there is an index already.
        IndexUnavailableError: the location cannot be opened.
        StoreError: the store failed.
    """
    return restore(folder, location or settings().index, token=_token(token), name=name)


def _token(given: str | None) -> str:
    return settings().token.get_secret_value() if given is None else given
