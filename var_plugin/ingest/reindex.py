"""Rebuild an index: build a new generation beside the active one, verify it, and activate it with one write.

Searching and adding continue during the build. Videos that are added to the old generation meanwhile are copied too,
the last of them after the switch: a process that adds a video checks afterwards whether its generation is still active.
So every stored video reaches the new generation, and a failure at any point leaves the old one unchanged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from var_plugin.encoders.suite import Suite
from var_plugin.errors import StoreError
from var_plugin.index.catalog import Entry, Generation
from var_plugin.index.generation import VideoGeneration
from var_plugin.index.index import VideoIndex
from var_plugin.index.verify import verify
from var_plugin.ingest.pipeline import Progress, RunProgress, failure, last_path, reembed
from var_plugin.types import Receipt, VideoReceipt

logger = logging.getLogger(__name__)


def reindex(index: VideoIndex, suite: Suite, progress: Progress | None = None) -> Receipt:
    """Rebuild the index with a suite. Afterwards `index` uses that suite.

    With another suite every video is embedded from its file. With the suite of the index the vectors are copied, which
    frees the disk space of deleted rows. An interrupted run continues where it stopped when it is called again.

    Returns:
        One receipt per migrated video. If one fails, or after Ctrl-C, the old generation stays active.

    Raises:
        StoreError: The store failed, or the new generation does not hold what was written to it.
    """
    receipts: list[VideoReceipt] = []
    try:
        receipts.extend(finish_reindex(index, progress))
        target = index.begin_generation(suite)
        while missing := _missing(index.all_entries(), target):
            if isinstance(progress, RunProgress):
                progress.begin([last_path(entry) for entry in missing])
            for entry in missing:
                receipts.append(_migrate(entry, index.generation, target, progress))  # noqa: PERF401  (see `add`)
            if not Receipt(videos=tuple(receipts)).ok:
                return Receipt(videos=tuple(receipts))
        _delete_removed(index.all_entries(), target)
        if problems := verify(target).problems:
            raise StoreError(
                f"the new generation has {len(problems)} problems",
                why=problems[0].detail,
                fix="the old generation stays active; check the disk and run reindex again",
            )
        index.switch_to(target)
        try:
            receipts.extend(finish_reindex(index, progress))
        except StoreError as error:  # the new generation is active and complete
            logger.warning("the next run of index removes the old generation: %s", error)
    except KeyboardInterrupt:
        return Receipt(videos=tuple(receipts), interrupted=True)
    return Receipt(videos=tuple(receipts))


def finish_reindex(index: VideoIndex, progress: Progress | None = None) -> Iterator[VideoReceipt]:
    """Migrate the last additions to the previous generation, then remove that generation.

    Yields:
        One receipt per migrated video.

    Raises:
        StoreError: The store failed, or the suite of the index is not installed.
    """
    previous = index.generations().previous
    if previous is None:
        return
    if not index.suite.spaces:
        raise StoreError(
            f"re-indexing with suite '{index.suite.name}' was interrupted and only that suite can complete it",
            fix="install the version that made the index and run the same command again",
        )
    entries = index.previous_entries()
    is_complete = True
    for entry in _missing(entries, index):
        receipt = _migrate(entry, previous, index, progress)
        is_complete = is_complete and receipt.status != "failed"
        yield receipt
    if is_complete:
        _delete_removed(entries, index)
        index.remove_inactive_generations()


def _missing(entries: Sequence[Entry], target: VideoGeneration) -> list[Entry]:
    """Return the committed videos that the target lacks or holds with other paths."""
    migrated = {entry.video_id: entry for entry in target.all_entries() if entry.state == "committed"}

    def is_missing(entry: Entry) -> bool:
        other = migrated.get(entry.video_id)
        return other is None or (other.migrated and other.sightings != entry.sightings)

    return [entry for entry in entries if entry.state == "committed" and is_missing(entry)]


def _migrate(entry: Entry, source: Generation, target: VideoGeneration, progress: Progress | None) -> VideoReceipt:
    receipt = _copy_or_embed(entry.model_copy(update={"migrated": True}), source, target, progress)
    if isinstance(progress, RunProgress):
        progress.end(last_path(entry), receipt)
    return receipt


def _copy_or_embed(
    entry: Entry, source: Generation, target: VideoGeneration, progress: Progress | None
) -> VideoReceipt:
    """Copy the vectors of a video if both generations have the same suite, otherwise embed its file."""
    if source.fingerprint != target.suite.fingerprint:
        return reembed(target, entry, progress)
    file = last_path(entry)
    try:
        with target.lock(entry.video_id):
            verified = target.copy_from(entry, source)
    except Exception as error:  # as `attempt`
        return failure(file, error)
    return VideoReceipt(
        path=str(file),
        status="stored",
        video_id=entry.video_id,
        duration=entry.duration,
        content=entry.content,
        recorded_at=entry.video().recorded_at,
        clock=entry.latest_sighting.clock,
        planned=entry.rows,
        stored=entry.rows,
        verified=verified,
    )


def _delete_removed(entries: Sequence[Entry], target: VideoGeneration) -> None:
    """Delete migrated videos that were deleted from the old generation since."""
    video_ids = {entry.video_id for entry in entries if entry.state != "deleting"}
    for entry in target.all_entries():
        if entry.migrated and entry.video_id not in video_ids:
            target.delete(entry.video_id)
