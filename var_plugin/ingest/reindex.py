"""Re-indexing: a new generation is built beside the one that counts, verified, and made to count by one write.

Searching and adding go on meanwhile. What is added to the old generation while the new one is built is brought over
too, the last of it after the switch; whoever adds looks afterwards whether its generation still counts. So a video that
was reported as stored is in the new generation, and a failure at any point leaves the old one as it was.
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
from var_plugin.ingest.pipeline import Progress, RunProgress, failure, last_path, store_again
from var_plugin.types import Receipt, VideoReceipt

logger = logging.getLogger(__name__)


def reindex(index: VideoIndex, suite: Suite, progress: Progress | None = None) -> Receipt:
    """Make the index anew with a suite; afterwards `index` is seen through it.

    With another suite every video is embedded from its file. With the suite that made the index the vectors are
    copied, which frees the room of what was deleted. Interrupted, it goes on where it stopped when called again.

    Returns:
        One line per video brought over. When one fails, or Ctrl-C comes, the old generation goes on counting.

    Raises:
        StoreError: the store failed, or the new generation is not what was written to it.
    """
    lines: list[VideoReceipt] = []
    try:
        lines.extend(finish_reindex(index, progress))
        built = index.begin_generation(suite)
        while missing := _missing(index.all_entries(), built):
            if isinstance(progress, RunProgress):
                progress.begin([last_path(entry) for entry in missing])
            for entry in missing:
                lines.append(_bring(entry, index.generation, built, progress))  # noqa: PERF401  (see `add`)
            if not Receipt(videos=tuple(lines)).ok:
                return Receipt(videos=tuple(lines))
        _delete_gone(index.all_entries(), built)
        if problems := verify(built).problems:
            raise StoreError(
                f"the new generation has {len(problems)} problems",
                why=problems[0].detail,
                fix="the old one still counts; check the disk and run reindex again",
            )
        index.switch_to(built)
        try:
            lines.extend(finish_reindex(index, progress))
        except StoreError as error:  # the new generation is active, and each line is true
            logger.warning("the old generation is removed by the next run of index: %s", error)
    except KeyboardInterrupt:
        return Receipt(videos=tuple(lines), interrupted=True)
    return Receipt(videos=tuple(lines))


def finish_reindex(index: VideoIndex, progress: Progress | None = None) -> Iterator[VideoReceipt]:
    """Bring over what was added to the previous generation in the last moment, then remove that generation."""
    previous = index.generations().previous
    if previous is None:
        return
    if not index.suite.spaces:
        raise StoreError(
            f"the last re-indexing with suite '{index.suite.name}' was cut short, and only it can end it",
            fix="install the version that made the index and run the same command again",
        )
    entries = index.previous_entries()
    complete = True
    for entry in _missing(entries, index):
        line = _bring(entry, previous, index, progress)
        complete = complete and line.status != "failed"
        yield line
    if complete:
        _delete_gone(entries, index)
        index.remove_inactive_generations()


def _missing(entries: Sequence[Entry], built: VideoGeneration) -> list[Entry]:
    """Return the committed videos that the new generation lacks, or knows under other paths."""
    there = {entry.video_id: entry for entry in built.all_entries() if entry.state == "committed"}

    def lacks(entry: Entry) -> bool:
        known = there.get(entry.video_id)
        return known is None or (known.migrated and known.sightings != entry.sightings)

    return [entry for entry in entries if entry.state == "committed" and lacks(entry)]


def _bring(entry: Entry, source: Generation, built: VideoGeneration, progress: Progress | None) -> VideoReceipt:
    line = _brought(entry.model_copy(update={"migrated": True}), source, built, progress)
    if isinstance(progress, RunProgress):
        progress.end(last_path(entry), line)
    return line


def _brought(entry: Entry, source: Generation, built: VideoGeneration, progress: Progress | None) -> VideoReceipt:
    if source.fingerprint != built.suite.fingerprint:
        return store_again(built, entry, progress)
    file = last_path(entry)
    try:
        with built.lock(entry.video_id):
            counted = built.copy_from(entry, source)
    except Exception as error:  # as `attempt`
        return failure(file, error)
    return VideoReceipt(
        path=str(file),
        status="stored",
        video_id=entry.video_id,
        duration=entry.duration,
        content=entry.content,
        recorded_at=entry.video().recorded_at,
        clock=entry.sightings[-1].clock,
        planned=entry.rows,
        stored=entry.rows,
        verified=counted,
    )


def _delete_gone(entries: Sequence[Entry], built: VideoGeneration) -> None:
    """Delete what was brought over and has been deleted from the old generation since."""
    kept = {entry.video_id for entry in entries if entry.state != "deleting"}
    for entry in built.all_entries():
        if entry.migrated and entry.video_id not in kept:
            built.delete(entry.video_id)
